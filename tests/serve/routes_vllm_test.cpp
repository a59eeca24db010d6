#include <algorithm>

#include "m2bert/serve/base64.h"
#include "m2bert/serve/rerank.h"
#include "tests/serve/an_api.h"

namespace m2bert::serve {
namespace {

TEST(Vllm, ScoresByTheCosine) {
  AnApi a;
  const ServedModel& model = a.add(tiny_models().attention);
  const Vectors vectors = a.embed(model, {"a b", "i h"});
  const io::Tree one = a.json("/score", R"({"text_1": "a b", "text_2": ["i h", "a b"]})");
  ASSERT_EQ(one.at("data").items().size(), 2u);
  EXPECT_EQ(one.at("data").items()[0].at("score").as<float>(), cosine(vectors.vector(0), vectors.vector(1)));
  EXPECT_NEAR(one.at("data").items()[1].at("score").number(), 1, 1e-5);
  EXPECT_EQ(one.at("usage").at("prompt_tokens").integer(), 12);
  const io::Tree pairs = a.json("/v1/score", R"({"data_1": ["a b", "i h"], "data_2": ["a b", "i h"]})");
  EXPECT_NEAR(pairs.at("data").items()[1].at("score").number(), 1, 1e-5);
}

TEST(Vllm, WrongScoreRequests) {
  AnApi a;
  a.add(tiny_models().attention);
  const auto message = [&](const std::string& body) { return a.json("/score", body, 400).at("error").at("message").string(); };
  EXPECT_PRED2(has, message(R"({"text_1": ["a", "b"], "text_2": ["a", "b", "c"]})"), "it wants one, or as many");
  EXPECT_PRED2(has, message(R"({"text_1": "a"})"), "\"text_2\" is missing");
  EXPECT_PRED2(has, message(R"({"text_1": "a", "data_2": "a"})"), "the request wants");
  EXPECT_PRED2(has, message(R"({"text_1": "a", "text_2": []})"), "text_2 is empty");
  EXPECT_PRED2(has, message(R"({"text_1": "a", "text_2": "b", "use_activation": false})"), "no logits");
}

TEST(Vllm, ScoresPairsByTheModelsOnlyLabel) {
  AnApi a;
  a.engine.run([&] {
    models::Pretrained pretrained = models::load_pretrained(tiny_models().regression);
    pretrained.labels = {"score"};
    a.service.add(std::make_unique<ServedModel>("tiny", std::move(pretrained), TaskChoice{ModelTask::classify, ""}, infer::EmbedOptions{}));
  });
  const io::Tree scores = a.json("/score", R"({"queries": "a", "documents": ["b", "c"]})");
  const io::Tree predictions = a.json("/predict", R"({"inputs": [["a", "b"], ["a", "c"]]})");
  for (size_t i = 0; i < 2; ++i)
    EXPECT_EQ(scores.at("data").items()[i].at("score").as<float>(), predictions.items()[i].items()[0].at("score").as<float>());
}

TEST(Vllm, Classifies) {
  AnApi a;
  a.add(tiny_models().classifier);
  const io::Tree result = a.json("/classify", R"({"input": ["a", "b c"]})");
  const io::Tree predictions = a.json("/predict", R"({"inputs": [["a"], ["b c"]]})");
  for (size_t i = 0; i < 2; ++i) {
    const io::Tree& item = result.at("data").items()[i];
    const io::Tree& best = predictions.items()[i].items()[0];
    EXPECT_EQ(item.at("num_classes").integer(), 3);
    EXPECT_EQ(item.at("label").string(), best.at("label").string());
    EXPECT_EQ(std::ranges::max(item.at("probs").as<std::vector<float>>()), best.at("score").as<float>());
  }
  const auto logits =
      a.json("/classify", R"({"input": "a", "use_activation": false})").at("data").items()[0].at("probs").as<std::vector<float>>();
  EXPECT_GT(std::abs(logits[0] + logits[1] + logits[2] - 1), 1e-3f);
  EXPECT_PRED2(has, a.json("/score", R"({"text_1": "a", "text_2": "b"})", 400).at("error").at("message").string(), "several labels");
}

TEST(Vllm, PoolsTokensOrTexts) {
  AnApi a;
  const ServedModel& model = a.add(tiny_models().attention);
  const io::Tree tokens = a.json("/pooling", R"({"input": ["a b", "c"]})").at("data");
  const io::Tree expected = a.json("/embed_all", R"({"inputs": ["a b", "c"]})");
  for (size_t i = 0; i < 2; ++i) EXPECT_EQ(tokens.items()[i].at("data"), expected.items()[i]);
  const Vectors vectors = a.embed(model, {"a b"});
  const io::Tree text = a.json("/pooling", R"({"input": "a b", "task": "embed"})").at("data");
  EXPECT_EQ(text.items()[0].at("data").as<std::vector<float>>(), vectors.values);
  const io::Tree coded = a.json("/pooling", R"({"input": "a b", "task": "embed", "encoding_format": "base64"})").at("data");
  EXPECT_EQ(coded.items()[0].at("data").string(), base64(vectors.values));
  EXPECT_EQ(a.json("/pooling", R"({"input": "a", "task": "plugin"})", 400).at("error").at("param").string(), "task");
}

}  // namespace
}  // namespace m2bert::serve
