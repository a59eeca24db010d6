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

// What PyTorch's wrappers and trainers put in front of a name, and within it.
TEST(WeightNames, WrappersAreRemovedWhereverTheyStand) {
  const std::string wanted = "bert.encoder.layer.0.output.dense.weight";
  for (const std::string name : {
           "_orig_mod.bert.encoder.layer.0.output.dense.weight",
           "module._orig_mod.bert.encoder.layer.0.output.dense.weight",
           "_orig_mod.module.bert.encoder.layer.0.output.dense.weight",
           "bert.encoder._orig_mod.layer.0._orig_mod.output.dense.weight",
           "_fsdp_wrapped_module.bert.encoder.layer.0._fsdp_wrapped_module._checkpoint_wrapped_module.output.dense.weight",
           "_forward_module.model.bert.encoder.layer.0.output.dense.weight",
           "state.model.model._orig_mod.bert.encoder.layer.0.output.dense.weight",
           "state_dict.net._orig_mod.module.bert.encoder.layer.0.output.dense.weight",
           "model_state_dict.module.bert.encoder.layer.0.output.dense.weight",
           "module.module.encoder.layer.0.output.dense.weight",
           "model.net.encoder.layer.0.output.dense.weight",
           "0.auto_model.encoder.layer.0.output.dense.weight",
           "backbone.bert.encoder.layer.0.output.dense.weight",
       })
    EXPECT_EQ(weight_names({name}), Names{wanted}) << name;
}

TEST(WeightNames, AveragesAreNotReadUnlessTheyAreNamed) {
  const std::string tail = "bert.pooler.dense.bias";
  for (const auto& [plain, average] :
       std::vector<std::pair<std::string, std::string>>{{"state_dict", "state_dict_ema"},
                                                        {"model", "ema"},
                                                        {"model", "model_ema"},
                                                        {"model_state_dict", "ema_state_dict"},
                                                        {"online_model", "ema_model"},
                                                        {"state.model.model", "state.algorithms.EMA.ema_model"},
                                                        {"net", "swa_model"}}) {
    const Names names = {average + ".module." + tail, average + ".n_averaged", plain + "." + tail};
    const WeightNames found = find_weights(names);
    EXPECT_EQ(found.names, (Names{"", "", tail})) << average;
    EXPECT_EQ(found.others, Names{average});
    EXPECT_EQ(found.copy, (Names{average, average, ""}));
    EXPECT_EQ(find_weights(names, average).names, (Names{tail, "", ""}));
  }
}

// torch.optim.swa_utils.AveragedModel is told by its n_averaged, whatever its name; alone in a file it is the model.
TEST(WeightNames, AveragedModel) {
  EXPECT_EQ(weight_names({"n_averaged", "module.bert.pooler.dense.bias"}), (Names{"", "bert.pooler.dense.bias"}));
  EXPECT_EQ(weight_names({"a.bert.pooler.dense.bias", "b.n_averaged", "b.module.bert.pooler.dense.bias"}),
            (Names{"bert.pooler.dense.bias", "", ""}));
}

// Lightning's WeightAveraging puts the average into state_dict, and what was trained beside it.
TEST(WeightNames, LightningReadsItsStateDict) {
  const WeightNames found = find_weights(
      {"state_dict.model.bert.pooler.dense.bias", "current_model_state.model.bert.pooler.dense.bias", "averaging_state.n_averaged"});
  EXPECT_EQ(found.names, (Names{"bert.pooler.dense.bias", "", ""}));
  EXPECT_EQ(found.others, Names{"current_model_state.model"});
}

TEST(WeightNames, PartsOfOneModelMayHaveDifferentPrefixes) {
  EXPECT_EQ(weight_names({"model.embeddings.word_embeddings.weight", "classifier.weight"}),
            (Names{"bert.embeddings.word_embeddings.weight", "classifier.weight"}));
}

TEST(LoadWeights, TwoModelsAreAmbiguous) {
  const Folder folder;
  const auto file = folder / "two.safetensors";
  save_safetensors(file, {{"student.bert.pooler.dense.bias", mx::zeros({2})}, {"teacher.bert.pooler.dense.bias", mx::ones({2})}});
  const std::string error = error_of([&] { load_weights(file); });
  for (const char* part : {"student.", "teacher.", "--weights"}) EXPECT_NE(error.find(part), std::string::npos) << error;
  EXPECT_EQ(mx::sum(load_weights(file, "teacher").at(0).second).item<float>(), 2.0f);
  EXPECT_NE(error_of([&] { load_weights(file, "nobody"); }).find("no weights below 'nobody'"), std::string::npos);
}

TEST(LoadWeights, ShardsOfFsdpAreRefused) {
  const Folder folder;
  save_safetensors(folder / "w.safetensors", {{"_fsdp_wrapped_module._flat_param", mx::zeros({2})}});
  EXPECT_NE(error_of([&] { load_weights(folder / "w.safetensors"); }).find("FULL_STATE_DICT"), std::string::npos);
}

// Tensors whose values are not read must not go missing.
TEST(LoadWeights, TensorsInOtherFormsAreNamed) {
  const Folder folder;
  const std::string plain = text("bert.pooler.dense.bias") + tensor();
  const auto subclass = [](const std::string& function, const std::string& cls) {
    return "ctorch._tensor\n_rebuild_from_type_v2\n" + tuple(function + cls + tuple(integer(1)) + "N") + "R";
  };
  const std::vector<std::pair<std::string, std::string>> others = {
      {call("torch._utils", "_rebuild_sparse_tensor", integer(1)), "a sparse tensor"},
      {call("torch._utils", "_rebuild_nested_tensor", integer(1)), "a nested tensor"},
      {call("torch._utils", "_rebuild_meta_tensor_no_storage", integer(1)), "meta device"},
      {call("torch._utils", "_rebuild_wrapper_subclass", global("torch.distributed.tensor", "DTensor")),
       "class torch.distributed.tensor.DTensor"},
      {call("torch.nn.parameter", "Parameter", call("torch._utils", "_rebuild_sparse_tensor", integer(1))), "a sparse tensor"},
      {subclass(global("torch._utils", "_rebuild_wrapper_subclass"), global("torchao", "AffineQuantizedTensor")), "AffineQuantizedTensor"},
      {subclass(global("torch.nested._internal.nested_tensor", "_rebuild_njt"), global("torch", "NestedTensor")), "a nested tensor"},
      {call("numpy._core.multiarray", "_reconstruct", integer(1)), "a NumPy array"}};
  for (const auto& [value, what] : others) {
    const auto file = folder.write("w.pt", torch_zip(proto() + dict(plain + text("bert.pooler.dense.weight") + value) + "."));
    const std::string error = error_of([&] { load_weights(file); });
    EXPECT_NE(error.find("'bert.pooler.dense.weight' is "), std::string::npos) << error;
    EXPECT_NE(error.find(what), std::string::npos) << error;
    const auto state = folder.write("s.pt", torch_zip(proto() + dict(plain + text("optimizer") + dict(text("m") + value)) + "."));
    EXPECT_EQ(load_weights(state).size(), 1u) << what;
  }
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
