#include "m2bert/nn/module.h"

#include <gtest/gtest.h>

#include "m2bert/error.h"
#include "m2bert/nn/linear.h"

namespace m2bert::nn {
namespace {

// Every kind of member.
struct Everything : Module {
  mx::array own = mx::zeros({2}), position_ids = mx::zeros({3}), shared = mx::zeros({4});
  std::optional<mx::array> absent, present = mx::zeros({5});
  Linear dense{2, 3};
  std::vector<Linear> layers{{3, 4, false}, {4, 5, false}};
  std::optional<Linear> no_head;

  void visit(Visitor& v) override {
    v("own", own);
    v.buffer("position_ids", position_ids);
    v("shared", shared);
    v.alias("shared_again", shared);
    v("absent", absent);
    v("present", present);
    v("dense", dense);
    v("layers", layers);
    v("head", no_head);
  }
};

std::vector<std::string> names(const std::vector<NamedArray>& arrays) {
  std::vector<std::string> all;
  for (const auto& a : arrays) all.push_back(a.name);
  return all;
}

TEST(Module, NamesItsArraysInOrder) {
  Everything module;
  EXPECT_EQ(names(named_arrays(module)), (std::vector<std::string>{"own", "position_ids", "shared", "shared_again", "present",
                                                                   "dense.weight", "dense.bias", "layers.0.weight", "layers.1.weight"}));
  for (const auto& a : named_arrays(module)) {
    if (a.name == "position_ids") EXPECT_EQ(a.role, Role::buffer);
    else if (a.name == "shared_again") EXPECT_EQ(a.role, Role::alias);
    else EXPECT_EQ(a.role, Role::parameter) << a.name;
  }
}

TEST(Module, NamesPointAtItsMembers) {
  Everything module;
  for (const auto& a : named_arrays(module)) {
    if (a.name == "layers.1.weight") *a.array = mx::ones({5, 4});
  }
  EXPECT_EQ(mx::sum(module.layers[1].weight).item<float>(), 20);
}

TEST(Module, ParametersAreWithoutBuffersAndAliases) {
  Everything module;
  EXPECT_EQ(names(parameters(module)),
            (std::vector<std::string>{"own", "shared", "present", "dense.weight", "dense.bias", "layers.0.weight", "layers.1.weight"}));
  EXPECT_EQ(count_parameters(module), 2u + 4 + 5 + 6 + 3 + 12 + 20);
}

TEST(Module, MatricesAreThoseThatMayBeInt8) {
  Everything module;
  const auto all = matrices(module);
  ASSERT_EQ(all.size(), 3u);
  EXPECT_EQ(all[0].name, "dense.weight");
  EXPECT_EQ(all[0].weight, &module.dense.weight);
  EXPECT_EQ(all[0].scale, &module.dense.weight_scale);
  EXPECT_EQ(all[2].name, "layers.1.weight");
}

TEST(ValueAndGrad, RestoresArraysEvenIfTheLossThrows) {
  auto w = mx::array({2.0f});
  std::vector<NamedArray> params{{"w", &w, Role::parameter}};
  auto result = value_and_grad(params, [&] { return mx::sum(w * w * w); });
  EXPECT_FLOAT_EQ(result.value.item<float>(), 8);
  EXPECT_FLOAT_EQ(result.grads[0].item<float>(), 12);
  const auto id = w.id();
  EXPECT_THROW(value_and_grad(params, [&]() -> mx::array { fail("stop"); }), Error);
  EXPECT_EQ(w.id(), id);
  EXPECT_FALSE(w.is_tracer());
}

}  // namespace
}  // namespace m2bert::nn
