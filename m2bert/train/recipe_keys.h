#pragma once
// Reads a tree and tracks what was read, so that unread keys can be reported.
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "m2bert/io/tree.h"

namespace m2bert::train {

// "r.yaml:12: scheduler.t_warmup: ", the start of an error about a key. If the tree lacks the key, the line is that of the map around it.
std::string where(const io::Tree& root, const std::string& path);

// Every value that is neither a map nor null, by its path, in the file's order. Lists are values.
std::vector<std::pair<std::string, const io::Tree*>> leaves(const io::Tree& root);

// Whether "a.b.c", "a.b" or "a" is among the paths, for "a.b.c".
bool is_below(const std::string& path, const std::set<std::string>& paths);

// The value at "a.b"; null if it is absent, null or marked ???.
const io::Tree* given(const io::Tree& tree, const std::string& path);

// "a, b, c".
std::string listed(const std::vector<std::string>& names);

// Error with the place of the first key of a map that is not among `known`. what: the map, for the error.
void refuse_other_keys(const io::Tree& map, const std::vector<std::string>& known, const std::string& what);

class RecipeKeys {
 public:
  explicit RecipeKeys(const io::Tree& root) : root_(root) {}

  // The value at "a.b"; null if it is absent or null. Marks it and everything below it as read.
  const io::Tree* find(const std::string& path);
  const io::Tree& at(const std::string& path);  // Error if it is absent or null

  template <class T>
  T get(const std::string& path, T fallback) {
    const io::Tree* value = find(path);
    return value ? value->as<T>() : fallback;
  }
  // A finite number of at least `low`, or above it; an integer in [low, high].
  double number(const std::string& path, double fallback, double low);
  double number_above(const std::string& path, double fallback, double low);
  int64_t integer(const std::string& path, int64_t fallback, int64_t low, int64_t high = int64_t{1} << 53);
  // Whether a map is present, even if empty or null (`lr_monitor: {}`). Its members are not marked as read.
  bool present(const std::string& path);

  // Marks the value as read.
  void accept(const std::string& path) {
    read_.insert(path);
    known_.insert(path);
  }

  // Paths of all values that are neither null nor read.
  std::vector<std::string> unread() const;
  // Paths that were asked for, also where the tree lacks them. All values below them count as read.
  const std::set<std::string>& read() const { return read_; }

  // The path that a misspelt one probably stands for: a key that somebody asked for, or one of `others`.
  std::optional<std::string> likely(const std::string& path, const std::vector<std::string>& others = {}) const;
  // Whether somebody asked for the path or for one below it.
  bool knows(const std::string& path) const;
  // The one known path that ends in ".name"; nullopt if there are none or several.
  std::optional<std::string> known_as(const std::string& name) const;

 private:
  bool is_read(const std::string& path) const { return is_below(path, read_); }

  const io::Tree& root_;
  std::set<std::string> read_, known_;
};

}  // namespace m2bert::train
