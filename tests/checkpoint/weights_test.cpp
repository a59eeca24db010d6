#include "m2bert/checkpoint/weights.h"

#include <gtest/gtest.h>

#include "m2bert/checkpoint/safetensors.h"
#include "m2bert/checkpoint/torch_file.h"
#include "m2bert/error.h"
#include "tests/checkpoint/bytes.h"

namespace m2bert::checkpoint::test {
namespace {

using Names = std::vector<std::string>;

TEST(WeightNames, StripWhatUpstreamStrips) {
  EXPECT_EQ(weight_names({"state.model.model.bert.x", "state.model.model.cls.y", "state.optimizers.A.state.0.exp_avg", "rng.0.torch"}),
            (Names{"bert.x", "cls.y", "", ""}));
  EXPECT_EQ(weight_names({"model.bert.x", "model.classifier.weight"}), (Names{"bert.x", "classifier.weight"}));
  EXPECT_EQ(weight_names({"module.bert.x", "module.model.bert.y"}), (Names{"bert.x", "bert.y"}));
  EXPECT_EQ(weight_names({"bert.x", "classifier.bias"}), (Names{"bert.x", "classifier.bias"}));
  EXPECT_EQ(weight_names({"state_dict.model.bert.x", "epoch", "optimizer_states.0.state.0.m"}), (Names{"bert.x", "", ""}));
  EXPECT_EQ(weight_names({"module.bert.x", "optimizer.state.0.exp_avg"}), (Names{"bert.x", ""}));
}

TEST(WeightNames, HuggingFaceForms) {
  EXPECT_EQ(weight_names({"embeddings.word_embeddings.weight", "encoder.layer.0.output.dense.bias", "pooler.dense.bias"}),
            (Names{"bert.embeddings.word_embeddings.weight", "bert.encoder.layer.0.output.dense.bias", "bert.pooler.dense.bias"}));
  EXPECT_EQ(weight_names({"0.auto_model.embeddings.LayerNorm.gamma"}), (Names{"bert.embeddings.LayerNorm.weight"}));
  EXPECT_EQ(weight_names({"bert.embeddings.LayerNorm.beta", "cls.predictions.bias"}),
            (Names{"bert.embeddings.LayerNorm.bias", "cls.predictions.bias"}));
}

TEST(LoadWeights, ComposerFileWithoutOtherState) {
  for (std::string end : {"", "_legacy"}) {
    auto weights = load_weights(golden("composer" + end + ".pt"));
    EXPECT_EQ(weights.size(), 16u);
    std::map<std::string, mx::array> by_name(weights.begin(), weights.end());
    EXPECT_EQ(by_name.at("bert.embeddings.word_embeddings.weight").id(), by_name.at("cls.predictions.decoder.weight").id());
    for (const auto& [name, value] : weights) EXPECT_EQ(name.find("optimizer"), std::string::npos);
  }
}

TEST(LoadWeights, Float64BecomesFloat32AndTiesStay) {
  Folder folder;
  auto wide = mx::astype(mx::arange(4.0f), mx::float64, mx::Device(mx::Device::cpu));
  wide.eval();
  save_composer_pt(folder / "w.pt", {{"a", wide}, {"b", mx::array(1.0f)}, {"c", wide}});
  auto weights = load_weights(folder / "w.pt");
  EXPECT_EQ(weights[0].second.dtype(), mx::float32);
  EXPECT_EQ(weights[0].second.id(), weights[2].second.id());
}

TEST(LoadWeights, ShardedFolder) {
  Folder folder;
  save_safetensors(folder / "model-1.safetensors", {{"embeddings.word_embeddings.weight", mx::zeros({3, 2})}});
  save_safetensors(folder / "model-2.safetensors", {{"pooler.dense.bias", mx::zeros({2})}});
  folder.write(
      "model.safetensors.index.json",
      R"({"metadata":{},"weight_map":{"embeddings.word_embeddings.weight":"model-1.safetensors","pooler.dense.bias":"model-2.safetensors"}})");
  auto weights = load_weights(folder.path());
  ASSERT_EQ(weights.size(), 2u);
  EXPECT_EQ(weights[1].first, "bert.pooler.dense.bias");
  save_safetensors(folder / "model-2.safetensors", {{"embeddings.word_embeddings.weight", mx::zeros({3, 2})}});
  EXPECT_NE(error_of([&] { load_weights(folder.path()); }).find("another shard"), std::string::npos);
}

// The project's fixtures: the .pt and the .safetensors file have the same weights.
class Fixture : public testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(LoadWeights, Fixture,
                         testing::Values("tiny-attn", "tiny-attn-cls", "tiny-embed", "tiny-embed-2k", "tiny-embed-additions", "tiny-glue-1",
                                         "tiny-glue-3", "tiny-mlm", "trainlog"),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

TEST_P(Fixture, PtAndSafetensorsAgree) {
  auto folder = shared_fixture(GetParam());
  if (!std::filesystem::exists(folder / "checkpoint.pt")) GTEST_SKIP() << folder << " is absent";
  auto from_pt = load_weights(folder / "checkpoint.pt");
  std::map<std::string, mx::array> by_name(from_pt.begin(), from_pt.end());
  EXPECT_GE(by_name.size(), 30u);
  for (const auto& [name, value] : from_pt)
    EXPECT_TRUE(name.starts_with("bert.") || name.starts_with("cls.") || name.starts_with("classifier.")) << name;
  for (const char* other : {"model.safetensors", "flat.pt"}) {
    if (!std::filesystem::exists(folder / other)) continue;
    for (const auto& [name, value] : load_weights(folder / other)) {
      ASSERT_TRUE(by_name.contains(name)) << name;
      EXPECT_TRUE(mx::array_equal(value, by_name.at(name)).item<bool>()) << name;
    }
  }
}

}  // namespace
}  // namespace m2bert::checkpoint::test
