#include "m2bert/checkpoint/match.h"

#include <gtest/gtest.h>

#include "m2bert/error.h"
#include "tests/checkpoint/bytes.h"

namespace m2bert::checkpoint::test {
namespace {

struct Tiny : nn::Module {
  mx::array embedding = mx::zeros({4, 2}), bias = mx::zeros({2}), t = mx::zeros({3}), ids = mx::astype(mx::arange(3), mx::int64);
  void visit(nn::Visitor& v) override {
    v("embedding.weight", embedding);
    v("bias", bias);
    v.buffer("pos_emb.t", t);
    v.buffer("embeddings.position_ids", ids);
    v.alias("decoder.weight", embedding);
  }
};

TensorMap whole() {
  return {{"embedding.weight", mx::ones({4, 2})},
          {"bias", mx::full({2}, 2.0f)},
          {"pos_emb.t", mx::full({3}, 3.0f)},
          {"embeddings.position_ids", mx::astype(mx::arange(3), mx::int64)}};
}
bool all_are(const mx::array& a, float value) { return mx::all(mx::equal(mx::astype(a, mx::float32), mx::array(value))).item<bool>(); }

TEST(Match, LoadsEverything) {
  Tiny m;
  auto report = match(m, whole());
  EXPECT_TRUE(all_are(m.embedding, 1) && all_are(m.bias, 2) && all_are(m.t, 3));
  EXPECT_EQ(report.loaded.size(), 4u);
  EXPECT_TRUE(report.missing.empty() && report.unexpected.empty() && report.mismatched.empty());
}

TEST(Match, AliasMayAccompanyOrReplaceItsOwner) {
  Tiny m;
  auto weights = whole();
  weights.emplace_back("decoder.weight", mx::ones({4, 2}));
  EXPECT_EQ(match(m, weights).loaded.size(), 5u);
  weights.erase(weights.begin());
  weights.back().second = mx::full({4, 2}, 9.0f);
  match(m, weights);
  EXPECT_TRUE(all_are(m.embedding, 9));
}

TEST(Match, AliasThatDisagreesIsAnError) {
  Tiny m;
  auto weights = whole();
  weights.emplace_back("decoder.weight", mx::zeros({4, 2}));
  EXPECT_NE(error_of([&] { match(m, weights); }).find("decoder.weight: one array with embedding.weight"), std::string::npos);
}

TEST(Match, MissingNameIsAnErrorUnlessAllowed) {
  Tiny m;
  auto weights = whole();
  weights.erase(weights.begin() + 1);
  auto message = error_of([&] { match(m, weights, {.source = "x.pt"}); });
  EXPECT_NE(message.find("x.pt: "), std::string::npos) << message;
  EXPECT_NE(message.find("missing     bias"), std::string::npos) << message;
  EXPECT_NE(message.find("Check the configuration."), std::string::npos) << message;
  EXPECT_TRUE(all_are(m.embedding, 0)) << "the module was changed in spite of the error";
  EXPECT_EQ(match(m, weights, {.allow_missing = true}).missing, std::vector<std::string>{"bias"});
  EXPECT_TRUE(all_are(m.embedding, 1) && all_are(m.bias, 0));
}

TEST(Match, HintsAtAWrapperWithinTheNames) {
  for (const std::string name : {"wrapped.inner.bias", "wrapped.bias"}) {
    Tiny m;
    auto weights = whole();
    weights[1].first = name;
    const std::string part = name.substr(0, name.size() - 5);
    EXPECT_NE(error_of([&] { match(m, weights); }).find("have '" + part + ".' in them"), std::string::npos);
  }
  Tiny m;
  auto weights = whole();
  weights[0].first = "embedding.wrapped.weight";
  EXPECT_NE(error_of([&] { match(m, weights); }).find("have 'wrapped.' in them"), std::string::npos);
}

TEST(Match, CheckingAssignsNothing) {
  Tiny m;
  EXPECT_EQ(check_match(m, whole()).loaded.size(), 4u);
  EXPECT_TRUE(all_are(m.embedding, 0) && all_are(m.bias, 0));
  auto weights = whole();
  weights[0].second = mx::ones({3, 2});
  EXPECT_NE(error_of([&] { check_match(m, weights); }).find("mismatched"), std::string::npos);
}

TEST(Match, UnexpectedNameIsAnErrorUnlessAllowed) {
  Tiny m;
  auto weights = whole();
  weights.emplace_back("classifier.weight", mx::ones({1}));
  EXPECT_NE(error_of([&] { match(m, weights); }).find("unexpected  classifier.weight"), std::string::npos);
  EXPECT_EQ(match(m, weights, {.allow_unexpected = true}).unexpected, std::vector<std::string>{"classifier.weight"});
}

TEST(Match, ShapesAreNeverAdapted) {
  Tiny m;
  auto weights = whole();
  weights[0].second = mx::ones({3, 2});  // an unpadded vocabulary
  MatchOptions all{.allow_missing = true, .allow_unexpected = true};
  EXPECT_NE(error_of([&] { match(m, weights, all); }).find("embedding.weight: file [3, 2], model [4, 2]"), std::string::npos);
  EXPECT_TRUE(all_are(m.bias, 0));
}

TEST(Match, FloatsConvertAndIntegersDoNot) {
  Tiny m;
  auto weights = whole();
  weights[0].second = mx::astype(weights[0].second, mx::float16);
  match(m, weights);
  EXPECT_EQ(m.embedding.dtype(), mx::float32);
  weights[0].second = mx::astype(weights[0].second, mx::int32);
  EXPECT_NE(error_of([&] { match(m, weights); }).find("file int32, model float32"), std::string::npos);
}

TEST(Match, PositionIdsMayBeAbsentOnEitherSide) {
  Tiny m;
  auto weights = whole();
  weights.pop_back();
  EXPECT_TRUE(match(m, weights).missing.empty());
  weights.emplace_back("other.embeddings.position_ids", mx::arange(3));
  EXPECT_TRUE(match(m, weights).unexpected.empty());
}

TEST(Match, LongListsAreTruncated) {
  MatchReport report;
  for (int i = 0; i < 100; ++i) report.missing.push_back("name" + std::to_string(i));
  EXPECT_NE(report.table().find("and 80 more"), std::string::npos);
}

}  // namespace
}  // namespace m2bert::checkpoint::test
