#include "m2bert/hub/selection.h"

#include <gtest/gtest.h>

namespace m2bert::hub::test {
namespace {

using Names = std::vector<std::string>;

TEST(MatchesGlob, StarsGoOverSlashes) {
  EXPECT_TRUE(matches_glob("*.json", "1_Pooling/config.json"));
  EXPECT_TRUE(matches_glob("sub/", "sub/a/b"));
  EXPECT_TRUE(matches_glob("model-?.bin", "model-1.bin"));
  EXPECT_FALSE(matches_glob("*.json", "config.jsonl"));
  EXPECT_FALSE(matches_glob("Config.json", "config.json"));
}

TEST(SelectFiles, OneKindOfWeightsAndNoMore) {
  const auto selected = [](Names files) { return select_files(std::move(files), {}); };
  EXPECT_EQ(selected({"pytorch_model.bin", "model.safetensors", "config.json", "README.md"}), (Names{"config.json", "model.safetensors"}));
  EXPECT_EQ(selected({"pytorch_model.bin", "model.bin", "x.pt"}), (Names{"pytorch_model.bin"}));
  EXPECT_EQ(selected({"model.bin", "training_args.bin", "optimizer.pt"}), (Names{"model.bin"}));
  EXPECT_EQ(selected({"ep1-ba2.pt", "mosaic.yaml", "rng_state.pth", "optimizer.bin"}), (Names{"mosaic.yaml", "ep1-ba2.pt"}));
  EXPECT_EQ(selected({"model.safetensors.index.json", "model-00002-of-00002.safetensors", "model-00001-of-00002.safetensors",
                      "pytorch_model.bin"}),
            (Names{"model.safetensors.index.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"}));
  EXPECT_EQ(selected({"model.safetensors.index.json", "pytorch_model.bin"}), (Names{"pytorch_model.bin"}));
}

TEST(SelectFiles, ModulesOfSentenceTransformersButNoOtherFolders) {
  EXPECT_EQ(select_files({"modules.json", "1_Pooling/config.json", "2_Dense/model.safetensors", "2_Dense/pytorch_model.bin",
                          "2_Dense/config.json", "onnx/model.onnx", "onnx/config.json", "checkpoint-5/pytorch_model.bin",
                          "1_a/2_b/config.json", "config_sentence_transformers.json", "sentence_bert_config.json", "vocab.txt",
                          "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"},
                         {}),
            (Names{"1_Pooling/config.json", "2_Dense/config.json", "config_sentence_transformers.json", "modules.json",
                   "sentence_bert_config.json", "special_tokens_map.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt",
                   "2_Dense/model.safetensors"}));
}

TEST(SelectFiles, IncludeExcludeAll) {
  const Names files = {"a.json", "b.pt", "b.pt", "sub/c.md"};
  EXPECT_EQ(select_files(files, {.all = true}), (Names{"a.json", "sub/c.md", "b.pt"}));
  EXPECT_EQ(select_files(files, {.include = {"*.md", "a*"}, .all = true}), (Names{"a.json", "sub/c.md"}));
  EXPECT_EQ(select_files(files, {.exclude = {"sub/"}, .all = true}), (Names{"a.json", "b.pt"}));
  EXPECT_EQ(select_files(files, {}), (Names{"b.pt"}));
}

}  // namespace
}  // namespace m2bert::hub::test
