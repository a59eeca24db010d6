#include "m2bert/ops/axis_pattern.h"

#include <algorithm>
#include <charconv>

#include "m2bert/error.h"

namespace m2bert::ops {
namespace {

using Kind = PatternAxis::Kind;

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || static_cast<unsigned char>(c) >= 0x80; }
bool in_word(char c) { return is_letter(c) || is_digit(c) || c == '_' || c == '.'; }

int parse_number(std::string_view digits) {
  int value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  require(error == std::errc() && end == digits.data() + digits.size(), "the length ", digits, " is too large");
  require(value > 0, "an axis that is written as a number has a positive length, not ", digits);
  return value;
}

PatternAxis parse_axis(std::string_view word, bool with_skips) {
  const std::string text(word);
  if (text == "...") return {Kind::ellipsis, text};
  require(word.find('.') == word.npos, '"', word, "\": dots stand only in an ellipsis (...), which is a word by itself");
  if (std::all_of(word.begin(), word.end(), is_digit)) return {Kind::number, text, parse_number(word)};
  if (with_skips && text == "_") return {Kind::name, text};
  require(word.front() != '_' && word.back() != '_', "the axis name \"", word, "\" begins or ends with an underscore");
  require(is_letter(word.front()), "the axis name \"", word, "\" does not begin with a letter");
  return {Kind::name, text};
}

// Collects the words of one side into dimensions.
class SideParser {
 public:
  SideParser(std::string_view text, bool with_skips) : text_(text), with_skips_(with_skips) {}

  PatternSide parse() {
    while (at_ < text_.size()) step(text_[at_]);
    require(!open_, "a parenthesis is not closed in \"", text_, '"');
    return std::move(side_);
  }

 private:
  void step(char c) {
    if (in_word(c)) {
      add(parse_axis(take_word(), with_skips_));
      return;
    }
    ++at_;
    if (c == '(') {
      require(!open_, "parentheses inside parentheses in \"", text_, '"');
      side_.push_back({{}, true});
      open_ = true;
    } else if (c == ')') {
      require(open_, "a parenthesis is closed that was not opened in \"", text_, '"');
      open_ = false;
    } else {
      require(c == ' ', "unknown character '", c, "' in \"", text_, '"');
    }
  }

  std::string_view take_word() {
    const size_t begin = at_;
    while (at_ < text_.size() && in_word(text_[at_])) ++at_;
    return text_.substr(begin, at_ - begin);
  }

  void add(PatternAxis axis) {
    const bool skip = axis.text == "_";
    for (const auto& dimension : side_) {
      for (const auto& other : dimension.axes) {
        require(skip || !axis.matches(other), "the axis ", axis.text, " stands twice in \"", text_, '"');
      }
    }
    if (!open_) side_.emplace_back();
    if (axis.kind != Kind::number || axis.length != 1) side_.back().axes.push_back(std::move(axis));
  }

  std::string_view text_;
  bool with_skips_;
  size_t at_ = 0;
  bool open_ = false;  // inside parentheses: words are added to the last dimension
  PatternSide side_;
};

}  // namespace

PatternSide parse_side(std::string_view text, bool with_skips) { return SideParser(text, with_skips).parse(); }

Pattern parse_pattern(std::string_view text) {
  constexpr std::string_view arrow = "->";
  const size_t at = text.find(arrow);
  require(at != text.npos, "a pattern wants an arrow: \"left -> right\"");
  const auto right = text.substr(at + arrow.size());
  require(right.find(arrow) == right.npos, "a pattern wants one arrow, this one has several");
  return {parse_side(text.substr(0, at)), parse_side(right)};
}

bool has_ellipsis(const PatternSide& side) {
  return std::any_of(side.begin(), side.end(), [](const PatternDimension& dimension) {
    return std::any_of(dimension.axes.begin(), dimension.axes.end(), [](const PatternAxis& axis) { return axis.kind == Kind::ellipsis; });
  });
}

std::string shown(const PatternDimension& dimension) {
  if (dimension.axes.empty()) return "1";
  std::string text;
  for (const auto& axis : dimension.axes) text += (text.empty() ? "" : " ") + axis.text;
  return dimension.in_parentheses ? "(" + text + ")" : text;
}

}  // namespace m2bert::ops
