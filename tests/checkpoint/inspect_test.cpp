#include "m2bert/checkpoint/inspect.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "m2bert/checkpoint/safetensors.h"
#include "m2bert/error.h"
#include "tests/checkpoint/bytes.h"

namespace m2bert::checkpoint::test {
namespace {

TEST(Inspect, ComposerFile) {
  auto in = inspect(golden("composer.pt"));
  EXPECT_EQ(in.description, "M2-BERT masked LM, Composer checkpoint with optimizer state, 2 layers, hidden 4, L 8");
  EXPECT_EQ(in.format, "PyTorch zip");
  EXPECT_EQ(in.tensors.size(), 23u);
  EXPECT_EQ(in.weight_tensors, 16u);
  EXPECT_TRUE(in.optimizer_state);
  EXPECT_EQ(in.vocabulary, 16);
  EXPECT_EQ(in.file_bytes, std::filesystem::file_size(golden("composer.pt")));
  EXPECT_EQ(in.skipped.size(), 5u);
  EXPECT_LT(in.weight_bytes, in.total_bytes);
  EXPECT_EQ(in.weight_names[1], "bert.embeddings.word_embeddings.weight");
}

TEST(Inspect, GroupsTensorsOfATrainingCheckpoint) {
  const auto in = inspect(golden("composer.pt"));
  std::map<std::string, size_t> groups;
  for (const auto& g : in.modules) groups[g.name] = g.tensors;
  EXPECT_EQ(groups, (std::map<std::string, size_t>{{"embeddings", 2}, {"encoder", 10}, {"masked-LM head", 2}, {"scale", 1}, {"empty", 1}}));
  ASSERT_EQ(in.states.size(), 2u);
  EXPECT_EQ(in.states[0].name, "optimizer");
  EXPECT_EQ(in.states[0].tensors, 6u);
  EXPECT_EQ(in.states[1].name, "random state");
  using Facts = std::vector<std::pair<std::string, std::string>>;
  EXPECT_EQ(in.position, (Facts{{"batch", "3"}}));
  EXPECT_EQ(in.optimizer.front(), (std::pair<std::string, std::string>{"name", "DecoupledAdamW"}));
  EXPECT_NE(std::find(in.optimizer.begin(), in.optimizer.end(), std::pair<std::string, std::string>{"lr", "0.0005"}), in.optimizer.end());
  EXPECT_EQ(in.recipe, (Facts{{"run_name", "tiny"}}));
}

TEST(Inspect, PositionAndRecipeOfARun) {
  const Folder folder;
  save_safetensors(
      folder / "run.safetensors",
      {{"bert.embeddings.word_embeddings.weight", mx::zeros({4, 2})},
       {"optimizer.m.bert.embeddings.word_embeddings.weight", mx::zeros({4, 2})},
       {"algorithms.ema.bert.embeddings.word_embeddings.weight", mx::zeros({4, 2})}},
      {{"m2bert.run", R"({"time":{"batch":20,"epoch":1},"seconds":2.5,"recipe":{"max_duration":"20ba","optimizer":{"lr":0.5}}})"}});
  const auto in = inspect(folder / "run.safetensors");
  using Facts = std::vector<std::pair<std::string, std::string>>;
  EXPECT_EQ(in.position, (Facts{{"batch", "20"}, {"epoch", "1"}, {"seconds", "2.5"}}));
  EXPECT_EQ(in.recipe, (Facts{{"max_duration", "20ba"}, {"optimizer.lr", "0.5"}}));
  EXPECT_NE(in.description.find("checkpoint of a run with optimizer state"), std::string::npos) << in.description;
  EXPECT_EQ(in.weight_tensors, 1u);
  std::set<std::string> names;
  for (const auto& g : in.states) names.insert(g.name);
  EXPECT_EQ(names, (std::set<std::string>{"optimizer", "weights below 'algorithms.ema'"}));
}

// Sizes of values of less than a byte.
TEST(Inspect, CountsValuesNotBytes) {
  const Folder folder;
  const auto file = folder.write("f4.safetensors", safetensors(R"({"w":{"dtype":"F4","shape":[2,24],"data_offsets":[0,24]}})", floats(6)));
  EXPECT_EQ(inspect(file).weight_values, 48u);
}

// The metadata of a run are a stranger's text too.
TEST(Inspect, DamagedStateOfARunIsAnError) {
  const Folder folder;
  for (const std::string state : {"", "{", "[]", "7", R"({"time":3,"recipe":[]})", R"({"time":{"batch":{}},"seconds":null})"}) {
    save_safetensors(folder / "run.safetensors", {{"bert.w", mx::zeros({2})}}, {{"m2bert.run", state}});
    try {
      EXPECT_TRUE(inspect(folder / "run.safetensors").position.empty()) << state;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("run.safetensors"), std::string::npos) << error.what();
    }
  }
}

TEST(Inspect, DtypesThatMlxLacksAreListed) {
  auto in = inspect(golden("dtypes.pt"));
  EXPECT_EQ(in.dtypes.at("complex128"), 1u);
  EXPECT_EQ(in.dtypes.at("quint8"), 1u);
  EXPECT_EQ(in.description, "no model that m2bert knows");
}

TEST(Inspect, AFolderIsHuggingFacesByItsConfigJson) {
  const Folder folder;
  std::filesystem::copy(golden("composer.pt"), folder / "checkpoint.pt");
  folder.write("config.yaml", "model: {name: bert}\n");
  EXPECT_EQ(inspect(folder.path()).format, "folder (PyTorch zip)");
  folder.write("config.json", "{}");
  EXPECT_EQ(inspect(folder.path()).format, "Hugging Face folder");
}

TEST(Inspect, SaysWhetherPaddingIsMasked) {
  const Folder folder;
  std::filesystem::copy(golden("composer.pt"), folder / "checkpoint.pt");
  folder.write("config.json", R"({"mask_padding": false})");
  EXPECT_FALSE(inspect(folder.path()).mask_padding);
  EXPECT_FALSE(inspect(folder.path()).description.ends_with("padding masked"));
  folder.write("config.json", R"({"mask_padding": true})");
  EXPECT_TRUE(inspect(folder.path()).mask_padding);
  EXPECT_TRUE(inspect(folder.path()).description.ends_with("padding masked"));
}

TEST(Inspect, Fixtures) {
  auto file = shared_fixture("tiny-attn-cls/checkpoint.pt");
  if (!std::filesystem::exists(file)) GTEST_SKIP() << file << " is absent";
  auto in = inspect(file);
  EXPECT_EQ(in.architecture, "attention BERT");
  EXPECT_EQ(in.head, "classifier");
  EXPECT_GT(in.labels, 0);
  EXPECT_EQ(inspect(shared_fixture("tiny-embed/model.safetensors")).architecture, "M2-BERT");
}

}  // namespace
}  // namespace m2bert::checkpoint::test
