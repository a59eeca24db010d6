#include "m2bert/optim/groups.h"

#include <gtest/gtest.h>

#include <set>

#include "m2bert/models/model.h"
#include "tests/support/tiny_config.h"

namespace m2bert::optim {
namespace {

models::Config config() {
  models::Config c = test::tiny_m2_config(8);
  c.num_hidden_layers = 1;
  return c;
}

class Groups : public ::testing::Test {
 protected:
  models::Model model_{config(), models::Head::masked_lm};
  std::vector<nn::NamedArray> parameters_ = nn::parameters(model_);

  const Group& group_of(const std::vector<Group>& groups, const std::string& ending) {
    for (const auto& group : groups) {
      for (const size_t i : group.members) {
        if (parameters_[i].name.ends_with(ending)) return group;
      }
    }
    ADD_FAILURE() << ending;
    return groups[0];
  }
  void expect_each_once(const std::vector<Group>& groups) {
    std::multiset<size_t> all;
    for (const auto& group : groups) all.insert(group.members.begin(), group.members.end());
    EXPECT_EQ(all.size(), parameters_.size());
    EXPECT_EQ(std::set<size_t>(all.begin(), all.end()).size(), parameters_.size());
  }
};

// As upstream does: one weight decay for all parameters.
TEST_F(Groups, OneByDefault) {
  const auto groups = make_groups(parameters_, {8e-4, 1e-5, std::nullopt, false});
  ASSERT_EQ(groups.size(), 1U);
  EXPECT_EQ(groups[0].weight_decay, 1e-5);
  expect_each_once(groups);
}

TEST_F(Groups, FiltersHaveTheirOwnRates) {
  const auto groups = make_groups(parameters_, {8e-4, 1e-5, FilterRates{1e-3, 1e-5, 0.1}, false});
  ASSERT_EQ(groups.size(), 3U);
  expect_each_once(groups);
  for (const char* name : {"filter_fn.implicit_filter.0.weight", "filter_fn2.implicit_filter_rev.4.bias", "implicit_filter.1.freq"}) {
    EXPECT_EQ(group_of(groups, name).learning_rate, 1e-3);
    EXPECT_EQ(group_of(groups, name).weight_decay, 0.1);
  }
  EXPECT_EQ(group_of(groups, "pos_emb.z").learning_rate, 1e-5);
  EXPECT_EQ(group_of(groups, "pos_emb.z").weight_decay, 0);
  EXPECT_EQ(group_of(groups, "filter_fn.bias").learning_rate, 8e-4);
  EXPECT_EQ(group_of(groups, "in_linear.weight").weight_decay, 1e-5);
}

TEST_F(Groups, VectorsWithoutDecay) {
  const auto groups = make_groups(parameters_, {8e-4, 1e-5, std::nullopt, true});
  ASSERT_EQ(groups.size(), 2U);
  expect_each_once(groups);
  for (const char* name : {"in_linear.bias", "mlp.layernorm.weight", "LayerNorm.bias", "filter_fn.bias"}) {
    EXPECT_EQ(group_of(groups, name).weight_decay, 0) << name;
  }
  EXPECT_EQ(group_of(groups, "word_embeddings.weight").weight_decay, 1e-5);
}

TEST_F(Groups, LevelsOfAModel) {
  EXPECT_EQ(level_of("bert.embeddings.word_embeddings.weight", 2), 0);
  EXPECT_EQ(level_of("bert.encoder.layer.0.attention.in_linear.weight", 2), 1);
  EXPECT_EQ(level_of("bert.encoder.layer.11.mlp.wo.bias", 12), 12);
  EXPECT_EQ(level_of("bert.pooler.dense.weight", 2), 3);
  EXPECT_EQ(level_of("classifier.bias", 2), 3);
}

TEST_F(Groups, LayerDecayLowersTheRateLevelByLevel) {
  GroupOptions options{1e-3, 0.1};
  options.layer_decay = 0.5;
  options.no_decay_of_vectors = true;
  const auto groups = make_groups(parameters_, options, 1);
  expect_each_once(groups);
  EXPECT_DOUBLE_EQ(group_of(groups, "cls.predictions.transform.dense.weight").learning_rate, 1e-3);
  EXPECT_DOUBLE_EQ(group_of(groups, "layer.0.attention.in_linear.weight").learning_rate, 5e-4);
  EXPECT_DOUBLE_EQ(group_of(groups, "word_embeddings.weight").learning_rate, 2.5e-4);
  EXPECT_EQ(group_of(groups, "word_embeddings.weight").name, "all_embeddings");
  EXPECT_EQ(group_of(groups, "layer.0.attention.in_linear.bias").name, "no_decay_layer_0");
  EXPECT_EQ(group_of(groups, "layer.0.attention.in_linear.bias").weight_decay, 0);
}

}  // namespace
}  // namespace m2bert::optim
