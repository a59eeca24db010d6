#pragma once
// einops for MLX: one pattern says which axes an array has and which the result has.
//   rearrange(x, "b l (h d) -> b h l d", {{"h", 12}})          split, transpose
//   repeat(bias, "d -> b l d", {{"b", 2}, {"l", 128}})         new axes, without a copy
//   reduce(image, "b (h 2) (w 2) c -> b h w c", Reduction::max)   pooling
// The grammar is einops' (https://einops.rocks, version 0.8.2). Each side lists the array's dimensions. Parentheses combine several axes
// into one dimension; the last axis varies fastest. ... is any number of dimensions; in parentheses (on the right) they become one. 1 and
// () are a dimension of length 1. Any other number is an unnamed axis: repeat adds it, reduce removes it. A length that does not follow
// from the array's shape goes into `axes`. m2bert/ops/axis_pattern.h has the exact rules.
//
// Errors name the operation, the pattern, the axis, the array's shape and the lengths given. x itself is returned if the pattern changes
// nothing; results are views of x where MLX's reshape, transpose and broadcast_to are.
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "m2bert/mx.h"

namespace m2bert::ops {

// Lengths of named axes: {{"h", 4}, {"w", 2}}.
using Axes = std::vector<std::pair<std::string, int>>;

enum class Reduction { sum, mean, max, min, prod, any, all };

// Reorders, splits and merges axes. Every axis is on both sides. Any dtype.
mx::array rearrange(const mx::array& x, std::string_view pattern, const Axes& axes = {}, mx::StreamOrDevice s = {});

// As rearrange, and adds axes that are only on the right, along which x is repeated. Any dtype. The gradient is the sum along them.
mx::array repeat(const mx::array& x, std::string_view pattern, const Axes& axes = {}, mx::StreamOrDevice s = {});

// As rearrange, and removes the axes that are only on the left by taking their sum, mean, ...
//   sum, prod: the dtype of x; integers narrower than 32 bits and bool become int32 or uint32 (MLX's rule; PyTorch's is int64).
//   mean: the dtype of x, which must be floating or complex; float16 and bfloat16 are averaged in float32.
//   max, min: the dtype of x, not complex; an axis of length 0 is an error. The gradient is split evenly among equal extremes, as in
//     PyTorch's amax, which einops uses.
//   prod: the gradient is correct even if x has zeros.
//   any, all: bool; the gradient is 0, as with every comparison.
// If no axis is removed, nothing is reduced, and the dtype stays.
mx::array reduce(const mx::array& x, std::string_view pattern, Reduction reduction, const Axes& axes = {}, mx::StreamOrDevice s = {});

// A list of arrays of one shape is stacked along a new first axis, which the pattern names first. {x, y} is such a list, and so is {x}.
mx::array rearrange(const std::vector<mx::array>& xs, std::string_view pattern, const Axes& axes = {}, mx::StreamOrDevice s = {});
mx::array repeat(const std::vector<mx::array>& xs, std::string_view pattern, const Axes& axes = {}, mx::StreamOrDevice s = {});
mx::array reduce(const std::vector<mx::array>& xs, std::string_view pattern, Reduction reduction, const Axes& axes = {},
                 mx::StreamOrDevice s = {});
// Without these overloads, {x} would mean x itself.
mx::array rearrange(std::initializer_list<mx::array> xs, std::string_view pattern, const Axes& axes = {}, mx::StreamOrDevice s = {});
mx::array repeat(std::initializer_list<mx::array> xs, std::string_view pattern, const Axes& axes = {}, mx::StreamOrDevice s = {});
mx::array reduce(std::initializer_list<mx::array> xs, std::string_view pattern, Reduction reduction, const Axes& axes = {},
                 mx::StreamOrDevice s = {});

// The lengths of x's dimensions by name, in the pattern's order: parse_shape(x, "b _ d") is {{"b", x.shape(0)}, {"d", x.shape(2)}}.
// _ and ... skip dimensions; a number is checked. Throws Error if the shape does not match.
Axes parse_shape(const mx::array& x, std::string_view pattern);

}  // namespace m2bert::ops
