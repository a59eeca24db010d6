#pragma once
// Reads a tree and tracks what was read, so that unread keys can be reported.
#include <set>
#include <string>

#include "m2bert/io/tree.h"

namespace m2bert::train {

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
  // A number of at least `low`; an integer in [low, high].
  double number(const std::string& path, double fallback, double low);
  int64_t integer(const std::string& path, int64_t fallback, int64_t low, int64_t high = int64_t{1} << 53);
  // Whether a map is present, even if empty or null (`lr_monitor: {}`). Its members are not marked as read.
  bool present(const std::string& path);

  // Marks the value as read.
  void accept(const std::string& path) { read_.insert(path); }

  // Paths of all values that are neither null nor read.
  std::vector<std::string> unread() const;

 private:
  bool is_read(const std::string& path) const;
  void collect(const io::Tree& tree, const std::string& path, std::vector<std::string>& out) const;

  const io::Tree& root_;
  std::set<std::string> read_;
};

}  // namespace m2bert::train
