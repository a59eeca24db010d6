#include "m2bert/checkpoint/hub_name.h"

#include <gtest/gtest.h>

#include "tests/io/scratch.h"

namespace m2bert::checkpoint::test {
namespace {

using m2bert::test::error_of;
using m2bert::test::has;
using Names = std::vector<std::string>;

TEST(HubName, RepositoryAndRevision) {
  const auto parsed = [](const char* text) {
    const HubName name = parse_hub_name(text);
    return name.repository + " " + name.revision;
  };
  EXPECT_EQ(parsed("org/name"), "org/name main");
  EXPECT_EQ(parsed("bert-base-uncased"), "bert-base-uncased main");
  EXPECT_EQ(parsed("org/m2-bert_80M.v1@v1.0"), "org/m2-bert_80M.v1 v1.0");
  EXPECT_EQ(parsed("org/name@refs/pr/1"), "org/name refs/pr/1");
  EXPECT_EQ(parse_hub_name("org/name@dev").shown(), "org/name@dev");
  EXPECT_EQ(parse_hub_name("org/name@main").shown(), "org/name");
}

TEST(HubName, RefusesWhatNoHubHas) {
  for (const char* text : {"",
                           "/",
                           "org/",
                           "/name",
                           "org/name/more",
                           "-a/b",
                           "a/b-",
                           "a/.b",
                           "a./b",
                           "a--b",
                           "a/b..c",
                           "org/x.git",
                           "../x",
                           "org name",
                           "org\\x",
                           "caf\xc3\xa9",
                           "a\n",
                           "org/name@",
                           "org/name@a b",
                           "org/name@..",
                           "org/name@../x",
                           "org/name@a//b",
                           "org/name@/x",
                           "org/name@x^",
                           "org/name@a@b"})
    EXPECT_NE(error_of([&] { (void)parse_hub_name(text); }), "") << text;
  EXPECT_NE(error_of([] { (void)parse_hub_name(std::string(97, 'a')); }), "");
  EXPECT_EQ(parse_hub_name(std::string(96, 'a') + "/" + std::string(96, 'b')).repository.size(), 193u);
}

TEST(HubName, LooksLikeOneUnlessAFileIsLikelier) {
  for (const char* text : {"org/name", "name", "org/name@v1", "org/name.pt@v1"}) EXPECT_TRUE(looks_like_hub_name(text)) << text;
  for (const char* text :
       {"./org/name", "/org/name", "org/name/", "a/b/c", "model.pt", "dir/model.safetensors", "config.yaml", "", "~/x", "org/name@"})
    EXPECT_FALSE(looks_like_hub_name(text)) << text;
}

TEST(HubName, Commits) {
  EXPECT_TRUE(is_commit(std::string(40, 'a')));
  for (const std::string& text :
       {std::string(39, 'a'), std::string(41, 'a'), std::string(40, 'A'), std::string(40, '.'), std::string("main")})
    EXPECT_FALSE(is_commit(text)) << text;
}

TEST(PlainEtag, WithoutQuotes) {
  EXPECT_EQ(plain_etag("\"abc-1.2_x\"", "f"), "abc-1.2_x");
  EXPECT_EQ(plain_etag("W/\"abc\"", "f"), "abc");
  EXPECT_EQ(plain_etag("abc", "f"), "abc");
}

TEST(PlainEtag, RefusesWhatCannotNameAFile) {
  for (const std::string& etag :
       {std::string(), std::string("\"\""), std::string("\""), std::string(".."), std::string("."), std::string("../x"), std::string("/x"),
        std::string("a/b"), std::string("a\\b"), std::string("a b"), std::string("\"a\"b\""), std::string("\xff"), std::string(129, 'a'),
        std::string("x.incomplete"), std::string("-rf"), std::string("a\0b", 3)})
    EXPECT_TRUE(has(error_of([&] { (void)plain_etag(etag, "file"); }), "ETag")) << etag;
}

TEST(MatchesGlob, StarsGoOverSlashes) {
  EXPECT_TRUE(matches_glob("*.json", "1_Pooling/config.json"));
  EXPECT_TRUE(matches_glob("sub/", "sub/a/b"));
  EXPECT_TRUE(matches_glob("model-?.bin", "model-1.bin"));
  EXPECT_FALSE(matches_glob("*.json", "config.jsonl"));
  EXPECT_FALSE(matches_glob("Config.json", "config.json"));
}

TEST(SelectedFiles, OneKindOfWeightsAndNoMore) {
  const auto selected = [](Names files) { return selected_files(std::move(files), {}); };
  EXPECT_EQ(selected({"pytorch_model.bin", "model.safetensors", "config.json", "README.md"}), (Names{"config.json", "model.safetensors"}));
  EXPECT_EQ(selected({"pytorch_model.bin", "model.bin", "x.pt"}), (Names{"pytorch_model.bin"}));
  EXPECT_EQ(selected({"model.bin", "training_args.bin", "optimizer.pt"}), (Names{"model.bin"}));
  EXPECT_EQ(selected({"ep1-ba2.pt", "mosaic.yaml", "rng_state.pth", "optimizer.bin"}), (Names{"mosaic.yaml", "ep1-ba2.pt"}));
  EXPECT_EQ(selected({"model.safetensors.index.json", "model-00002-of-00002.safetensors", "model-00001-of-00002.safetensors",
                      "pytorch_model.bin"}),
            (Names{"model.safetensors.index.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"}));
  EXPECT_EQ(selected({"model.safetensors.index.json", "pytorch_model.bin"}), (Names{"pytorch_model.bin"}));
}

TEST(SelectedFiles, ModulesOfSentenceTransformersButNoOtherFolders) {
  EXPECT_EQ(selected_files({"modules.json", "1_Pooling/config.json", "2_Dense/model.safetensors", "2_Dense/pytorch_model.bin",
                            "2_Dense/config.json", "onnx/model.onnx", "onnx/config.json", "checkpoint-5/pytorch_model.bin",
                            "1_a/2_b/config.json", "config_sentence_transformers.json", "sentence_bert_config.json", "vocab.txt",
                            "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"},
                           {}),
            (Names{"1_Pooling/config.json", "2_Dense/config.json", "config_sentence_transformers.json", "modules.json",
                   "sentence_bert_config.json", "special_tokens_map.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt",
                   "2_Dense/model.safetensors"}));
}

TEST(SelectedFiles, IncludeExcludeAll) {
  const Names files = {"a.json", "b.pt", "b.pt", "sub/c.md"};
  EXPECT_EQ(selected_files(files, {.all = true}), (Names{"a.json", "sub/c.md", "b.pt"}));
  EXPECT_EQ(selected_files(files, {.include = {"*.md", "a*"}, .all = true}), (Names{"a.json", "sub/c.md"}));
  EXPECT_EQ(selected_files(files, {.exclude = {"sub/"}, .all = true}), (Names{"a.json", "b.pt"}));
  EXPECT_EQ(selected_files(files, {}), (Names{"b.pt"}));
}

}  // namespace
}  // namespace m2bert::checkpoint::test
