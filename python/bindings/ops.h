#pragma once
// m2bert.ops: the functions of m2bert/ops on mx.array. A file for each group; their names and parameters are those of C++.
#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/variant.h>
#include <nanobind/stl/vector.h>

#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "m2bert/error.h"
#include "m2bert/mx.h"

namespace m2bert::python {

namespace nb = nanobind;
using namespace nb::literals;

using Stream = mx::StreamOrDevice;
using OptionalArray = std::optional<mx::array>;

// The last argument of every function, by keyword: where it runs.
inline auto stream_argument() { return "stream"_a = nb::none(); }

// The value of that name. Error that calls the argument `what` and lists the names.
template <class T>
T named(const char* what, const std::string& name, const std::vector<std::pair<const char*, T>>& values) {
  std::string names;
  for (const auto& [known, value] : values) {
    if (name == known) return value;
    names += (names.empty() ? "'" : ", '") + std::string(known) + "'";
  }
  fail(what, " '", name, "': it can be ", names);
}

void bind_patterns(nb::module_& ops);
void bind_convolutions(nb::module_& ops);
void bind_mixer(nb::module_& ops);
void bind_matmuls(nb::module_& ops);
void bind_monarch(nb::module_& ops);
void bind_pointwise(nb::module_& ops);
void bind_attention(nb::module_& ops);
void bind_padding(nb::module_& ops);

}  // namespace m2bert::python
