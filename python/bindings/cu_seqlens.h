#pragma once
// The offsets of sequences as an argument: a list of int, or an mx.array.
#include <nanobind/stl/variant.h>
#include <nanobind/stl/vector.h>

#include <variant>
#include <vector>

#include "m2bert/ops/cu_seqlens.h"

namespace m2bert::python {

using CuSeqlensArgument = std::variant<mx::array, std::vector<int>>;

inline ops::CuSeqlens cu_seqlens_of(const CuSeqlensArgument& argument) {
  return std::visit([](const auto& values) { return ops::CuSeqlens(values); }, argument);
}

}  // namespace m2bert::python
