// m2bert.ops: einops patterns, and the module that the other files fill.
#include "python/bindings/ops.h"

#include "m2bert/ops/rearrange.h"
#include "python/bindings/bind.h"

namespace m2bert::python {
namespace {

using Arrays = std::variant<mx::array, std::vector<mx::array>>;

ops::Axes axes_of(const nb::kwargs& lengths) {
  ops::Axes axes;
  for (const auto& [name, length] : lengths) {
    int value = 0;
    const auto key = nb::cast<std::string>(name);
    if (!nb::try_cast(length, value, false)) throw nb::type_error(("the length of axis " + key + " is no int").c_str());
    axes.emplace_back(key, value);
  }
  return axes;
}

ops::Reduction reduction_named(const std::string& name) {
  using enum ops::Reduction;
  return named<ops::Reduction>("reduction", name,
                               {{"sum", sum}, {"mean", mean}, {"max", max}, {"min", min}, {"prod", prod}, {"any", any}, {"all", all}});
}

mx::array rearrange(const Arrays& x, const std::string& pattern, Stream stream, const nb::kwargs& axes) {
  return std::visit([&](const auto& arrays) { return ops::rearrange(arrays, pattern, axes_of(axes), stream); }, x);
}

mx::array repeat(const Arrays& x, const std::string& pattern, Stream stream, const nb::kwargs& axes) {
  return std::visit([&](const auto& arrays) { return ops::repeat(arrays, pattern, axes_of(axes), stream); }, x);
}

mx::array reduce(const Arrays& x, const std::string& pattern, const std::string& reduction, Stream stream, const nb::kwargs& axes) {
  const auto kind = reduction_named(reduction);
  return std::visit([&](const auto& arrays) { return ops::reduce(arrays, pattern, kind, axes_of(axes), stream); }, x);
}

nb::dict parse_shape(const mx::array& x, const std::string& pattern) {
  nb::dict lengths;
  for (const auto& [name, length] : ops::parse_shape(x, pattern)) lengths[name.c_str()] = length;
  return lengths;
}

}  // namespace

void bind_patterns(nb::module_& m) {
  const auto stream = stream_argument();
  m.def(
      "rearrange", &rearrange, "x"_a, "pattern"_a, nb::kw_only(), stream, "axes"_a,
      "Reorders, splits and merges axes by an einops pattern; every axis is on both sides.\n\n"
      "x: an array, or a list of arrays of one shape, which are stacked along a new first axis. axes: lengths that do not follow from the\n"
      "shape, as keywords. Any dtype.\n\n"
      ">>> x = mx.zeros((2, 5, 12))\n"
      ">>> m2bert.ops.rearrange(x, \"b l (h d) -> b h l d\", h=3).shape\n"
      "(2, 3, 5, 4)");
  m.def("repeat", &repeat, "x"_a, "pattern"_a, nb::kw_only(), stream, "axes"_a,
        "As rearrange, and adds axes that are only on the right, along which x is repeated without a copy.\n\n"
        ">>> m2bert.ops.repeat(mx.array([1, 2]), \"d -> b d\", b=3).tolist()\n"
        "[[1, 2], [1, 2], [1, 2]]");
  m.def("reduce", &reduce, "x"_a, "pattern"_a, "reduction"_a, nb::kw_only(), stream, "axes"_a,
        "As rearrange, and removes axes that are only on the left. reduction: \"sum\", \"mean\", \"max\", \"min\", \"prod\", \"any\" or "
        "\"all\".\n\n"
        "The gradient of max and min is split evenly among equal extremes; that of prod is correct even if x has zeros.\n\n"
        ">>> image = mx.array([[1.0, 2.0], [3.0, 4.0]])\n"
        ">>> m2bert.ops.reduce(image, \"(h 2) w -> h w\", \"max\").tolist()\n"
        "[[3.0, 4.0]]");
  m.def("parse_shape", &parse_shape, "x"_a, "pattern"_a, nb::sig("def parse_shape(x: mlx.core.array, pattern: str) -> dict[str, int]"),
        "The lengths of x's axes by name. _ and ... skip axes; a number is checked.\n\n"
        ">>> m2bert.ops.parse_shape(mx.zeros((2, 3, 4)), \"b _ d\")\n"
        "{'b': 2, 'd': 4}");
}

void bind_ops(nb::module_& m) {
  nb::module_ ops =
      m.def_submodule("ops",
                      "Operations on mx.array: einops, convolutions, Monarch matrices, attention, padding.\n\n"
                      "They are lazy and differentiable by mx.grad, like MLX's own, and have the same bits as in C++. `stream` is an\n"
                      "mx.Stream or mx.Device. X_fallback means the same as X, and is composed of MLX's operations.\n\n"
                      ">>> weight = mx.ones((2, 3, 4))\n"
                      ">>> loss = lambda x: m2bert.ops.blockdiag_multiply(x, weight).sum()\n"
                      ">>> mx.grad(loss)(mx.ones((8,))).tolist()\n"
                      "[3.0, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0]");
  ops.attr("__name__") = "m2bert.ops";  // as users import it
  bind_patterns(ops);
  bind_convolutions(ops);
  bind_mixer(ops);
  bind_matmuls(ops);
  bind_monarch(ops);
  bind_pointwise(ops);
  bind_padding(ops);
  bind_attention(ops);
}

}  // namespace m2bert::python
