#include "m2bert/checkpoint/inspect.h"

#include <gtest/gtest.h>

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
