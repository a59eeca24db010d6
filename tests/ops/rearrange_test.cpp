// einops' operations, by example and against the einops package on random patterns (tests/golden/einops/generate.py).
#include "m2bert/ops/rearrange.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "m2bert/error.h"
#include "m2bert/io/json.h"
#include "near.h"

namespace m2bert::ops {
namespace {

using testing_ops::gradients;

// 0, 1, 2, ... in this shape
mx::array counted(const mx::Shape& shape, mx::Dtype dtype = mx::float32) {
  const int n = std::accumulate(shape.begin(), shape.end(), 1, std::multiplies<>());
  return mx::astype(mx::reshape(mx::arange(0, n, 1, mx::int32), shape), dtype);
}

void expect_same(const mx::array& a, const mx::array& b) {
  ASSERT_EQ(a.shape(), b.shape());
  ASSERT_EQ(a.dtype(), b.dtype());
  EXPECT_TRUE(mx::array_equal(a, b).item<bool>());
}

std::string error_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

void expect_error(const std::function<void()>& f, const std::vector<std::string>& parts) {
  const auto message = error_of(f);
  EXPECT_FALSE(message.empty()) << "no error";
  for (const auto& part : parts) EXPECT_NE(message.find(part), std::string::npos) << message << "\nlacks: " << part;
}

// ---- By example

TEST(Rearrange, Transposes) { expect_same(rearrange(counted({2, 3, 4}), "b l d -> d b l"), mx::transpose(counted({2, 3, 4}), {2, 0, 1})); }

TEST(Rearrange, SplitsAnAxisIntoHeads) {
  const auto x = counted({2, 5, 12});  // 12 = 3 heads of 4; the length of d follows
  expect_same(rearrange(x, "b l (h d) -> b h l d", {{"h", 3}}), mx::transpose(mx::reshape(x, {2, 5, 3, 4}), {0, 2, 1, 3}));
  expect_same(rearrange(rearrange(x, "b l (h d) -> b h l d", {{"h", 3}}), "b h l d -> b l (h d)"), x);
}

TEST(Rearrange, OrderInParenthesesMatters) {
  const auto x = counted({6});
  expect_same(rearrange(x, "(a b) -> a b", {{"a", 2}}), mx::array({0.f, 1.f, 2.f, 3.f, 4.f, 5.f}, {2, 3}));
  expect_same(rearrange(x, "(b a) -> a b", {{"a", 2}}), mx::array({0.f, 2.f, 4.f, 1.f, 3.f, 5.f}, {2, 3}));
}

TEST(Rearrange, EllipsisIsAnyNumberOfDimensions) {
  expect_same(rearrange(counted({2, 3}), "... d -> d ..."), mx::transpose(counted({2, 3})));
  expect_same(rearrange(counted({2, 3, 4, 5}), "... d -> d ..."), mx::transpose(counted({2, 3, 4, 5}), {3, 0, 1, 2}));
  expect_same(rearrange(counted({3}), "... d -> d ..."), counted({3}));
  expect_same(rearrange(counted({2, 3, 4}), "... d -> (...) d"), counted({6, 4}));
  expect_same(rearrange(counted({4}), "... d -> (...) d"), counted({1, 4}));
}

TEST(Rearrange, UnitAxesComeAndGo) {
  expect_same(rearrange(counted({2, 3}), "a b -> a 1 b ()"), counted({2, 1, 3, 1}));
  expect_same(rearrange(counted({2, 1, 3, 1}), "a 1 b () -> a b"), counted({2, 3}));
  expect_same(rearrange(mx::array(7.f), "-> 1 1"), mx::reshape(mx::array(7.f), {1, 1}));
  expect_same(rearrange(mx::array(7.f), "->"), mx::array(7.f));
}

TEST(Rearrange, StacksAList) {
  const std::vector<mx::array> xs{counted({2, 3}), counted({2, 3}) + mx::array(10.f)};
  expect_same(rearrange(xs, "n a b -> a (n b)"), mx::concatenate(xs, 1));
  expect_same(rearrange({xs[0], xs[1]}, "n a b -> a b n"), mx::stack(xs, 2));
  expect_same(reduce({xs[0], xs[1]}, "n a b -> a b", Reduction::sum), xs[0] + xs[1]);
  expect_same(repeat({xs[0]}, "n a b -> (r n) a b", {{"r", 2}}), mx::stack({xs[0], xs[0]}));
}

TEST(Rearrange, ReturnsXIfNothingChanges) {
  const auto x = counted({2, 3, 4});
  EXPECT_EQ(rearrange(x, "a b c -> a b c").id(), x.id());
  EXPECT_EQ(rearrange(x, "a (b c) d -> a (b c) d", {{"b", 3}}).id(), x.id());
  EXPECT_EQ(repeat(x, "... -> ...").id(), x.id());
  EXPECT_EQ(reduce(x, "a ... -> a ...", Reduction::max).id(), x.id());
}

// Plans are cached: the same pattern with another shape, other lengths or another operation needs another plan.
TEST(Rearrange, SamePatternForOtherArrays) {
  for (int twice = 0; twice < 2; ++twice) {
    EXPECT_EQ(rearrange(counted({2, 12}), "a (b c) -> c a b", {{"b", 3}}).shape(), (mx::Shape{4, 2, 3}));
    EXPECT_EQ(rearrange(counted({2, 12}), "a (b c) -> c a b", {{"c", 3}}).shape(), (mx::Shape{3, 2, 4}));
    EXPECT_EQ(rearrange(counted({2, 12}), "a (b c) -> c a b", {{"b", 6}}).shape(), (mx::Shape{2, 2, 6}));
    EXPECT_EQ(rearrange(counted({3, 12}), "a (b c) -> c a b", {{"b", 6}}).shape(), (mx::Shape{2, 3, 6}));
    EXPECT_EQ(reduce(counted({2, 3}), "a b -> a", Reduction::sum).shape(), (mx::Shape{2}));
    expect_error([] { rearrange(counted({2, 3}), "a b -> a"); }, {"rearrange keeps every axis"});
    EXPECT_EQ(repeat(counted({2}), "a -> a b", {{"b", 3}}).shape(), (mx::Shape{2, 3}));
    EXPECT_EQ(repeat(counted({2}), "a -> a b", {{"b", 4}}).shape(), (mx::Shape{2, 4}));
  }
}

TEST(Rearrange, SupportsEveryDtype) {
  for (auto dtype : {mx::bool_, mx::uint8, mx::uint16, mx::uint32, mx::uint64, mx::int8, mx::int16, mx::int32, mx::int64, mx::float16,
                     mx::bfloat16, mx::float32, mx::complex64}) {
    const auto x = counted({2, 6}, dtype);
    expect_same(rearrange(x, "a (b c) -> c b a", {{"b", 2}}), mx::transpose(mx::reshape(x, {2, 2, 3}), {2, 1, 0}));
    expect_same(repeat(x, "a b -> a 2 b"), mx::stack({x, x}, 1));
  }
}

TEST(Repeat, MakesNewAxes) {
  const auto x = counted({2, 3});
  expect_same(repeat(x, "a b -> a b c", {{"c", 2}}), mx::stack({x, x}, 2));
  expect_same(repeat(x, "a b -> 2 a b"), mx::stack({x, x}, 0));
  expect_same(repeat(x, "a b -> (r a) b", {{"r", 2}}), mx::concatenate({x, x}, 0));  // tile
  expect_same(repeat(x, "a b -> (a r) b", {{"r", 2}}), mx::repeat(x, 2, 0));         // every row twice
  expect_same(repeat(mx::array(3.f), "-> l", {{"l", 4}}), mx::full({4}, 3.f));
  EXPECT_EQ(repeat(x, "a b -> r a b", {{"r", 0}}).shape(), (mx::Shape{0, 2, 3}));
}

TEST(Repeat, DoesNotCopy) {
  auto x = counted({3});
  auto y = repeat(x, "d -> b l d", {{"b", 1000}, {"l", 1000}});
  y.eval();
  EXPECT_EQ(y.data<float>(), x.data<float>());
  EXPECT_EQ(y.data_size(), 3u);
}

TEST(Reduce, RemovesAxes) {
  const auto x = counted({2, 3, 4});
  expect_same(reduce(x, "b l d -> b d", Reduction::sum), mx::sum(x, 1));
  expect_same(reduce(x, "b l d -> d b", Reduction::mean), mx::transpose(mx::mean(x, 1)));
  expect_same(reduce(x, "b ... -> b", Reduction::max), mx::max(x, std::vector<int>{1, 2}));
  expect_same(reduce(x, "... -> ", Reduction::min), mx::array(0.f));
  expect_same(reduce(x, "b l d -> 1 l 1", Reduction::sum), mx::sum(x, std::vector<int>{0, 2}, true));
  expect_same(reduce(x + mx::array(1.f), "b l d -> l", Reduction::prod), mx::prod(x + mx::array(1.f), std::vector<int>{0, 2}));
}

TEST(Reduce, PoolsBlocks) {
  const auto x = counted({4, 6});
  const auto blocks = mx::reshape(x, {2, 2, 3, 2});
  expect_same(reduce(x, "(h 2) (w 2) -> h w", Reduction::max), mx::max(blocks, std::vector<int>{1, 3}));
  expect_same(reduce(x, "(h p) (w q) -> h w", Reduction::mean, {{"p", 2}, {"q", 2}}), mx::mean(blocks, std::vector<int>{1, 3}));
}

TEST(Reduce, AnyAndAllAreBool) {
  const auto mask = mx::array({true, false, false, false, true, true}, {3, 2});
  expect_same(reduce(mask, "b l -> b", Reduction::any), mx::array({true, false, true}));
  expect_same(reduce(mask, "b l -> b", Reduction::all), mx::array({false, false, true}));
  expect_same(reduce(counted({2, 2}), "a b -> a", Reduction::all), mx::array({false, true}));
}

TEST(Reduce, KeepsTheDtype) {
  using enum Reduction;
  for (auto dtype : {mx::float16, mx::bfloat16, mx::float32}) {
    for (auto reduction : {sum, mean, max, min, prod}) EXPECT_EQ(reduce(counted({2, 3}, dtype), "a b -> a", reduction).dtype(), dtype);
  }
  EXPECT_EQ(reduce(counted({2, 3}, mx::int8), "a b -> a", sum).dtype(), mx::int32);
  EXPECT_EQ(reduce(counted({2, 3}, mx::int8), "a b -> a", max).dtype(), mx::int8);
  EXPECT_EQ(reduce(counted({2, 3}, mx::int64), "a b -> a", prod).dtype(), mx::int64);
  EXPECT_EQ(reduce(counted({2, 3}, mx::bool_), "a b -> a", sum).dtype(), mx::int32);
}

// 4096 times 100 is beyond float16; bfloat16 would round a sum and then its product with 1/n.
TEST(Reduce, AveragesHalvesInFloat32) {
  expect_same(reduce(mx::full({4096}, 100.f, mx::float16), "n ->", Reduction::mean), mx::array(100.f, mx::float16));
  const auto x = testing_ops::random({7, 33}, 1, mx::bfloat16);
  expect_same(reduce(x, "a b -> a", Reduction::mean), mx::astype(mx::mean(mx::astype(x, mx::float32), 1), mx::bfloat16));
}

TEST(Reduce, ReducesEmptyArrays) {
  using enum Reduction;
  const auto x = mx::zeros({2, 0, 3});
  expect_same(reduce(x, "a b c -> a", sum), mx::zeros({2}));
  expect_same(reduce(x, "a b c -> a", prod), mx::ones({2}));
  EXPECT_TRUE(mx::all(mx::isnan(reduce(x, "a b c -> a", mean))).item<bool>());
  EXPECT_EQ(reduce(x, "a b c -> b", max).shape(), (mx::Shape{0}));
  expect_error([&] { reduce(x, "a b c -> a", max); }, {"max of an axis of length 0", "\"a b c -> a\"", "(2,0,3)"});
}

TEST(ParseShape, NamesLengths) {
  const auto x = counted({2, 3, 4, 1});
  EXPECT_EQ(parse_shape(x, "b _ d 1"), (Axes{{"b", 2}, {"d", 4}}));
  EXPECT_EQ(parse_shape(x, "b ... _"), (Axes{{"b", 2}}));
  EXPECT_EQ(parse_shape(x, "... d ()"), (Axes{{"d", 4}}));
  EXPECT_EQ(parse_shape(x, "_ 3 _ ..."), Axes{});
  EXPECT_EQ(repeat(counted({2}), "b -> (b d)", parse_shape(counted({4}), "d")).shape(), (mx::Shape{8}));
  expect_error([&] { parse_shape(x, "a b"); }, {"[parse_shape]", "\"a b\"", "wants 2 dimensions, x has 4", "(2,3,4,1)"});
  expect_error([&] { parse_shape(x, "a b c d ... e"); }, {"at least 5"});
  expect_error([&] { parse_shape(x, "a b c 2"); }, {"dimension 3 has length 1, the pattern says 2"});
  expect_error([&] { parse_shape(x, "(a b) c d e"); }, {"(a b)"});
  expect_error([&] { parse_shape(x, "a (...)"); }, {"ellipsis in parentheses"});
}

// ---- Gradients by example

mx::array gradient(const std::function<mx::array(const mx::array&)>& f, const mx::array& x) {
  return mx::grad([&](const mx::array& in) { return mx::sum(f(in)); })(x);
}

TEST(RearrangeGradient, GoesBackTheSameWay) {
  const auto c = counted({3, 2, 2});
  const auto g =
      gradients([](const std::vector<mx::array>& in) { return rearrange(in[0], "a (b c) -> c a b", {{"b", 2}}); }, {counted({2, 6})}, c);
  expect_same(g[0], rearrange(c, "c a b -> a (b c)"));
}

TEST(RearrangeGradient, OfRepeatIsTheSum) {
  const auto c = counted({5, 2, 3});
  const auto g =
      gradients([](const std::vector<mx::array>& in) { return repeat(in[0], "a b -> r a b", {{"r", 5}}); }, {counted({2, 3})}, c);
  expect_same(g[0], mx::sum(c, 0));
}

TEST(RearrangeGradient, OfOneArrayInAList) {
  const auto a = counted({2, 3}), b = counted({2, 3});
  const auto g =
      gradients([&](const std::vector<mx::array>& in) { return rearrange({a, in[0]}, "n x y -> n (x y)"); }, {b}, counted({2, 6}));
  expect_same(g[0], mx::array({6.f, 7.f, 8.f, 9.f, 10.f, 11.f}, {2, 3}));
}

TEST(RearrangeGradient, OfMaxIsSplitAmongEquals) {
  const auto x = mx::array({1.f, 5.f, 5.f, 2.f, 2.f, 2.f}, {2, 3});
  const auto largest = gradient([](const mx::array& in) { return reduce(in, "a b -> a", Reduction::max); }, x);
  testing_ops::expect_near(largest, mx::array({0.f, 0.5f, 0.5f, 1 / 3.f, 1 / 3.f, 1 / 3.f}, {2, 3}), 1e-6);
  const auto smallest = gradient([](const mx::array& in) { return reduce(in, "a b -> ", Reduction::min); }, x);
  expect_same(smallest, mx::array({1.f, 0.f, 0.f, 0.f, 0.f, 0.f}, {2, 3}));
}

TEST(RearrangeGradient, OfProdWithZeros) {
  const auto of_rows = [](const mx::array& in) { return reduce(in, "a b -> a", Reduction::prod); };
  expect_same(gradient(of_rows, mx::array({2.f, 0.f, 3.f, 0.f, 0.f, 4.f}, {2, 3})), mx::array({0.f, 6.f, 0.f, 0.f, 0.f, 0.f}, {2, 3}));
  const auto of_all = [](const mx::array& in) { return reduce(in, "a b -> ", Reduction::prod); };
  expect_same(gradient(of_all, mx::array({2.f, 0.f, 3.f, 5.f}, {2, 2})), mx::array({0.f, 30.f, 0.f, 0.f}, {2, 2}));
  const auto of_none = [](const mx::array& in) { return reduce(in, "a b c -> b", Reduction::prod); };
  EXPECT_EQ(gradient(of_none, mx::zeros({2, 0, 3})).shape(), (mx::Shape{2, 0, 3}));
}

TEST(RearrangeGradient, HalvesKeepTheirDtype) {
  for (auto dtype : {mx::float16, mx::bfloat16}) {
    const auto x = counted({2, 4}, dtype);
    expect_same(gradient([](const mx::array& in) { return reduce(in, "a b -> b", Reduction::mean); }, x), mx::full({2, 4}, 0.5f, dtype));
    expect_same(gradient([](const mx::array& in) { return repeat(in, "a b -> 300 a b"); }, x), mx::full({2, 4}, 300.f, dtype));
    EXPECT_EQ(gradient([](const mx::array& in) { return reduce(in, "a b -> b", Reduction::max); }, x).dtype(), dtype);
  }
}

TEST(RearrangeGradient, OfAnyIsZero) {
  const auto f = [](const mx::array& in) { return mx::astype(reduce(in, "a b -> a", Reduction::any), mx::float32); };
  expect_same(gradient(f, counted({2, 3})), mx::zeros({2, 3}));
}

// ---- Errors name operation, pattern, axis, shape and lengths

TEST(RearrangeErrors, SayWhatIsWrong) {
  const auto x = counted({2, 6});
  const auto of = [&](std::string_view pattern, const Axes& axes = {}) { return error_of([&] { rearrange(x, pattern, axes); }); };
  EXPECT_EQ(of("a (b c) -> a b c", {{"b", 4}}),
            "[rearrange] \"a (b c) -> a b c\": dimension 1 of x, (b c), has length 6, which is no multiple of 4 [x has shape (2,6); given: "
            "b = 4]");
  EXPECT_EQ(of("a b -> a"),
            "[rearrange] \"a b -> a\": the axis b stands on the left alone, but rearrange keeps every axis (repeat makes new ones, reduce "
            "removes "
            "some) [x has shape (2,6); no lengths are given]");
  expect_error([&] { rearrange(x, "a b c -> c b a"); }, {"the left side wants 3 dimensions, x has 2"});
  expect_error([&] { rearrange(x, "a b c ... -> c b a ..."); }, {"wants at least 3 dimensions, x has 2"});
  expect_error([&] { rearrange(x, "a (b c) -> a b c"); }, {"more than one length is unknown in (b c), dimension 1 of x"});
  expect_error([&] { rearrange(x, "a b -> b a", {{"a", 3}}); }, {"dimension 0 of x, a, has length 2", "say 3", "a = 3"});
  expect_error([&] { rearrange(x, "a b -> b a", {{"c", 3}}); }, {"a length is given for c, which is no axis"});
  expect_error([&] { rearrange(x, "a b -> b a", {{"a", 2}, {"a", 2}}); }, {"the length of a is given twice"});
  expect_error([&] { rearrange(x, "a b -> b a", {{"a", -2}}); }, {"the length of a is -2"});
  expect_error([&] { rearrange(x, "1 b -> b"); }, {"dimension 0 of x, 1, has length 2", "say 1"});
  expect_error([&] { rearrange(mx::zeros({0}), "(a b) -> a b", {{"a", 0}}); }, {"no length follows"});
}

TEST(RearrangeErrors, ShowWhatDoesNotParse) {
  const auto of = [](std::string_view pattern, const std::string& part) {
    expect_error([&] { rearrange(counted({2, 6}), pattern); }, {"[rearrange] \"" + std::string(pattern) + "\"", part});
  };
  of("a b", "wants an arrow");
  of("a b -> b -> a", "one arrow");
  of("a (b -> a b", "not closed");
  of("a b) -> a b", "not opened");
  of("a ((b)) -> a b", "parentheses inside parentheses");
  of("a a -> a a", "the axis a stands twice");
  of("... a ... -> a", "... stands twice");
  of("_a b -> b _a", "underscore");
  of("2a b -> b 2a", "does not begin with a letter");
  of("a .. -> a ..", "dots stand only in an ellipsis");
  of("a... -> a...", "dots stand only in an ellipsis");
  of("a, b -> b a", "unknown character ','");
  of("a 0 -> a 0", "positive length");
  of("a 99999999999 -> a", "too large");
  of("a 2 -> a 2", "a number other than 1 is an axis of its own");
  of("(... a) b -> ... a b", "(... a) is on the left");
  of("a b -> a b ...", "an ellipsis stands on the right alone");
}

TEST(RearrangeErrors, OfRepeatAndReduce) {
  const auto x = counted({2, 6});
  expect_error([&] { repeat(x, "a b -> a b c"); }, {"[repeat]", "the new axis c has no length", "{{\"c\", 2}}"});
  expect_error([&] { repeat(x, "a b -> b c", {{"c", 2}}); }, {"the axis a stands on the left alone", "repeat removes none"});
  expect_error([&] { repeat(x, "a 6 -> a 6"); }, {"the axis 6 stands on the left alone", "an axis of its own"});
  expect_error([&] { repeat(x, "a b -> (a 2000000000 b)"); }, {"longer than 2147483647"});
  expect_error([&] { reduce(x, "a b -> a c", Reduction::sum); }, {"[reduce]", "the axis c stands on the right alone", "reduce makes none"});
  expect_error([&] { reduce(counted({2, 6}, mx::int32), "a b -> a", Reduction::mean); },
               {"mean wants a floating dtype, x is int32", "a b -> a"});
  expect_error([&] { reduce(counted({2, 6}, mx::complex64), "a b -> a", Reduction::max); },
               {"max wants numbers with an order", "complex64"});
  expect_error([&] { rearrange(std::vector<mx::array>{}, "n a -> a n"); }, {"[rearrange] \"n a -> a n\"", "list of arrays is empty"});
  expect_error([&] { rearrange({x, counted({2, 5})}, "n a b -> a b n"); }, {"\"n a b -> a b n\"", "(2,6)", "(2,5)"});
}

// ---- Against the einops package. The formulas are those of generate.py.

struct Case {
  std::string op, pattern;
  mx::Shape shape;
  Axes axes;
  bool is_list;
};

std::string describe(const Case& c) {
  std::ostringstream text;
  text << c.op << " \"" << c.pattern << "\" of " << c.shape << (c.is_list ? ", a list" : "") << ", lengths";
  for (const auto& [name, length] : c.axes) text << ' ' << name << '=' << length;
  return text.str();
}

mx::Shape shape_of(const io::Tree& tree) {
  const auto lengths = tree.as<std::vector<int>>();
  return mx::Shape(lengths.begin(), lengths.end());
}

Case case_of(const io::Tree& row) {
  const auto& part = row.items();
  Case c{part[0].string(), part[1].string(), shape_of(part[2]), {}, part[4].as<int>() == 1};
  for (const auto& [name, length] : part[3].members()) c.axes.emplace_back(name, length.as<int>());
  return c;
}

const io::Tree& golden() {
  static const auto tree = io::read_json(std::string(M2BERT_SOURCE_DIR) + "/tests/golden/einops/cases.json");
  return tree;
}

int value(const std::string& op, int i) {
  constexpr int factors[] = {1, 2, -1, -2, 1, -1, 2, 1, -1, 1, -2};
  if (op == "rearrange" || op == "repeat") return i;
  if (op == "prod") return i % 17 == 11 ? 0 : factors[(i * i + 3 * i) % 11];
  if (op == "any" || op == "all") return (i % 5 == 3) == (op == "any");
  return (i * i * 7 + i * 3) % 13 - 6;
}

int cotangent(int i) { return (i * i + 5 * i) % 9 - 4; }

mx::array filled(const mx::Shape& shape, mx::Dtype dtype, const std::function<int(int)>& at) {
  std::vector<int> values(std::accumulate(shape.begin(), shape.end(), size_t{1}, std::multiplies<>()));
  for (size_t i = 0; i < values.size(); ++i) values[i] = at(int(i));
  return mx::astype(mx::array(values.data(), shape, mx::int32), dtype);
}

mx::array apply(const Case& c, const mx::array& x) {
  constexpr std::pair<const char*, Reduction> reductions[] = {{"sum", Reduction::sum}, {"mean", Reduction::mean}, {"max", Reduction::max},
                                                              {"min", Reduction::min}, {"prod", Reduction::prod}, {"any", Reduction::any},
                                                              {"all", Reduction::all}};
  std::vector<mx::array> xs;
  if (c.is_list) {
    for (const auto& one : mx::split(x, x.shape(0), 0)) xs.push_back(mx::squeeze(one, 0));
  }
  if (c.op == "rearrange") return c.is_list ? rearrange(xs, c.pattern, c.axes) : rearrange(x, c.pattern, c.axes);
  if (c.op == "repeat") return c.is_list ? repeat(xs, c.pattern, c.axes) : repeat(x, c.pattern, c.axes);
  for (const auto& [name, reduction] : reductions) {
    if (c.op == name) return c.is_list ? reduce(xs, c.pattern, reduction, c.axes) : reduce(x, c.pattern, reduction, c.axes);
  }
  throw std::logic_error("no such operation: " + c.op);
}

// The values times scale, which must be integers up to float32 rounding.
std::vector<int64_t> integers(const mx::array& x, int scale) {
  auto flat = mx::contiguous(mx::astype(x, mx::float32));
  flat.eval();
  std::vector<int64_t> values(flat.size());
  for (size_t i = 0; i < values.size(); ++i) {
    const double scaled = double(flat.data<float>()[i]) * scale;
    values[i] = std::llround(scaled);
    EXPECT_NEAR(scaled, double(values[i]), 1e-6 * std::abs(scaled));
  }
  return values;
}

std::string fnv1a(const std::vector<int64_t>& values) {
  uint64_t hash = 0xCBF29CE484222325;
  for (int64_t value : values) {
    for (int byte = 0; byte < 8; ++byte) hash = (hash ^ ((uint64_t(value) >> (8 * byte)) & 0xFF)) * 0x100000001B3;
  }
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(hash));
  return text;
}

// wanted: the integers, or a hash of them
void expect_values(const mx::array& x, int scale, const io::Tree& wanted, const char* what) {
  const auto values = integers(x, scale);
  if (wanted.is_string()) EXPECT_EQ(fnv1a(values), wanted.string()) << what;
  else EXPECT_EQ(values, wanted.as<std::vector<int64_t>>()) << what;
}

void expect_as_einops(const Case& c, int scale, const mx::Shape& shape, const io::Tree& values, const io::Tree& gradient) {
  const bool logical = gradient.is_null();
  const auto x = filled(c.shape, logical ? mx::bool_ : mx::float32, [&](int i) { return value(c.op, i); });
  const auto y = apply(c, x);
  ASSERT_EQ(y.shape(), shape);
  expect_values(y, scale, values, "values");
  if (logical) return;
  const auto f = [&](const std::vector<mx::array>& in) { return std::vector{apply(c, in[0])}; };
  expect_values(mx::vjp(f, {x}, {filled(shape, mx::float32, cotangent)}).second[0], scale, gradient, "gradient");
}

TEST(Einops, SameResultsAndGradientsOnRandomPatterns) {
  const auto& rows = golden().at("valid").items();
  ASSERT_GE(rows.size(), 2000u);
  int failed = 0;
  for (const auto& row : rows) {
    const auto c = case_of(row);
    const auto& part = row.items();
    SCOPED_TRACE(describe(c));
    try {
      expect_as_einops(c, part[5].as<int>(), shape_of(part[6]), part[7], part[8]);
    } catch (const std::exception& error) {
      ADD_FAILURE() << error.what();
    }
    failed += HasFailure();
    ASSERT_LE(failed, 5);
  }
}

TEST(Einops, RejectsWhatEinopsRejects) {
  const auto& rows = golden().at("invalid").items();
  ASSERT_GE(rows.size(), 500u);
  for (const auto& row : rows) {
    const auto c = case_of(row);
    SCOPED_TRACE(describe(c));
    const auto x = filled(c.shape, mx::float32, [&](int i) { return value(c.op, i); });
    const auto message = error_of([&] { apply(c, x); });
    EXPECT_NE(message.find('"' + c.pattern + '"'), std::string::npos) << "error: " << message;
  }
}

}  // namespace
}  // namespace m2bert::ops
