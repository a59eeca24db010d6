#pragma once
// One value type for JSON and YAML. Every value remembers its place, so that errors name file, line and key.
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "m2bert/error.h"

namespace m2bert::io {

// Where a value came from. Lines and columns count from 1; line 0: the source has no lines (a value made by code, an override).
struct Place {
  std::shared_ptr<const std::string> source;  // file name, "-" or what an error should call it
  int line = 0;
  int column = 0;
  std::shared_ptr<const Place> parent;  // the map or list around it
  std::string key;                      // the key in it, "[3]" in a list, "" at the root
};

class Tree {
 public:
  enum class Kind { null, boolean, integer, number, string, list, map, missing };
  struct Member;
  // A YAML value that is not set: ??? or an interpolation without a target. An error only when it is read.
  struct Missing {
    std::string reason;  // "is marked ??? ..." for the error when it is read
  };

  // The members of a map in the file's order. Keys are unique.
  class Map {
   public:
    // Defined in tree.cpp, because Member is incomplete here.
    Map();
    ~Map();
    Map(const Map& other);
    Map(Map&& other) noexcept;
    Map& operator=(const Map& other);
    Map& operator=(Map&& other) noexcept;

    const Tree* find(std::string_view key) const;
    Tree* find(std::string_view key);
    // Appends; returns false and does nothing if the key exists.
    bool add(std::string key, Tree value);
    void set(std::string key, Tree value);
    bool erase(std::string_view key);
    const std::vector<Member>& members() const { return members_; }
    std::vector<Member>& members() { return members_; }

   private:
    std::optional<size_t> index(std::string_view key) const;
    std::vector<Member> members_;
    std::unordered_map<std::string, size_t> index_;  // filled once the map is no longer small
  };

  Tree() = default;
  Tree(std::nullptr_t) {}
  Tree(bool value) : value_(value) {}
  template <class T>
    requires(std::is_integral_v<T> && !std::is_same_v<T, bool>)
  Tree(T value) : value_(static_cast<int64_t>(value)) {}
  Tree(double value) : value_(value) {}
  Tree(float value) : value_(static_cast<double>(value)) {}
  Tree(std::string value) : value_(std::move(value)) {}
  Tree(std::string_view value) : value_(std::string(value)) {}
  Tree(const char* value) : value_(std::string(value)) {}
  Tree(Missing value) : value_(std::move(value)) {}
  Tree(std::initializer_list<std::pair<const char*, Tree>> members);  // a map; Error on a repeated key
  static Tree list() { return list({}); }
  static Tree list(std::vector<Tree> items);
  static Tree map();

  Kind kind() const { return static_cast<Kind>(value_.index()); }
  bool is_null() const { return kind() == Kind::null; }
  bool is_missing() const { return kind() == Kind::missing; }
  bool is_bool() const { return kind() == Kind::boolean; }
  bool is_integer() const { return kind() == Kind::integer; }
  bool is_number() const { return kind() == Kind::integer || kind() == Kind::number; }
  bool is_string() const { return kind() == Kind::string; }
  bool is_list() const { return kind() == Kind::list; }
  bool is_map() const { return kind() == Kind::map; }

  // The value. Each throws an Error that names place and value if the kind is another one.
  bool boolean() const;
  int64_t integer() const;                           // also accepts a number without a fraction: 1e3
  int64_t integer(int64_t low, int64_t high) const;  // low <= value <= high
  double number() const;                             // also accepts an integer
  const std::string& string() const;
  const std::vector<Tree>& items() const;
  const std::vector<Member>& members() const;
  std::vector<Tree>& items();
  Map& as_map();
  const Map& as_map() const;
  // T: bool, an integer type (range checked), float, double, std::string, std::vector of these, Tree.
  template <class T>
  T as() const;

  size_t size() const;  // of a list or a map, otherwise 0

  // Members of a map. find: nullptr if this is not a map or lacks the key. A path such as "a.b.0.c" descends into maps and lists.
  const Tree* find(std::string_view key) const;
  const Tree* find_path(std::string_view path) const;
  const Tree& at(std::string_view key) const;  // the error names place, key and the existing keys
  const Tree& operator[](std::string_view key) const { return at(key); }
  bool contains(std::string_view key) const { return find(key) != nullptr; }
  // The member as T; the fallback if it is absent or null. Throws if it is Kind::missing.
  template <class T>
  T get(std::string_view key, T fallback) const;
  template <class T>
  std::optional<T> get_optional(std::string_view key) const;
  // Sets a member of a map; null becomes a map first. The value keeps its own place if it has one.
  void set(std::string key, Tree value);
  void push_back(Tree value);
  // Members of a map whose key is not among the known ones.
  std::vector<const Member*> unknown(const std::vector<std::string>& known) const;

  // "file.yaml:12", "file.yaml" or "override a.b=1"; "" for a value made by code.
  std::string location() const;
  // "model.layers[2].size"; "" at the root.
  std::string path() const;
  int line() const { return place_ ? place_->line : 0; }
  int column() const { return place_ ? place_->column : 0; }
  const std::shared_ptr<const Place>& place() const { return place_; }
  void set_place(std::shared_ptr<const Place> place) { place_ = std::move(place); }
  // "file.yaml:12: model.hyena_emb_dim: ", the prefix of an error message.
  std::string where() const;
  // The value for messages: "abc" with quotes, a list [3 items], long strings cut.
  std::string shown() const;
  // Throws `file.yaml:12: hyena_emb_dim: wants an odd integer of at least 3, got "abc"`.
  [[noreturn]] void wants(std::string_view what) const;

  bool operator==(const Tree& other) const;  // compares values, not places; an integer equals the same number

 private:
  std::variant<std::nullptr_t, bool, int64_t, double, std::string, std::vector<Tree>, Map, Missing> value_ = nullptr;
  std::shared_ptr<const Place> place_;
};

struct Tree::Member {
  std::string key;
  Tree value;
  bool operator==(const Member&) const = default;
};

namespace detail {
template <class T>
struct is_vector : std::false_type {};
template <class T>
struct is_vector<std::vector<T>> : std::true_type {};
}  // namespace detail

template <class T>
T Tree::as() const {
  if constexpr (std::is_same_v<T, Tree>) {
    return *this;
  } else if constexpr (std::is_same_v<T, bool>) {
    return boolean();
  } else if constexpr (std::is_integral_v<T>) {
    constexpr bool wide = sizeof(T) >= sizeof(int64_t);
    if constexpr (wide && std::is_signed_v<T>) return integer();
    else if constexpr (wide) return static_cast<T>(integer(0, INT64_MAX));
    else return static_cast<T>(integer(std::numeric_limits<T>::min(), std::numeric_limits<T>::max()));
  } else if constexpr (std::is_floating_point_v<T>) {
    return static_cast<T>(number());
  } else if constexpr (detail::is_vector<T>::value) {
    T out;
    out.reserve(items().size());
    for (const Tree& item : items()) out.push_back(item.as<typename T::value_type>());
    return out;
  } else {
    static_assert(std::is_same_v<T, std::string>, "Tree::as: unsupported type");
    return string();
  }
}

template <class T>
T Tree::get(std::string_view key, T fallback) const {
  const Tree* member = find(key);
  return member && !member->is_null() ? member->as<T>() : std::move(fallback);
}

template <class T>
std::optional<T> Tree::get_optional(std::string_view key) const {
  const Tree* member = find(key);
  if (!member || member->is_null()) return std::nullopt;
  return member->as<T>();
}

// The key of a list's item in a Place: "[3]".
std::string list_key(size_t index);

// Splits "a.b[0].c" into a, b, 0, c. Error on empty parts.
std::vector<std::string> split_path(std::string_view path);

}  // namespace m2bert::io
