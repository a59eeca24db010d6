#pragma once
// The patterns of einops as values: "b (h w) -> b w h" is two sides, each a list of dimensions, each a list of axes. rearrange.h applies
// them to arrays. Every error here is the bare reason; who knows pattern, array and sizes puts them around it.
#include <string>
#include <string_view>
#include <vector>

namespace m2bert::ops {

// An axis as it is written: a name; a number other than 1, which is an axis of that length without a name; or the ellipsis.
struct PatternAxis {
  enum class Kind { name, number, ellipsis };
  Kind kind;
  std::string text;
  int length = 0;  // of a number

  // The same axis on the other side? Numbers never are: two axes of length 3 need not be one.
  bool matches(const PatternAxis& other) const { return kind != Kind::number && kind == other.kind && text == other.text; }
};

// One dimension of an array: the axes in parentheses, or a single axis. No axes (1, (), or ones in parentheses): length 1.
struct PatternDimension {
  std::vector<PatternAxis> axes;
  bool in_parentheses = false;
};

using PatternSide = std::vector<PatternDimension>;

struct Pattern {
  PatternSide left, right;
};

// Grammar: dimensions apart by spaces or parentheses; parentheses of one level; at most one ellipsis; each name once. A name is letters,
// digits and underscores, begins with a letter and does not end with an underscore; any character beyond ASCII counts as a letter.
// with_skips: _ may stand, any number of times, for a dimension that nobody asks for.
PatternSide parse_side(std::string_view text, bool with_skips = false);

// "left -> right"
Pattern parse_pattern(std::string_view text);

bool has_ellipsis(const PatternSide& side);

// As it is written: "(h w)", "b", "1".
std::string shown(const PatternDimension& dimension);

}  // namespace m2bert::ops
