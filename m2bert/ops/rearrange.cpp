#include "m2bert/ops/rearrange.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <unordered_map>

#include "m2bert/error.h"
#include "m2bert/ops/axis_pattern.h"

namespace m2bert::ops {
namespace {

using Kind = PatternAxis::Kind;

enum class Op { rearrange, repeat, reduce };

const char* name(Op op) {
  constexpr const char* names[] = {"rearrange", "repeat", "reduce"};
  return names[int(op)];
}

const char* name(Reduction reduction) {
  constexpr const char* names[] = {"sum", "mean", "max", "min", "prod", "any", "all"};
  return names[int(reduction)];
}

std::string shown(const Axes& axes) {
  std::string text;
  for (const auto& [axis, length] : axes) text += (text.empty() ? "" : ", ") + axis + " = " + std::to_string(length);
  return text.empty() ? "no lengths are given" : "given: " + text;
}

// f(), with the caller's arguments added to its errors.
template <class F>
auto explained(const char* op, std::string_view pattern, const mx::Shape& shape, const Axes& axes, const F& f) {
  try {
    return f();
  } catch (const Error& error) {
    fail("[", op, "] \"", pattern, "\": ", error.what(), " [x has shape ", shape, "; ", shown(axes), "]");
  }
}

// ---- Which axes may be on one side only

const PatternAxis* axis_missing_in(const PatternSide& other, const PatternSide& side) {
  auto there = [&](const PatternAxis& axis) {
    return std::any_of(other.begin(), other.end(), [&](const PatternDimension& dimension) {
      return std::any_of(dimension.axes.begin(), dimension.axes.end(), [&](const PatternAxis& o) { return o.matches(axis); });
    });
  };
  for (const auto& dimension : side) {
    for (const auto& axis : dimension.axes) {
      if (!there(axis)) return &axis;
    }
  }
  return nullptr;
}

void reject_one_sided(Op op, const PatternAxis* axis, const char* side) {
  if (!axis) return;
  const char* reason = op == Op::rearrange ? "rearrange keeps every axis (repeat makes new ones, reduce removes some)"
                       : op == Op::repeat  ? "repeat removes none (reduce does)"
                                           : "reduce makes none (repeat does)";
  const char* note = axis->kind == Kind::number ? " (a number other than 1 is an axis of its own)" : "";
  fail("the axis ", axis->text, " stands on the ", side, " alone", note, ", but ", reason);
}

void check_sides(Op op, const Pattern& pattern) {
  for (const auto& dimension : pattern.left) {
    for (const auto& axis : dimension.axes) {
      require(axis.kind != Kind::ellipsis || !dimension.in_parentheses, "an ellipsis in parentheses may stand on the right alone, but ",
              shown(dimension), " is on the left");
    }
  }
  require(has_ellipsis(pattern.left) || !has_ellipsis(pattern.right), "an ellipsis stands on the right alone");
  if (op != Op::reduce) reject_one_sided(op, axis_missing_in(pattern.right, pattern.left), "left");
  if (op != Op::repeat) reject_one_sided(op, axis_missing_in(pattern.left, pattern.right), "right");
}

// ---- The axes of both sides, each once, with their lengths

constexpr int unknown = -1;

struct Axis {
  PatternAxis written;
  int length = unknown;
  bool on_left = false, on_right = false;
};

using Groups = std::vector<std::vector<int>>;  // a list of dimensions, each as indices into Layout::axes

struct Layout {
  std::vector<Axis> axes;     // in the order of the left side, then new ones
  std::vector<int> ellipsis;  // indices of the axes that the ellipsis stands for
  Groups left, right;
};

int add_axis(Layout& layout, const PatternAxis& axis) {
  layout.axes.push_back({axis, axis.kind == Kind::number ? axis.length : unknown});
  return int(layout.axes.size()) - 1;
}

void add_left(Layout& layout, const PatternDimension& dimension, int ellipsis_dims) {
  const bool ellipsis = !dimension.axes.empty() && dimension.axes.front().kind == Kind::ellipsis;
  if (ellipsis) {
    for (int i = 0; i < ellipsis_dims; ++i) {
      layout.ellipsis.push_back(add_axis(layout, dimension.axes.front()));
      layout.left.push_back({layout.ellipsis.back()});
    }
    return;
  }
  auto& group = layout.left.emplace_back();
  group.reserve(dimension.axes.size());
  for (const auto& axis : dimension.axes) group.push_back(add_axis(layout, axis));
}

// The index of an axis of the right side; a new one if the left side lacks it.
int find_or_add(Layout& layout, const PatternAxis& axis) {
  const auto found = std::find_if(layout.axes.begin(), layout.axes.end(), [&](const Axis& a) { return a.written.matches(axis); });
  return found != layout.axes.end() ? int(found - layout.axes.begin()) : add_axis(layout, axis);
}

void add_right(Layout& layout, const PatternDimension& dimension) {
  std::vector<int> group;
  for (const auto& axis : dimension.axes) {
    if (axis.kind == Kind::ellipsis) group.insert(group.end(), layout.ellipsis.begin(), layout.ellipsis.end());
    else group.push_back(find_or_add(layout, axis));
  }
  const bool bare_ellipsis = !dimension.in_parentheses && !dimension.axes.empty() && dimension.axes.front().kind == Kind::ellipsis;
  if (!bare_ellipsis) {
    layout.right.push_back(group);
  } else {
    for (int axis : group) layout.right.push_back({axis});
  }
}

Layout lay_out(const Pattern& pattern, int ndim) {
  const bool ellipsis = has_ellipsis(pattern.left);
  const int written = int(pattern.left.size()) - (ellipsis ? 1 : 0);
  require(ellipsis ? ndim >= written : ndim == written, "the left side wants ", ellipsis ? "at least " : "", written, " dimensions, x has ",
          ndim);
  Layout layout;
  for (const auto& dimension : pattern.left) add_left(layout, dimension, ndim - written);
  for (const auto& dimension : pattern.right) add_right(layout, dimension);
  for (const auto& group : layout.left) {
    for (int axis : group) layout.axes[axis].on_left = true;
  }
  for (const auto& group : layout.right) {
    for (int axis : group) layout.axes[axis].on_right = true;
  }
  return layout;
}

void set_lengths(Layout& layout, const Axes& given) {
  for (const auto& [name, length] : given) {
    const auto axis = std::find_if(layout.axes.begin(), layout.axes.end(),
                                   [&](const Axis& a) { return a.written.kind == Kind::name && a.written.text == name; });
    require(axis != layout.axes.end(), "a length is given for ", name, ", which is no axis of the pattern");
    require(length >= 0, "the length of ", name, " is ", length);
    require(axis->length == unknown, "the length of ", name, " is given twice");
    axis->length = length;
  }
}

int product(const Layout& layout, const std::vector<int>& group) {
  int64_t size = 1;
  for (int axis : group) {
    size *= layout.axes[axis].length;
    require(size <= std::numeric_limits<int>::max(), "a dimension would be longer than ", std::numeric_limits<int>::max());
  }
  return int(size);
}

std::string shown(const Layout& layout, const std::vector<int>& group) {
  PatternDimension dimension{{}, group.size() > 1};
  for (int axis : group) dimension.axes.push_back(layout.axes[axis].written);
  return shown(dimension);
}

// Finds the one unknown length of a dimension of x, or checks that the known ones agree with it.
void infer_lengths(Layout& layout, int dimension, int length) {
  const auto& group = layout.left[dimension];
  std::vector<int> known;
  int* missing = nullptr;
  for (int axis : group) {
    if (layout.axes[axis].length != unknown) {
      known.push_back(axis);
      continue;
    }
    require(!missing, "more than one length is unknown in ", shown(layout, group), ", dimension ", dimension, " of x: give all but one");
    missing = &layout.axes[axis].length;
  }
  const int size = product(layout, known);
  const auto what = [&] {
    return "dimension " + std::to_string(dimension) + " of x, " + shown(layout, group) + ", has length " + std::to_string(length);
  };
  if (!missing) {
    require(size == length, what(), "; the pattern and the lengths given say ", size);
    return;
  }
  require(size > 0, what(), ", from which no length follows beside a length of 0");
  require(length % size == 0, what(), ", which is no multiple of ", size);
  *missing = length / size;
}

void resolve_lengths(Layout& layout, const mx::Shape& shape, const Axes& given) {
  set_lengths(layout, given);
  for (size_t i = 0; i < layout.left.size(); ++i) infer_lengths(layout, int(i), shape[i]);
  for (const auto& axis : layout.axes) {
    require(axis.length != unknown, "the new axis ", axis.written.text, " has no length: give it one, as in {{\"", axis.written.text,
            "\", 2}}");
  }
}

// ---- What to do with an array

// In this order: split, reduce, transpose, insert, stretch, merge.
struct Plan {
  mx::Shape split;            // x's dimensions split into axes
  std::vector<int> reduced;   // indices into split
  std::vector<int> order;     // transposition of the remaining axes
  std::vector<int> inserted;  // indices of new axes in the result
  mx::Shape stretched;        // the result's axes, with the lengths of new ones
  mx::Shape merged;           // the result's dimensions
};

Plan make_plan(const Layout& layout) {
  Plan plan;
  std::vector<int> place(layout.axes.size());  // index among the remaining axes
  int kept = 0;
  for (size_t i = 0; i < layout.axes.size() && layout.axes[i].on_left; ++i) {
    plan.split.push_back(layout.axes[i].length);
    if (layout.axes[i].on_right) place[i] = kept++;
    else plan.reduced.push_back(int(i));
  }
  for (const auto& group : layout.right) {
    for (int axis : group) {
      if (layout.axes[axis].on_left) plan.order.push_back(place[axis]);
      else plan.inserted.push_back(int(plan.stretched.size()));
      plan.stretched.push_back(layout.axes[axis].length);
    }
    plan.merged.push_back(product(layout, group));
  }
  return plan;
}

Plan make_plan(Op op, std::string_view text, const mx::Shape& shape, const Axes& axes) {
  return explained(name(op), text, shape, axes, [&] {
    const auto pattern = parse_pattern(text);
    check_sides(op, pattern);
    auto layout = lay_out(pattern, int(shape.size()));
    resolve_lengths(layout, shape, axes);
    return make_plan(layout);
  });
}

// Everything a plan depends on, as an unambiguous string of bytes.
std::string plan_key(Op op, std::string_view text, const mx::Shape& shape, const Axes& axes) {
  std::string key(1, char(op));
  const auto add = [&](const std::string_view bytes) { key.append(std::to_string(bytes.size())).append(":").append(bytes); };
  add(text);
  for (int length : shape) key.append(std::to_string(length)).append(",");
  for (const auto& [axis, length] : axes) {
    add(axis);
    key.append(std::to_string(length)).append(",");
  }
  return key;
}

// The plan from a cache: a model needs the same few plans at every step, and making one takes longer than MLX's own work. Valid until the
// next call.
const Plan& cached_plan(Op op, std::string_view text, const mx::Shape& shape, const Axes& axes) {
  constexpr size_t most = 1024;
  thread_local std::unordered_map<std::string, Plan> plans;
  auto key = plan_key(op, text, shape, axes);
  if (const auto found = plans.find(key); found != plans.end()) return found->second;
  auto plan = make_plan(op, text, shape, axes);
  if (plans.size() >= most) plans.clear();
  return plans.emplace(std::move(key), std::move(plan)).first->second;
}

void check_reduction(const Plan& plan, Reduction reduction, const mx::Dtype& dtype) {
  if (plan.reduced.empty()) return;
  const bool extreme = reduction == Reduction::max || reduction == Reduction::min;
  require(reduction != Reduction::mean || mx::issubdtype(dtype, mx::inexact), "mean wants a floating dtype, x is ", dtype);
  require(!extreme || dtype != mx::complex64, name(reduction), " wants numbers with an order, x is ", dtype);
  for (int axis : plan.reduced) {
    require(!extreme || plan.split[axis] > 0, name(reduction), " of an axis of length 0 has no value");
  }
}

mx::array mean(const mx::array& x, const std::vector<int>& axes, mx::StreamOrDevice s) {
  const bool half = x.dtype() == mx::float16 || x.dtype() == mx::bfloat16;
  if (!half) return mx::mean(x, axes, false, s);
  return mx::astype(mx::mean(mx::astype(x, mx::float32, s), axes, false, s), x.dtype(), s);
}

mx::array prod(const mx::array& x, const std::vector<int>& axes, mx::StreamOrDevice s) {
  auto y = mx::prod(x, axes, false, s);
  // MLX's gradient cannot infer the shapes of empty arrays, and has nothing to compute.
  return x.size() > 0 ? y : mx::ones(y.shape(), y.dtype(), s);
}

mx::array reduced(const mx::array& x, const std::vector<int>& axes, Reduction reduction, mx::StreamOrDevice s) {
  switch (reduction) {
    case Reduction::sum: return mx::sum(x, axes, false, s);
    case Reduction::mean: return mean(x, axes, s);
    case Reduction::max: return mx::max(x, axes, false, s);
    case Reduction::min: return mx::min(x, axes, false, s);
    case Reduction::prod: return prod(x, axes, s);
    case Reduction::any: return mx::any(x, axes, false, s);
    case Reduction::all: return mx::all(x, axes, false, s);
  }
  fail("[reduce] no such reduction: ", int(reduction));
}

mx::array apply(const mx::array& x, const Plan& plan, std::optional<Reduction> reduction, mx::StreamOrDevice s) {
  const bool in_order = std::is_sorted(plan.order.begin(), plan.order.end());
  if (in_order && plan.reduced.empty() && plan.inserted.empty()) return mx::reshape(x, plan.merged, s);
  auto y = mx::reshape(x, plan.split, s);
  if (!plan.reduced.empty()) y = reduced(y, plan.reduced, reduction.value(), s);
  if (!in_order) y = mx::transpose(y, plan.order, s);
  if (!plan.inserted.empty()) y = mx::broadcast_to(mx::expand_dims(y, plan.inserted, s), plan.stretched, s);
  return mx::reshape(y, plan.merged, s);
}

mx::array stacked(Op op, const std::vector<mx::array>& xs, std::string_view pattern, mx::StreamOrDevice s) {
  require(!xs.empty(), "[", name(op), "] \"", pattern, "\": the list of arrays is empty");
  for (const auto& x : xs) {
    require(x.shape() == xs[0].shape(), "[", name(op), "] \"", pattern, "\": the arrays of the list have unlike shapes, ", xs[0].shape(),
            " and ", x.shape());
  }
  return mx::stack(xs, 0, s);
}

// ---- parse_shape

// The index of the dimension that is a bare ellipsis; the number of dimensions if there is none.
size_t ellipsis_place(const PatternSide& side) {
  for (size_t i = 0; i < side.size(); ++i) {
    require(side[i].axes.size() < 2, shown(side[i]), " is one dimension, so the shape does not tell the lengths of its axes");
    if (side[i].axes.empty() || side[i].axes[0].kind != Kind::ellipsis) continue;
    require(!side[i].in_parentheses, "an ellipsis in parentheses has no length of its own");
    return i;
  }
  return side.size();
}

Axes named_lengths(const PatternSide& side, const mx::Shape& shape) {
  const size_t ellipsis = ellipsis_place(side);
  const bool open = ellipsis < side.size();
  const size_t written = side.size() - (open ? 1 : 0);
  require(open ? shape.size() >= written : shape.size() == written, "the pattern wants ", open ? "at least " : "", written,
          " dimensions, x has ", shape.size());
  Axes lengths;
  for (size_t i = 0; i < side.size(); ++i) {
    if (i == ellipsis) continue;
    const int length = shape[i < ellipsis ? i : i + shape.size() - side.size()];
    const bool named = !side[i].axes.empty() && side[i].axes[0].kind == Kind::name;
    const int wanted = side[i].axes.empty() ? 1 : side[i].axes[0].length;
    require(named || length == wanted, "dimension ", i, " has length ", length, ", the pattern says ", wanted);
    if (named && side[i].axes[0].text != "_") lengths.emplace_back(side[i].axes[0].text, length);
  }
  return lengths;
}

}  // namespace

mx::array rearrange(const mx::array& x, std::string_view pattern, const Axes& axes, mx::StreamOrDevice s) {
  return apply(x, cached_plan(Op::rearrange, pattern, x.shape(), axes), {}, s);
}

mx::array repeat(const mx::array& x, std::string_view pattern, const Axes& axes, mx::StreamOrDevice s) {
  return apply(x, cached_plan(Op::repeat, pattern, x.shape(), axes), {}, s);
}

mx::array reduce(const mx::array& x, std::string_view pattern, Reduction reduction, const Axes& axes, mx::StreamOrDevice s) {
  const auto& plan = cached_plan(Op::reduce, pattern, x.shape(), axes);
  explained(name(Op::reduce), pattern, x.shape(), axes, [&] { check_reduction(plan, reduction, x.dtype()); });
  return apply(x, plan, reduction, s);
}

mx::array rearrange(const std::vector<mx::array>& xs, std::string_view pattern, const Axes& axes, mx::StreamOrDevice s) {
  return rearrange(stacked(Op::rearrange, xs, pattern, s), pattern, axes, s);
}

mx::array repeat(const std::vector<mx::array>& xs, std::string_view pattern, const Axes& axes, mx::StreamOrDevice s) {
  return repeat(stacked(Op::repeat, xs, pattern, s), pattern, axes, s);
}

mx::array reduce(const std::vector<mx::array>& xs, std::string_view pattern, Reduction reduction, const Axes& axes, mx::StreamOrDevice s) {
  return reduce(stacked(Op::reduce, xs, pattern, s), pattern, reduction, axes, s);
}

mx::array rearrange(std::initializer_list<mx::array> xs, std::string_view pattern, const Axes& axes, mx::StreamOrDevice s) {
  return rearrange(std::vector(xs), pattern, axes, s);
}

mx::array repeat(std::initializer_list<mx::array> xs, std::string_view pattern, const Axes& axes, mx::StreamOrDevice s) {
  return repeat(std::vector(xs), pattern, axes, s);
}

mx::array reduce(std::initializer_list<mx::array> xs, std::string_view pattern, Reduction reduction, const Axes& axes,
                 mx::StreamOrDevice s) {
  return reduce(std::vector(xs), pattern, reduction, axes, s);
}

Axes parse_shape(const mx::array& x, std::string_view pattern) {
  return explained("parse_shape", pattern, x.shape(), {}, [&] { return named_lengths(parse_side(pattern, true), x.shape()); });
}

}  // namespace m2bert::ops
