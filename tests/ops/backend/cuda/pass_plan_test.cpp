// The plan of a recorded pass, carried out on the CPU by steps that stand for kernels.
#include "m2bert/ops/backend/cuda/pass_plan.h"

#include <gtest/gtest.h>

#include <cstring>
#include <functional>

namespace m2bert::ops::cuda {
namespace {

KernelCall call(const std::string& name) { return {"", name, 1, 1, 1, 0, {}}; }

// Steps that MLX computes, noted under the names of kernels.
mx::array twice(const mx::array& x) {
  const auto y = x * mx::array(2.0f);
  Recording::note(call("twice"), {x}, {y});
  return y;
}
mx::array sum(const mx::array& a, const mx::array& b) {
  const auto y = a + b;
  Recording::note(call("sum"), {a, b}, {y});
  return y;
}

struct Memory {
  std::vector<float> input;
  std::vector<char> arena;
  PassPlan plan;

  float* at(const Place& p) {
    switch (p.kind) {
      case Place::Kind::input: return input.data();
      case Place::Kind::constant: return plan.constants[size_t(p.index)].data<float>();
      case Place::Kind::arena: break;
    }
    return reinterpret_cast<float*>(arena.data() + p.offset);
  }
};

// The result of a plan whose steps have `n` values each, as MLX would show it.
mx::array carry_out(PassPlan plan, const mx::array& input) {
  Memory memory{{input.data<float>(), input.data<float>() + input.size()}, std::vector<char>(plan.arena_bytes), std::move(plan)};
  const size_t n = input.size();
  for (const auto& step : memory.plan.steps) {
    const auto& kernel = std::get<KernelCall>(step.work).kernel;
    const float* a = memory.at(step.inputs[0]);
    const float* b = memory.at(step.inputs.back());
    float* y = memory.at(step.outputs[0]);
    if (kernel == "transpose_float32") {
      const auto& scalars = std::get<KernelCall>(step.work).scalars;
      const size_t rows = size_t(std::get<int>(scalars[0])), columns = size_t(std::get<int>(scalars[1]));
      for (size_t i = 0; i < n; ++i) y[i] = a[i % columns * rows + i / columns];
      continue;
    }
    for (size_t i = 0; i < n; ++i) y[i] = kernel == "twice" ? 2 * a[i] : a[i] + b[i];
  }
  const mx::array values(memory.at(memory.plan.output), {int(memory.plan.output_values)});
  return mx::as_strided(values, memory.plan.shape, memory.plan.strides, 0);
}

mx::array numbers(const mx::Shape& shape) {
  auto x = mx::random::normal(shape, mx::float32, 0, 1, mx::random::key(3));
  x.eval();
  return x;
}

std::optional<PassPlan> plan_of(const mx::array& x, const std::function<mx::array(const mx::array&)>& f) {
  const Recording recording;
  const auto y = f(x);
  return plan_pass(recording.notes(), {x}, y);
}

void expect_plan_computes(const std::function<mx::array(const mx::array&)>& f) {
  const auto x = numbers({2, 3, 4});
  auto plan = plan_of(x, f);
  ASSERT_TRUE(plan.has_value());
  const auto other = x * mx::array(-3.0f);
  mx::eval(other);
  const auto found = carry_out(std::move(*plan), other), expected = f(other);
  ASSERT_EQ(found.shape(), expected.shape());
  EXPECT_TRUE(mx::array_equal(found, expected).item<bool>());
}

TEST(PassPlan, FollowsSteps) {
  expect_plan_computes([](const mx::array& x) { return sum(twice(x), x); });
}

TEST(PassPlan, FollowsReshapesAndTransposes) {
  expect_plan_computes([](const mx::array& x) { return mx::transpose(twice(mx::reshape(x, {6, 4})), {1, 0}); });
  expect_plan_computes([](const mx::array& x) {
    const auto y = mx::moveaxis(mx::reshape(twice(mx::reshape(x, {4, 6})), {4, 2, 3}), 0, -1);  // [2, 3, 4], of a buffer [4, 6]
    return mx::flatten(twice(mx::reshape(mx::moveaxis(y, -1, 0), {4, 6})));
  });
  expect_plan_computes([](const mx::array& x) { return mx::squeeze(twice(mx::expand_dims(x, 0)), 0); });
}

// As the channels of embeddings become rows.
TEST(PassPlan, TransposesWhereAReshapeMovesValues) {
  expect_plan_computes([](const mx::array& x) { return twice(mx::reshape(mx::moveaxis(twice(x), -1, 0), {4, 6})); });
  expect_plan_computes([](const mx::array& x) { return twice(mx::flatten(mx::transpose(mx::reshape(x, {6, 4})))); });
  const auto x = numbers({2, 3, 4});
  const auto f = [](const mx::array& x) { return twice(mx::flatten(mx::transpose(x, {1, 0, 2}))); };
  EXPECT_FALSE(plan_of(x, f)) << "blocks change places";
}

TEST(PassPlan, EvaluatesWhatDoesNotDependOnTheInputs) {
  const auto weight = numbers({2, 2, 3, 4});
  expect_plan_computes([&](const mx::array& x) {
    const auto slice = mx::reshape(mx::slice(weight, {1, 0, 0, 0}, {2, 2, 3, 4}), {2, 3, 4});
    return sum(x, twice(sum(slice, slice)));
  });
}

TEST(PassPlan, UsesMemoryAgain) {
  auto chain = [](mx::array x) {
    for (int i = 0; i < 10; ++i) x = twice(x);
    return x;
  };
  expect_plan_computes(chain);
  const auto x = numbers({1024});
  EXPECT_EQ(plan_of(x, chain)->arena_bytes, 2 * x.nbytes());
}

TEST(PassPlan, KeepsWhatIsReadLater) {
  expect_plan_computes([](const mx::array& x) {
    const auto early = twice(x);
    auto y = early;
    for (int i = 0; i < 5; ++i) y = sum(twice(y), x);
    return sum(y, early);
  });
}

TEST(PassPlan, LeavesOutWhatTheResultDoesNotNeed) {
  const auto x = numbers({8});
  const auto plan = plan_of(x, [](const mx::array& x) {
    twice(twice(x));
    return sum(x, x);
  });
  EXPECT_EQ(plan->steps.size(), 1u);
}

TEST(PassPlan, RefusesOtherOperations) {
  const auto x = numbers({2, 4});
  EXPECT_FALSE(plan_of(x, [](const mx::array& x) { return twice(mx::exp(x)); }));
  EXPECT_FALSE(plan_of(x, [](const mx::array& x) { return mx::exp(twice(x)); }));
  EXPECT_FALSE(plan_of(x, [](const mx::array& x) { return x; })) << "no step computes it";
  EXPECT_FALSE(plan_of(x, [](const mx::array& x) { return twice(mx::slice(x, {0, 0}, {1, 4})); }));
  EXPECT_FALSE(plan_of(x, [](const mx::array& x) { return twice(mx::transpose(x)); })) << "a step would read values in another order";
}

TEST(PassPlan, RecordsOneThreadWhileItLives) {
  EXPECT_FALSE(Recording::is_on());
  {
    const Recording recording;
    EXPECT_TRUE(Recording::is_on());
    twice(numbers({2}));
    EXPECT_EQ(recording.notes().size(), 1u);
  }
  EXPECT_FALSE(Recording::is_on());
  twice(numbers({2}));  // is not noted anywhere
}

}  // namespace
}  // namespace m2bert::ops::cuda
