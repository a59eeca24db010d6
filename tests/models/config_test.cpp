#include "m2bert/models/config.h"

#include <gtest/gtest.h>

#include "m2bert/error.h"
#include "m2bert/io/json.h"
#include "m2bert/io/yaml.h"

namespace m2bert {
namespace {

using models::Config;
using models::Family;

Config from_yaml(const std::string& text) { return Config::from_tree(io::parse_yaml(text, "recipe.yaml")); }
Config from_json(const std::string& text) { return Config::from_tree(io::parse_json(text, "config.json")); }

std::string error_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

const char* kMixer = R"(
model:
  name: bert
  model_config:
    monarch_mixer_sequence_mixing: true
    long_conv_l_max: 128
    long_conv_kernel_learning_rate: 1e-3
    hyena_lr_pos_emb: 1e-5
    hyena_w: 10
    hyena_wd: 0.1
    hyena_emb_dim: 5
)";

std::string mixer_with(const std::string& lines) { return kMixer + lines; }

TEST(Config, AbsentFieldsHaveUpstreamsDefaults) {
  const Config c = from_yaml("model: {name: bert}");
  EXPECT_EQ(c.hidden_size, 768);
  EXPECT_EQ(c.vocab_size, 30528);  // padded up to a multiple of 8
  EXPECT_EQ(c.attention_probs_dropout_prob, 0.0);
  EXPECT_EQ(c.hidden_dropout_prob, 0.1);
  EXPECT_TRUE(c.use_glu_mlp);
  EXPECT_FALSE(c.use_monarch_mlp);
  EXPECT_FALSE(c.use_cls_token);
  EXPECT_EQ(c.layer_norm_eps, 1e-12);
}

TEST(Config, HuggingFaceBertKeepsItsOwnDefaults) {
  const Config c = from_yaml("model: {name: hf_bert}");
  EXPECT_EQ(c.family, Family::hf_bert);
  EXPECT_EQ(c.vocab_size, 30522);
  EXPECT_EQ(c.attention_probs_dropout_prob, 0.1);
}

TEST(Config, NumbersMayBeWrittenAsUpstreamWritesThem) {
  const Config c = from_yaml(kMixer);
  EXPECT_DOUBLE_EQ(*c.hyena_lr_pos_emb, 1e-5);
  EXPECT_DOUBLE_EQ(*c.hyena_w, 10);
}

TEST(Config, FlatHuggingFaceConfigWithTheMixerIsAnM2Model) {
  const Config c = from_json(R"({"model_type": "bert", "monarch_mixer_sequence_mixing": true, "long_conv_l_max": 2048, "hyena_w": 10,
    "long_conv_kernel_learning_rate": 0.001, "hyena_lr_pos_emb": 1e-05, "hyena_wd": 0.1, "hyena_emb_dim": 5, "vocab_size": 30528})");
  EXPECT_EQ(c.family, Family::m2);
  EXPECT_EQ(c.max_length(), 2048);
}

TEST(Config, PlainConfigJsonIsHuggingFaceBert) {
  const Config c =
      from_json(R"({"model_type": "bert", "hidden_size": 384, "num_attention_heads": 12, "id2label": {"0": "no", "1": "yes", "2": "?"}})");
  EXPECT_EQ(c.family, Family::hf_bert);
  EXPECT_EQ(c.num_labels, 3);
  EXPECT_EQ(c.labels, (std::vector<std::string>{"no", "yes", "?"}));
}

TEST(Config, WrittenConfigReadsBack) {
  Config c = from_yaml(mixer_with("    use_monarch_mlp: true\n    num_labels: 3\n"));
  c.labels = {"a", "b", "c"};
  const Config back = Config::from_tree(c.to_tree());
  EXPECT_EQ(back.to_tree(), c.to_tree());
  EXPECT_EQ(back.labels, c.labels);
  const Config hf = from_yaml("model: {name: hf_bert}");
  EXPECT_EQ(Config::from_tree(hf.to_tree()).family, Family::hf_bert);
}

TEST(Config, UnknownFieldsGiveOneWarningThatNamesThem) {
  testing::internal::CaptureStderr();
  from_yaml("model: {name: bert, model_config: {max_position_embedding: 512, hiden_size: 3}}");
  const auto text = testing::internal::GetCapturedStderr();
  EXPECT_NE(text.find("max_position_embedding, hiden_size"), std::string::npos) << text;
  EXPECT_EQ(std::ranges::count(text, '\n'), 1) << text;
}

struct Wrong {
  std::string name, yaml;
  std::vector<std::string> says;
};

std::ostream& operator<<(std::ostream& out, const Wrong& w) { return out << w.name; }

class WrongConfig : public ::testing::TestWithParam<Wrong> {};

TEST_P(WrongConfig, NamesFileLineAndField) {
  const auto text = error_of([] { from_yaml(GetParam().yaml); });
  for (const auto& part : GetParam().says) EXPECT_NE(text.find(part), std::string::npos) << "\"" << part << "\" is not in: " << text;
}

INSTANTIATE_TEST_SUITE_P(
    All, WrongConfig,
    ::testing::Values(
        Wrong{"text_for_a_number", "model:\n  model_config:\n    hidden_size: big\n", {"recipe.yaml:3", "hidden_size", "big"}},
        Wrong{"fraction_for_an_integer", "model:\n  model_config:\n    hidden_size: 76.5\n", {"recipe.yaml:3", "hidden_size"}},
        Wrong{"negative_size", "model:\n  model_config:\n    hidden_size: -1\n", {"recipe.yaml:3", "hidden_size"}},
        Wrong{"zero_heads", "model:\n  model_config:\n    num_attention_heads: 0\n", {"recipe.yaml:3", "num_attention_heads"}},
        Wrong{"heads_do_not_divide",
              "model:\n  model_config:\n    num_attention_heads: 7\n",
              {"recipe.yaml:3", "divisor of hidden_size 768"}},
        Wrong{"huge_size", "model:\n  model_config:\n    vocab_size: 99999999999\n", {"recipe.yaml:3", "vocab_size"}},
        Wrong{"number_for_a_switch", "model:\n  model_config:\n    pool_all: 3\n", {"recipe.yaml:3", "pool_all"}},
        Wrong{"list_for_a_number", "model:\n  model_config:\n    hidden_size: [1]\n", {"recipe.yaml:3", "hidden_size"}},
        Wrong{"dropout_of_one", "model:\n  model_config:\n    hidden_dropout_prob: 1.0\n", {"recipe.yaml:3", "hidden_dropout_prob"}},
        Wrong{"nan", "model:\n  model_config:\n    layer_norm_eps: .nan\n", {"recipe.yaml:3", "layer_norm_eps"}},
        Wrong{"even_emb_dim", mixer_with("").replace(mixer_with("").find("emb_dim: 5"), 10, "emb_dim: 4"), {"hyena_emb_dim", "odd"}},
        Wrong{"mixer_without_length", "model:\n  model_config:\n    monarch_mixer_sequence_mixing: true\n", {"long_conv_l_max is missing"}},
        Wrong{"unknown_activation", "model:\n  model_config:\n    hidden_act: mish\n", {"recipe.yaml:3", "hidden_act", "gelu"}},
        Wrong{"unknown_problem", "model:\n  model_config:\n    problem_type: guess\n", {"recipe.yaml:3", "problem_type"}},
        Wrong{"relative_positions",
              "model:\n  name: hf_bert\n  model_config:\n    position_embedding_type: relative_key\n",
              {"recipe.yaml:4"}},
        Wrong{"flash_mm", mixer_with("    use_flash_mm: true\n"), {"use_flash_mm", "another layout"}},
        Wrong{"unknown_model", "model:\n  name: gpt\n", {"recipe.yaml:2", "gpt"}},
        Wrong{"unknown_base", "model:\n  pretrained_model_name: roberta-base\n", {"recipe.yaml:2", "roberta-base"}},
        Wrong{"model_config_is_a_list", "model:\n  model_config: [1, 2]\n", {"recipe.yaml:2"}},
        Wrong{"pad_outside", "model:\n  model_config:\n    vocab_size: 8\n    pad_token_id: 9\n", {"recipe.yaml:4", "pad_token_id"}},
        Wrong{"not_a_map", "- 1\n- 2\n", {"recipe.yaml"}}),
    [](const auto& info) { return info.param.name; });

TEST(Config, FieldsOfTransformersThatWouldChangeTheResultAreRefused) {
  for (const char* field : {R"("is_decoder": true)", R"("is_encoder_decoder": true)", R"("add_cross_attention": true)",
                            R"("pruned_heads": {"0": [1]})", R"("quantization_config": {"bits": 4})", R"("per_layer_config": {"0": {}})",
                            R"("tokenizer_class": "RobertaTokenizer")", R"("hidden_act": "quick_gelu")"}) {
    const std::string text = field, name = text.substr(1, text.find('"', 1) - 1);
    EXPECT_NE(error_of([&] { from_json("{" + text + "}"); }).find(name + ": wants"), std::string::npos) << text;
  }
  testing::internal::CaptureStderr();
  from_json(R"({"is_decoder": false, "pruned_heads": {}, "quantization_config": null, "tokenizer_class": "BertTokenizerFast",
                "hidden_act": "gelu_fast", "chunk_size_feed_forward": 4, "torch_dtype": "float16", "tie_word_embeddings": false})");
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
}

TEST(Config, TheLengthOfTheRecipeIsTheDefault) {
  const Config c = from_yaml("max_seq_len: 128\nmodel: {name: hf_bert}");
  EXPECT_EQ(c.max_length(), 512);
  EXPECT_EQ(c.default_length(), 128);
  EXPECT_EQ(Config::from_tree(c.to_tree()).default_length(), 128);
  EXPECT_EQ(from_yaml("max_seq_len: 1024\nmodel: {name: hf_bert}").default_length(), 512);
  EXPECT_EQ(from_yaml("model: {name: hf_bert}").default_length(), 512);
}

TEST(Config, KnowsWhetherTheNumberOfLabelsIsGiven) {
  EXPECT_FALSE(from_yaml("model: {name: bert}").num_labels_given);
  EXPECT_FALSE(Config::from_tree(from_yaml("model: {name: bert}").to_tree()).num_labels_given);
  EXPECT_TRUE(from_yaml("num_labels: 2\nmodel: {name: bert}").num_labels_given);
  EXPECT_TRUE(from_json(R"({"num_labels": 2})").num_labels_given);
  EXPECT_TRUE(from_json(R"({"id2label": {"0": "a", "1": "b"}})").num_labels_given);
}

TEST(Config, LabelsMustCoverTheirIds) {
  EXPECT_NE(error_of([] { from_json(R"({"id2label": {"0": "a", "2": "b"}})"); }).find("config.json"), std::string::npos);
  EXPECT_NE(error_of([] { from_json(R"({"num_labels": 3, "id2label": {"0": "a", "1": "b"}})"); }).find("num_labels = 3"),
            std::string::npos);
}

}  // namespace
}  // namespace m2bert
