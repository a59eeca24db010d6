#pragma once
// The inputs (or outputs) of a primitive by name. MLX passes a primitive a vector of arrays, in which an absent optional input shifts all
// later ones; these types know the position of each.
#include <array>
#include <optional>
#include <utility>
#include <vector>

#include "m2bert/error.h"
#include "m2bert/mx.h"

namespace m2bert::ops::cpu {

// Positions of named arrays in a vector. Name: an enum class 0, 1, ..., of at most 16 values. A primitive stores this, and compares it in
// is_equivalent.
template <class Name>
class Positions {
 public:
  Positions() { at_.fill(-1); }

  void add(Name name) { at_.at(size_t(name)) = count_++; }
  bool has(Name name) const { return at_[size_t(name)] >= 0; }
  // The position of `name`, which must be present.
  size_t of(Name name) const {
    require(has(name), "a primitive lacks its input ", size_t(name));
    return size_t(at_[size_t(name)]);
  }
  // The name of the array at `position`.
  Name name_at(size_t position) const {
    for (size_t i = 0; i < at_.size(); ++i) {
      if (at_[i] == int(position)) return Name(i);
    }
    fail("a primitive has no input ", position);
  }

  // The data of `name` in `arrays`, or null if it is absent.
  template <class T>
  const T* data(const std::vector<mx::array>& arrays, Name name) const {
    return has(name) ? arrays[of(name)].template data<T>() : nullptr;
  }
  template <class T>
  T* data(std::vector<mx::array>& arrays, Name name) const {
    return has(name) ? arrays[of(name)].template data<T>() : nullptr;
  }

  bool operator==(const Positions&) const = default;

 private:
  std::array<int, 16> at_;
  int count_ = 0;
};

// Collects arrays together with their positions.
template <class Name>
struct NamedInputs {
  void add(Name name, const mx::array& a) {
    positions.add(name);
    arrays.push_back(a);
  }

  Positions<Name> positions;
  std::vector<mx::array> arrays;
};

}  // namespace m2bert::ops::cpu
