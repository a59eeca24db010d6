#include "m2bert/nn/pass.h"

#include <gtest/gtest.h>

#include <vector>

namespace m2bert::nn {
namespace {

bool same(const mx::array& a, const mx::array& b) { return mx::array_equal(a, b).item<bool>(); }

TEST(Pass, InferenceHasNoDropout) {
  Pass pass;
  const auto x = mx::ones({100});
  EXPECT_FALSE(pass.train());
  EXPECT_FALSE(pass.dropout_key(0.5f));
  EXPECT_EQ(pass.dropout(x, 0.5f).id(), x.id());
}

TEST(Pass, EveryDropoutOfTrainingHasItsOwnMask) {
  const auto x = mx::ones({1000});
  auto pass = Pass::training(mx::random::key(1)), again = Pass::training(mx::random::key(1)), other = Pass::training(mx::random::key(2));
  EXPECT_TRUE(pass.train());
  const auto first = pass.dropout(x, 0.5f), second = pass.dropout(x, 0.5f);
  EXPECT_FALSE(same(first, second));
  EXPECT_TRUE(same(first, again.dropout(x, 0.5f)));
  EXPECT_TRUE(same(second, again.dropout(x, 0.5f)));
  EXPECT_FALSE(same(first, other.dropout(x, 0.5f)));
  EXPECT_NEAR(mx::mean(first).item<float>(), 1, 0.1f);
}

TEST(Pass, DropoutOfProbabilityZeroTakesNoKey) {
  auto pass = Pass::training(mx::random::key(1)), again = Pass::training(mx::random::key(1));
  EXPECT_FALSE(pass.dropout_key(0));
  EXPECT_TRUE(same(*pass.dropout_key(0.5f), *again.dropout_key(0.5f)));
}

TEST(Pass, HooksReceiveNamesWithTheirScopesAndMayReplaceValues) {
  Pass pass;
  std::vector<std::string> seen;
  pass.on_hook = [&](const std::string& name, const mx::array& x) {
    seen.push_back(name);
    return x + mx::array(1.0f);
  };
  auto x = pass.hook("embeddings", mx::array(0.0f));
  {
    const Pass::Scope layer(pass, "layer"), first(pass, "0");
    x = pass.hook("mlp", x);
  }
  x = pass.hook("pooler", x);
  EXPECT_EQ(seen, (std::vector<std::string>{"embeddings", "layer.0.mlp", "pooler"}));
  EXPECT_EQ(x.item<float>(), 3);
  EXPECT_EQ(Pass().hook("pooler", x).id(), x.id());
}

TEST(Pass, WhatTrainingAndHooksForbid) {
  auto inference = Pass::without_padding();
  EXPECT_TRUE(inference.skips_padding());
  EXPECT_TRUE(inference.allows_packed());
  EXPECT_FALSE(Pass().skips_padding());
  inference.on_hook = [](const std::string&, const mx::array& x) { return x; };
  EXPECT_FALSE(inference.skips_padding());
  EXPECT_FALSE(inference.allows_packed());
  EXPECT_FALSE(Pass::training(mx::random::key(1)).allows_packed());
}

}  // namespace
}  // namespace m2bert::nn
