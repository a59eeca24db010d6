#include "m2bert/checkpoint/folder.h"

#include <gtest/gtest.h>

#include <set>

#include "m2bert/checkpoint/folder_fields.h"
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
  EXPECT_EQ(m.pooling->modes, std::vector<std::string>{"mean"});
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
  f.write("1_Pooling/config.json", R"({"embedding_dimension":8,"pooling_mode":["mean","cls"],"include_prompt":false})");
  f.write(
      "modules.json",
      R"([{"path":"","type":"sentence_transformers.base.modules.transformer.Transformer"},{"path":"1_Pooling","type":"sentence_transformers.sentence_transformer.modules.pooling.Pooling"}])");
  auto m = read_folder(f.path());
  EXPECT_EQ(m.pooling->modes, (std::vector<std::string>{"mean", "cls"}));
  EXPECT_TRUE(!m.pooling->include_prompt && !m.normalize);
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
    testing::Values(
        Broken{"modules_not_json", "modules.json", "{", "modules.json"}, Broken{"modules_map", "modules.json", "{}", "modules.json"},
        Broken{"modules_empty", "modules.json", "[]", "names no module"},
        Broken{"module_without_type", "modules.json", R"([{"path":""}])", "type"},
        Broken{"module_unknown", "modules.json",
               R"([{"path":"","type":"sentence_transformers.models.Transformer"},{"path":"","type":"sentence_transformers.models.LSTM"}])",
               "LSTM"},
        Broken{"module_of_other_code", "modules.json", R"([{"path":"","type":"custom_st.Transformer"}])", "custom_st.Transformer"},
        Broken{"module_with_arguments", "modules.json",
               R"([{"path":"","type":"sentence_transformers.models.Transformer","kwargs":["task"]}])", "kwargs"},
        Broken{"length_field_unknown", "sentence_bert_config.json", R"({"max_len":8})", "'max_len' is not supported"},
        Broken{"tokenizer_argument", "sentence_bert_config.json", R"({"tokenizer_args":{"do_lower_case":true}})",
               "tokenizer_args.do_lower_case"},
        Broken{"config_argument", "sentence_bert_config.json", R"({"config_kwargs":{"hidden_act":"relu"}})", "config_kwargs.hidden_act"},
        Broken{"processing", "sentence_bert_config.json", R"({"processing_kwargs":{"text":{"padding":"max_length"}}})",
               "processing_kwargs"},
        Broken{"expansion", "sentence_bert_config.json", R"({"query_expansion":{"strategy":"fixed","length":32}})", "query_expansion"},
        Broken{"other_modality", "sentence_bert_config.json", R"({"modality_config":{"image":{"method":"forward"}}})",
               "modality_config.image"},
        Broken{"hidden_layer", "sentence_bert_config.json",
               R"({"modality_config":{"text":{"method":"forward","method_output_name":"hidden_states"}}})",
               "last_hidden_state or pooler_output"},
        Broken{
            "two_vectors", "sentence_bert_config.json",
            R"({"modality_config":{"text":{"method":"forward","method_output_name":"pooler_output"}},"module_output_name":"sentence_embedding"})",
            "pooler's output already"},
        Broken{"truncate_dim_zero", "config_sentence_transformers.json", R"({"truncate_dim":0})", "truncate_dim"},
        Broken{"adapter", "adapter_config.json", "{}", "PEFT adapter"},
        Broken{"pooling_first", "modules.json", R"([{"path":"1_Pooling","type":"sentence_transformers.models.Pooling"}])", "first module"},
        Broken{
            "two_transformers", "modules.json",
            R"([{"path":"","type":"sentence_transformers.models.Transformer"},{"path":"","type":"sentence_transformers.models.Transformer"}])",
            "first module"},
        Broken{"path_leaves", "modules.json", R"([{"path":"../other","type":"sentence_transformers.models.Transformer"}])",
               "out of the folder"},
        Broken{"path_absolute", "modules.json", R"([{"path":"/etc","type":"sentence_transformers.models.Transformer"}])",
               "out of the folder"},
        Broken{"pooling_missing", "1_Pooling/config.json", "", "config.json"},
        Broken{"pooling_flag_text", "1_Pooling/config.json", R"({"pooling_mode_cls_token":"yes"})", "pooling_mode_cls_token"},
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

TEST(ReadFolder, AnUnknownPoolingIsAnErrorOnlyWhereItIsUsed) {
  Folder f;
  write_sentence_folder(f);
  f.write("1_Pooling/config.json", R"({"pooling_mode":"median"})");
  EXPECT_NE(read_folder(f.path()).pooling->error.find("median"), std::string::npos);
  f.write("1_Pooling/config.json", R"({"pooling_mode":"mean","pooling_weights":[1]})");
  EXPECT_NE(read_folder(f.path()).pooling->error.find("pooling_weights"), std::string::npos);
  f.write("modules.json", R"([{"path":"","type":"sentence_transformers.models.Transformer"}])");
  EXPECT_NE(read_folder(f.path()).pooling->error.find("no Pooling"), std::string::npos);
}

TEST(ReadFolder, ModelsOfOtherKindsGiveNoVectors) {
  Folder f;
  write_sentence_folder(f);
  f.write("config_sentence_transformers.json", R"({"model_type":"CrossEncoder"})");
  EXPECT_NE(read_folder(f.path()).vectors_error.find("CrossEncoder"), std::string::npos);
  f.write("config_sentence_transformers.json", R"({"model_type":"SentenceTransformer","truncate_dim":8,"sparsity":2})");
  EXPECT_EQ(read_folder(f.path()).vectors_error, "");
  EXPECT_EQ(read_folder(f.path()).truncate_dim, 8);
  ASSERT_EQ(read_folder(f.path()).ignored.size(), 1u);
  EXPECT_NE(read_folder(f.path()).ignored[0].find("sparsity"), std::string::npos);
  f.write("sentence_bert_config.json", R"({"transformer_task":"fill-mask"})");
  EXPECT_NE(read_folder(f.path()).vectors_error.find("fill-mask"), std::string::npos);
}

TEST(ReadFolder, EveryNameOfTheTransformersOptions) {
  for (const std::string kind : {"bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet"}) {
    Folder f;
    write_sentence_folder(f);
    f.write("sentence_bert_config.json", "{}");
    f.write("sentence_" + kind + "_config.json", R"({"max_seq_length":7,"tokenizer_args":{"use_fast":true}})");
    EXPECT_EQ(read_folder(f.path()).max_seq_length, 7) << kind;
    f.write("sentence_" + kind + "_config.json", R"({"max_seq_length":7,"tokenizer_args":{"model_max_length":5}})");
    EXPECT_EQ(read_folder(f.path()).max_seq_length, 5) << kind;
  }
}

TEST(ReadFolder, ModulesAfterThePoolingInTheirOrder) {
  Folder f;
  write_sentence_folder(f);
  f.write("modules.json", R"([{"path":"","type":"sentence_transformers.models.Transformer"},
    {"path":"1_Pooling","type":"sentence_transformers.models.Pooling"}, {"path":"2_Normalize","type":"sentence_transformers.models.Normalize"},
    {"path":"3_Dense","type":"sentence_transformers.models.Dense"}, {"path":"4_Dropout","type":"sentence_transformers.models.Dropout"},
    {"path":"5_Normalize","type":"sentence_transformers.models.Normalize"}])");
  f.write("3_Dense/config.json",
          R"({"in_features":384,"out_features":8,"bias":false,"activation_function":"torch.nn.modules.linear.Identity"})");
  f.write("3_Dense/model.safetensors", "x");
  const auto m = read_folder(f.path());
  ASSERT_EQ(m.modules.size(), 2u);
  EXPECT_EQ(m.modules[0].kind, VectorModule::Kind::normalize);
  EXPECT_EQ(m.modules[1].out_features, 8);
  EXPECT_TRUE(m.normalize && !m.modules[1].bias);
}

TEST(ReadFolder, ShardsWithoutTheirIndex) {
  Folder f;
  f.write("config.json", "{}");
  f.write("model-00001-of-00002.safetensors", "x");
  EXPECT_NE(error_of([&] { read_folder(f.path()); }).find("model.safetensors.index.json is missing"), std::string::npos);
  f.write("model-00002-of-00002.safetensors", "x");
  EXPECT_NE(error_of([&] { read_folder(f.path()); }).find("model.safetensors.index.json is missing"), std::string::npos);
}

TEST(HarmlessFields, EachIsListedOnceWithAReason) {
  std::set<std::pair<std::string_view, std::string_view>> seen;
  for (const auto& f : harmless_fields()) {
    EXPECT_TRUE(seen.insert({f.file, f.field}).second) << f.file << " " << f.field;
    EXPECT_FALSE(f.reason.empty());
  }
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
                      .pooling = {.include_prompt = false, .dimension = 16},
                      .normalize = true,
                      .max_seq_length = 128,
                      .prompts = {{"doc", "d: "}},
                      .default_prompt = "doc"};
  for (const auto& modes : {std::vector<std::string>{"cls"}, {"cls", "mean"}, {"mean", "cls"}, {"mean", "mean"}}) {
    d.pooling.modes = modes;
    write_folder_description(f / "m", d);
    f.write("m/model.safetensors", "x");
    EXPECT_EQ(read_folder(f / "m").pooling->modes, modes);
  }
  auto m = read_folder(f / "m");
  EXPECT_TRUE(m.sentence_transformers && m.normalize && !m.pooling->include_prompt);
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
