#pragma once
// Parsed einops patterns: "b (h w) -> b w h" has two sides, each a list of dimensions, each a list of axes. rearrange.h applies them to
// arrays. Errors thrown here contain only the reason; the caller adds pattern, array and sizes.
#include <string>
#include <string_view>
#include <vector>

namespace m2bert::ops {

// An axis as written: a name; a number other than 1, which is an unnamed axis of that length; or the ellipsis.
struct PatternAxis {
  enum class Kind { name, number, ellipsis };
  Kind kind;
  std::string text;
  int length = 0;  // of a number

  // Whether this is the same axis as one on the other side. Numbers never match: two axes of length 3 need not be the same axis.
  bool matches(const PatternAxis& other) const { return kind != Kind::number && kind == other.kind && text == other.text; }
};

// One dimension of an array: the axes in parentheses, or a single axis. Without axes (1, (), or ones in parentheses) its length is 1.
struct PatternDimension {
  std::vector<PatternAxis> axes;
  bool in_parentheses = false;
};

using PatternSide = std::vector<PatternDimension>;

struct Pattern {
  PatternSide left, right;
};

// Grammar: dimensions are separated by spaces or parentheses; parentheses do not nest; at most one ellipsis; each name occurs once. A name
// consists of letters, digits and underscores, starts with a letter and does not end with an underscore; any character beyond ASCII counts
// as a letter. with_skips: _ stands for an ignored dimension, any number of times.
PatternSide parse_side(std::string_view text, bool with_skips = false);

// "left -> right"
Pattern parse_pattern(std::string_view text);

bool has_ellipsis(const PatternSide& side);

// As written: "(h w)", "b", "1".
std::string shown(const PatternDimension& dimension);

}  // namespace m2bert::ops
