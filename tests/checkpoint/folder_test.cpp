#include "m2bert/checkpoint/folder.h"

#include <gtest/gtest.h>

#include "m2bert/error.h"
#include "tests/checkpoint/bytes.h"

namespace m2bert::checkpoint::test {
namespace {

const char* modules = R"([{"idx":0,"name":"0","path":"","type":"sentence_transformers.models.Transformer"},
  {"idx":1,"name":"1","path":"1_Pooling","type":"sentence_transformers.models.Pooling"},
  {"idx":2,"name":"2","path":"2_Normalize","type":"sentence_transformers.models.Normalize"}])";

void write_sentence_folder(const Folder& f) {
  f.write("modules.json", modules);
  f.write("model.safetensors", "");
  f.write("config.json", "{}");
  f.write("1_Pooling/config.json", R"({"word_embedding_dimension":384,"pooling_mode_cls_token":false,"pooling_mode_mean_tokens":true})");
  f.write("sentence_bert_config.json", R"({"max_seq_length":256,"do_lower_case":false})");
  f.write("config_sentence_transformers.json",
          R"({"prompts":{"query":"query: "},"default_prompt_name":"query","similarity_fn_name":"cosine"})");
}

TEST(ReadFolder, SentenceTransformersWithoutItsNormalizeFolder) {
  Folder f;
  write_sentence_folder(f);
  auto m = read_folder(f.path());
  EXPECT_TRUE(m.sentence_transformers && m.normalize);
  ASSERT_TRUE(m.pooling);
  EXPECT_TRUE(m.pooling->mean);
  EXPECT_FALSE(m.pooling->cls);
  EXPECT_EQ(m.pooling->dimension, 384);
  EXPECT_EQ(m.max_seq_length, 256);
  EXPECT_EQ(m.do_lower_case, false);
  EXPECT_EQ(m.prompts.at("query"), "query: ");
  EXPECT_EQ(m.default_prompt, "query");
  EXPECT_EQ(m.weights, std::vector{f / "model.safetensors"});
}

TEST(ReadFolder, NewerPoolingAndModuleNames) {
  Folder f;
  write_sentence_folder(f);
  f.write("1_Pooling/config.json", R"({"embedding_dimension":8,"pooling_mode":["cls","mean"],"include_prompt":false})");
  f.write(
      "modules.json",
      R"([{"path":"","type":"sentence_transformers.base.modules.transformer.Transformer"},{"path":"1_Pooling","type":"sentence_transformers.sentence_transformer.modules.pooling.Pooling"}])");
  auto m = read_folder(f.path());
  EXPECT_TRUE(m.pooling->cls && m.pooling->mean && !m.pooling->include_prompt && !m.normalize);
  EXPECT_EQ(m.pooling->dimension, 8);
}

TEST(ReadFolder, PlainHuggingFaceFolder) {
  Folder f;
  f.write("config.json", "{}");
  f.write("pytorch_model.bin", "x");
  auto m = read_folder(f.path());
  EXPECT_FALSE(m.sentence_transformers);
  EXPECT_EQ(m.weights, std::vector{f / "pytorch_model.bin"});
  f.write("model.safetensors", "x");
  EXPECT_EQ(read_folder(f.path()).weights, std::vector{f / "model.safetensors"});
}

TEST(ReadFolder, ShardsInTheIndexsOrder) {
  Folder f;
  f.write("pytorch_model.bin.index.json", R"({"weight_map":{"a":"s1.bin","b":"s2.bin","c":"s1.bin"}})");
  f.write("s1.bin", "x");
  f.write("s2.bin", "x");
  EXPECT_EQ(read_folder(f.path()).weights, (std::vector{f / "s1.bin", f / "s2.bin"}));
}

struct Broken {
  std::string name, file, content, expect;
};
class BrokenFolder : public testing::TestWithParam<Broken> {};
INSTANTIATE_TEST_SUITE_P(
    ReadFolder, BrokenFolder,
    testing::Values(Broken{"modules_not_json", "modules.json", "{", "modules.json"},
                    Broken{"modules_map", "modules.json", "{}", "modules.json"},
                    Broken{"modules_empty", "modules.json", "[]", "names no module"},
                    Broken{"module_without_type", "modules.json", R"([{"path":""}])", "type"},
                    Broken{"module_unknown", "modules.json", R"([{"path":"","type":"x.Transformer"},{"path":"","type":"x.LSTM"}])", "LSTM"},
                    Broken{"pooling_first", "modules.json", R"([{"path":"1_Pooling","type":"x.Pooling"}])", "first module"},
                    Broken{"two_transformers", "modules.json", R"([{"path":"","type":"x.Transformer"},{"path":"","type":"x.Transformer"}])",
                           "first module"},
                    Broken{"path_leaves", "modules.json", R"([{"path":"../other","type":"x.Transformer"}])", "out of the folder"},
                    Broken{"path_absolute", "modules.json", R"([{"path":"/etc","type":"x.Transformer"}])", "out of the folder"},
                    Broken{"pooling_missing", "1_Pooling/config.json", "", "config.json"},
                    Broken{"pooling_flag_text", "1_Pooling/config.json", R"({"pooling_mode_cls_token":"yes"})", "pooling_mode_cls_token"},
                    Broken{"pooling_mode_unknown", "1_Pooling/config.json", R"({"pooling_mode":"median"})", "median"},
                    Broken{"length_negative", "sentence_bert_config.json", R"({"max_seq_length":-1})", "positive"},
                    Broken{"length_text", "sentence_bert_config.json", R"({"max_seq_length":"long"})", "max_seq_length"},
                    Broken{"prompt_unknown", "config_sentence_transformers.json", R"({"default_prompt_name":"x"})", "none of the prompts"},
                    Broken{"prompts_list", "config_sentence_transformers.json", R"({"prompts":[]})", "prompts"}),
    [](const auto& info) { return info.param.name; });

TEST_P(BrokenFolder, GivesOneClearError) {
  Folder f;
  write_sentence_folder(f);
  f.write(GetParam().file, GetParam().content);
  auto message = error_of([&] { read_folder(f.path()); });
  EXPECT_NE(message.find(GetParam().expect), std::string::npos) << message;
}

TEST(ReadFolder, WithoutWeightsOrWithTooMany) {
  Folder f;
  f.write("config.json", "{}");
  EXPECT_NE(error_of([&] { read_folder(f.path()); }).find("no weights in this folder"), std::string::npos);
  f.write("a.pt", "x");
  f.write("b.pt", "x");
  EXPECT_NE(error_of([&] { read_folder(f.path()); }).find("2 weight files (a.pt, b.pt)"), std::string::npos);
  f.write("model.safetensors.index.json", R"({"weight_map":{"a":"../secret.safetensors"}})");
  EXPECT_NE(error_of([&] { read_folder(f.path()); }).find("out of the folder"), std::string::npos);
  f.write("model.safetensors.index.json", R"({"weight_map":{"a":"gone.safetensors"}})");
  EXPECT_NE(error_of([&] { read_folder(f.path()); }).find("gone.safetensors"), std::string::npos);
  EXPECT_NE(error_of([&] { read_folder(f / "absent"); }).find("not a folder"), std::string::npos);
}

TEST(WriteFolder, ReadsBack) {
  Folder f;
  FolderDescription d{.config_json = "{}",
                      .sentence_transformers = true,
                      .normalize = true,
                      .max_seq_length = 128,
                      .prompts = {{"doc", "d: "}},
                      .default_prompt = "doc"};
  d.pooling.cls = true;
  d.pooling.dimension = 16;
  write_folder_description(f / "m", d);
  f.write("m/model.safetensors", "x");
  auto m = read_folder(f / "m");
  EXPECT_TRUE(m.sentence_transformers && m.normalize && m.pooling->cls && !m.pooling->mean);
  EXPECT_EQ(m.pooling->dimension, 16);
  EXPECT_EQ(m.max_seq_length, 128);
  EXPECT_EQ(m.default_prompt, "doc");
}

TEST(HoldsModel, WantsWeightsWithAllShards) {
  Folder f;
  EXPECT_FALSE(holds_model(f / "missing"));
  EXPECT_FALSE(holds_model(f.path()));
  f.write("pytorch_model.bin.index.json", R"({"weight_map":{"a":"pytorch_model-1-of-2.bin","b":"pytorch_model-2-of-2.bin"}})");
  f.write("pytorch_model-1-of-2.bin", "x");
  EXPECT_FALSE(holds_model(f.path()));
  f.write("pytorch_model-2-of-2.bin", "x");
  EXPECT_TRUE(holds_model(f.path()));
}

TEST(HoldsModel, ToleratesABrokenDescription) {
  Folder f;
  f.write("modules.json", "not JSON");
  EXPECT_FALSE(holds_model(f.path()));
  f.write("model.safetensors", "x");
  EXPECT_TRUE(holds_model(f.path()));
}

}  // namespace
}  // namespace m2bert::checkpoint::test
