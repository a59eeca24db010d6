#include "m2bert/models/grow_context.h"

#include <gtest/gtest.h>

#include "m2bert/checkpoint/match.h"
#include "m2bert/error.h"
#include "m2bert/models/model.h"
#include "tests/support/tiny_config.h"
#include "tests/support/weights_of.h"

namespace m2bert::models {
namespace {

using test::tiny_m2_config;
using test::weights_of;

mx::array find(const checkpoint::TensorMap& weights, const std::string& name) {
  for (const auto& [n, a] : weights) {
    if (n == name) return a;
  }
  ADD_FAILURE() << name;
  return mx::array(0);
}

mx::array rows(const mx::array& a, int axis, int begin, int end) {
  mx::Shape start(a.ndim(), 0), stop = a.shape();
  start[size_t(axis)] = begin;
  stop[size_t(axis)] = end;
  return mx::slice(a, start, stop);
}

bool same(const mx::array& a, const mx::array& b) { return mx::array_equal(a, b).item<bool>(); }

constexpr const char* kZ = "bert.encoder.layer.1.attention.filter_fn2.pos_emb.z";
constexpr const char* kT = "bert.encoder.layer.1.attention.filter_fn2.pos_emb.t";
constexpr const char* kPositions = "bert.embeddings.position_embeddings.weight";

class GrowContext : public ::testing::TestWithParam<GrowBy> {
 protected:
  GrowContext() : short_(tiny_m2_config(6), Head::masked_lm) { short_.init(1); }
  Model short_;
};

TEST_P(GrowContext, FillsALongerModel) {
  const auto before = weights_of(short_);
  EXPECT_TRUE(is_shorter(before, tiny_m2_config(18)));
  const auto after = grow_context(before, tiny_m2_config(18), GetParam());
  EXPECT_FALSE(is_shorter(after, tiny_m2_config(18)));
  Model longer(tiny_m2_config(18), Head::masked_lm);
  const auto fresh_z = find(weights_of(longer), kZ), fresh_t = find(weights_of(longer), kT);
  checkpoint::match(longer, after, {});
  EXPECT_TRUE(same(find(after, kT), fresh_t));
  EXPECT_TRUE(same(find(after, "bert.embeddings.position_ids"), mx::reshape(mx::arange(0, 18, 1, mx::int64), {1, 18})));
  const auto old_z = find(before, kZ), new_z = find(after, kZ);
  for (int segment = 0; segment < 3; ++segment) {
    EXPECT_TRUE(same(rows(find(after, kPositions), 0, 6 * segment, 6 * segment + 6), find(before, kPositions)));
    const auto z = rows(new_z, 1, 6 * segment, 6 * segment + 6);
    if (GetParam() == GrowBy::recompute) EXPECT_TRUE(same(z, rows(fresh_z, 1, 6 * segment, 6 * segment + 6)));
    else if (GetParam() == GrowBy::reference && segment == 0) EXPECT_TRUE(same(z, mx::zeros_like(z)));
    else EXPECT_TRUE(same(z, old_z));
  }
  auto others = 0;
  for (const auto& [name, a] : after) others += a.id() == find(before, name).id();
  EXPECT_EQ(others, int(after.size()) - 2 - 2 * 4);  // all others are unchanged
}

INSTANTIATE_TEST_SUITE_P(Ways, GrowContext, ::testing::Values(GrowBy::tile, GrowBy::reference, GrowBy::recompute));

TEST_P(GrowContext, RejectsLengthsThatDoNotFit) {
  EXPECT_THROW(grow_context(weights_of(short_), tiny_m2_config(15), GetParam()), Error);
  EXPECT_THROW(grow_context(weights_of(short_), tiny_m2_config(3), GetParam()), Error);
  EXPECT_EQ(grow_context(weights_of(short_), tiny_m2_config(6), GetParam()).size(), weights_of(short_).size());
}

TEST(GrowBy, Names) {
  EXPECT_EQ(grow_by_named("tile", "r"), GrowBy::tile);
  EXPECT_EQ(grow_by_named("reference", "r"), GrowBy::reference);
  EXPECT_EQ(grow_by_named("recompute", "r"), GrowBy::recompute);
  EXPECT_THROW(grow_by_named("stretch", "r"), Error);
}

}  // namespace
}  // namespace m2bert::models
