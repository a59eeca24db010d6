// Broken and hostile inputs through the commands: one clear error, exit code 1, nothing half-written.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "m2bert/io/json.h"
#include "tests/cli/program.h"
#include "tests/support/scratch.h"
#include "tests/support/tiny_models.h"

namespace m2bert::test {
namespace {

namespace fs = std::filesystem;

// The file that gets the content; everything else in the run is valid.
enum class Place { jsonl, csv, tsv, text, config, recipe, vocabulary, tokenizer_json, weights };

struct Hostile {
  const char* name;
  Place place;
  std::string content;
  std::string message;  // a part of the error
};

std::string repeated(const std::string& part, size_t times) {
  std::string text;
  for (size_t i = 0; i < times; ++i) text += part;
  return text;
}

std::string numbered_tokens(int count) {
  std::string lines;
  for (int i = 0; i < count; ++i) lines += "t" + std::to_string(i) + "\n";
  return lines;
}

std::string with_null(std::string text, size_t at) { return text.insert(at, 1, '\0'); }

// The valid config.json with one member changed or added.
std::string config_with(const std::string& key, const io::Tree& value, models::Config config = tiny_m2_config()) {
  io::Tree tree = config.to_tree();
  tree.as_map().set(key, value);
  return io::to_json(tree);
}

std::string config_without(const std::string& key) {
  io::Tree tree = tiny_m2_config().to_tree();
  tree.as_map().erase(key);
  return io::to_json(tree);
}

std::vector<Hostile> hostile_inputs() {
  using enum Place;
  const std::string good = "{\"text\":\"river\"}\n", yaml = "model:\n  model_config:\n";
  return {
      {"jsonl_not_json", jsonl, "river\n", ":1"},
      {"jsonl_unclosed_object", jsonl, good + "{\"text\":\"river\"\n", ":2"},
      {"jsonl_unclosed_string", jsonl, "{\"text\":\"river\n", ":1"},
      {"jsonl_no_such_field", jsonl, good + good + "{\"body\":\"river\"}\n", ":3"},
      {"jsonl_field_is_a_number", jsonl, "{\"text\":5}\n", "text"},
      {"jsonl_field_is_null", jsonl, "{\"text\":null}\n", "text"},
      {"jsonl_field_is_a_list", jsonl, "{\"text\":[\"river\"]}\n", "text"},
      {"jsonl_line_is_a_list", jsonl, "[\"river\"]\n", ":1"},
      {"jsonl_line_is_a_string", jsonl, "\"river\"\n", ":1"},
      {"jsonl_invalid_utf8", jsonl, "{\"text\":\"\xff\xfe\"}\n", ":1"},
      {"jsonl_overlong_utf8", jsonl, "{\"text\":\"\xc0\xaf\"}\n", ":1"},
      {"jsonl_control_character", jsonl, "{\"text\":\"a\x01\"}\n", ":1"},
      {"jsonl_null_byte", jsonl, with_null("{\"text\":\"river\"}\n", 10), ":1"},
      {"jsonl_duplicate_key", jsonl, "{\"text\":\"a\",\"text\":\"b\"}\n", "text"},
      {"jsonl_nan", jsonl, "{\"text\":\"a\",\"score\":NaN}\n", ":1"},
      {"jsonl_single_quotes", jsonl, "{'text':'river'}\n", ":1"},
      {"jsonl_trailing_comma", jsonl, "{\"text\":\"river\",}\n", ":1"},
      {"jsonl_two_values_in_a_line", jsonl, "{\"text\":\"a\"}{\"text\":\"b\"}\n", ":1"},
      {"jsonl_endless_nesting", jsonl, "{\"x\":" + repeated("[", 100000) + "\n", ":1"},
      {"jsonl_bad_escape", jsonl, "{\"text\":\"\\q\"}\n", ":1"},
      {"jsonl_bad_line_far_down", jsonl, repeated(good, 500) + "{\n", ":501"},
      {"jsonl_gzip_cut_off", jsonl, std::string("\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xab", 11), "input"},
      {"jsonl_zstd_garbage", jsonl, "\x28\xb5\x2f\xfdgarbage that is no frame", "input"},
      {"csv_unclosed_quote", csv, "text\n\"river\n", "input.csv"},
      {"csv_no_such_column", csv, "id,body\n1,river\n", "text"},
      {"csv_row_too_short", csv, "id,text\n1\n", ":2"},
      {"csv_text_after_quote", csv, "text\n\"river\"x\n", ":2"},
      {"csv_column_twice", csv, "text,text\nriver,tree\n", "text"},
      {"tsv_no_such_column", tsv, "id\tbody\n1\triver\n", "text"},
      {"text_zstd_garbage", text, std::string("\x28\xb5\x2f\xfd\x00\x00\x00", 7), "input"},
      {"config_empty", config, "", "config.json"},
      {"config_not_json", config, "hidden_size: 16\n", "config.json"},
      {"config_cut_off", config, "{\"hidden_size\": 16,", "config.json"},
      {"config_is_a_list", config, "[1, 2]", "config.json"},
      {"config_duplicate_key", config, "{\"hidden_size\": 16, \"hidden_size\": 17}", "hidden_size"},
      {"config_endless_nesting", config, repeated("{\"a\":", 50000), "config.json"},
      {"config_size_is_text", config, config_with("hidden_size", "sixteen"), "hidden_size"},
      {"config_size_is_negative", config, config_with("hidden_size", -16), "hidden_size"},
      {"config_size_is_zero", config, config_with("hidden_size", 0), "hidden_size"},
      {"config_size_is_broken_number", config, config_with("hidden_size", 16.5), "hidden_size"},
      {"config_size_is_huge", config, config_with("hidden_size", int64_t{1} << 60), "hidden_size"},
      {"config_size_wraps_to_32_bits", config, config_with("vocab_size", (int64_t{1} << 32) + 88), "vocab_size"},
      {"config_size_is_a_list", config, config_with("hidden_size", io::Tree::list({16})), "hidden_size"},
      {"config_flag_is_text", config, config_with("bidirectional", "maybe"), "bidirectional"},
      {"config_no_positions", config, config_with("max_position_embeddings", 0), "max_position_embeddings"},
      {"config_filter_shorter_than_text", config, config_with("long_conv_l_max", 4), ""},
      {"config_without_filter_length", config, config_without("long_conv_l_max"), "long_conv_l_max"},
      {"config_without_filter_positions", config, config_without("hyena_emb_dim"), "hyena_emb_dim"},
      {"config_even_filter_positions", config, config_with("hyena_emb_dim", 4), "hyena_emb_dim"},
      {"config_unknown_problem", config, config_with("problem_type", "guessing"), "problem_type"},
      {"config_unknown_activation", config, config_with("hidden_act", "gulp"), "hidden_act"},
      {"config_dropout_above_one", config, config_with("hidden_dropout_prob", 1.5), "hidden_dropout_prob"},
      {"config_heads_do_not_divide", config, config_with("num_attention_heads", 3, tiny_bert_config()), "num_attention_heads"},
      {"config_one_layer_more", config, config_with("num_hidden_layers", 3), "layer.2"},
      {"config_one_layer_less", config, config_with("num_hidden_layers", 1), "layer.1"},
      {"config_other_width", config, config_with("intermediate_size", 64), "mlp"},
      {"config_millions_of_layers", config, config_with("num_hidden_layers", 1 << 30), "num_hidden_layers"},
      {"recipe_empty", recipe, "", ""},
      {"recipe_is_a_list", recipe, "- 1\n- 2\n", "recipe.yaml"},
      {"recipe_tab_indentation", recipe, "model:\n\tname: bert\n", "recipe.yaml"},
      {"recipe_unclosed_list", recipe, "a: [1, 2\n", "recipe.yaml"},
      {"recipe_duplicate_key", recipe, yaml + "    hidden_size: 16\n    hidden_size: 32\n", "hidden_size"},
      {"recipe_cycle", recipe, "a: ${b}\nb: ${a}\n" + yaml + "    hidden_size: ${a}\n", "recipe.yaml"},
      {"recipe_unknown_interpolation", recipe, yaml + "    hidden_size: ${nowhere}\n", "nowhere"},
      {"recipe_wrong_type_names_the_line", recipe, yaml + "    hidden_size: wide\n", "recipe.yaml:3"},
      {"recipe_invalid_utf8", recipe, "a: \xff\n", "recipe.yaml"},
      {"recipe_anchor_bomb", recipe,
       "a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\n"
       "d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e,*e]\ng: "
       "[*f,*f,*f,*f,*f,*f]\n",
       "recipe.yaml"},
      {"vocabulary_empty", vocabulary, "", "vocab.txt"},
      {"vocabulary_without_unknown", vocabulary, "[PAD]\n[CLS]\n[SEP]\n[MASK]\na\n", "[UNK]"},
      {"vocabulary_token_twice", vocabulary, "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\na\n", "vocab.txt"},
      {"vocabulary_larger_than_model", vocabulary, "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n" + numbered_tokens(200), "205"},
      {"tokenizer_json_cut_off", tokenizer_json, "{\"model\": {\"type\": \"WordPiece\"", "tokenizer.json"},
      {"tokenizer_json_of_another_kind", tokenizer_json, "{\"model\": {\"type\": \"BPE\", \"vocab\": {}, \"merges\": []}}",
       "tokenizer.json"},
      {"tokenizer_json_without_model", tokenizer_json, "{}", "tokenizer.json"},
      {"weights_empty", weights, "", "model.safetensors"},
      {"weights_are_text", weights, "these are no weights\n", "model.safetensors"},
      {"weights_header_too_long", weights, std::string("\xff\xff\xff\xff\xff\xff\xff\x7f{}", 10), "model.safetensors"},
      {"weights_header_is_a_list", weights, std::string("\x02\0\0\0\0\0\0\0[]", 10), "model.safetensors"},
      {"weights_without_tensors", weights, std::string("\x02\0\0\0\0\0\0\0{}", 10), ""},
      {"weights_like_a_zip", weights, std::string("PK\x03\x04\0\0\0\0", 8), "model.safetensors"},
  };
}

class HostileInput : public ::testing::TestWithParam<Hostile> {
 protected:
  // A folder with a valid model and input, except for the one file.
  std::vector<std::string> command(const Hostile& hostile) const {
    const TinyModels& models = tiny_models();
    const bool recipe = hostile.place == Place::recipe;
    fs::copy(recipe ? models.checkpoint : models.m2, scratch_ / "model", fs::copy_options::recursive);
    std::string input = "input.txt";
    scratch_.put(input, "river\n");
    const auto put = [&](const std::string& file) { scratch_.put(file, hostile.content); };
    switch (hostile.place) {
      case Place::jsonl: put(input = "input.jsonl"); break;
      case Place::csv: put(input = "input.csv"); break;
      case Place::tsv: put(input = "input.tsv"); break;
      case Place::text: put(input); break;
      case Place::config: put("model/config.json"); break;
      case Place::recipe: put("model/recipe.yaml"); break;
      case Place::vocabulary: put("model/vocab.txt"); break;
      case Place::tokenizer_json: put("model/tokenizer.json"); break;
      case Place::weights: put("model/model.safetensors"); break;
    }
    fs::create_directory(scratch_ / "out");
    const std::string model = (scratch_ / "model").string();
    std::vector<std::string> arguments = {"embed",
                                          "--model",
                                          recipe ? model + "/checkpoint.pt" : model,
                                          (scratch_ / input).string(),
                                          "-o",
                                          (scratch_ / "out/vectors.npy").string()};
    if (recipe) arguments.insert(arguments.end(), {"--config", model + "/recipe.yaml", "--tokenizer", model + "/vocab.txt"});
    return arguments;
  }

  Scratch scratch_;
};

TEST_P(HostileInput, IsOneClearError) {
  const Hostile& hostile = GetParam();
  const Outcome outcome = run(command(hostile));
  EXPECT_EQ(outcome.code, 1) << outcome.err;
  EXPECT_EQ(outcome.out, "");
  const size_t error = outcome.err.find("error: ");
  ASSERT_NE(error, std::string::npos) << outcome.err;
  EXPECT_EQ(outcome.err.find("error: ", error + 1), std::string::npos) << outcome.err;
  EXPECT_TRUE(has(outcome.err, hostile.message));
  EXPECT_LT(outcome.err.size(), 20000u);
  EXPECT_TRUE(fs::is_empty(scratch_ / "out")) << "something was left behind";
}

INSTANTIATE_TEST_SUITE_P(Commands, HostileInput, ::testing::ValuesIn(hostile_inputs()),
                         [](const auto& tested) { return std::string(tested.param.name); });

// Invalid paths and devices.
TEST(HostilePlaces, AreOneClearError) {
  const Scratch scratch;
  const std::string model = tiny_models().m2, folder = scratch.folder().string();
  struct Case {
    std::vector<std::string> arguments;
    const char* message;
  };
  const std::vector<Case> cases = {
      {{"embed", "--model", model, "--text", "a", "-o", folder}, "folder"},
      {{"embed", "--model", model, "--text", "a", "-o", folder + "/no/such/a.npy"}, "no/such"},
      {{"embed", "--model", model, "--text", "a", "-o", folder + "/a.xlsx"}, "--output-format"},
      {{"embed", "--model", model, folder + "/nothing.txt"}, "no such file"},
      {{"embed", "--model", model, folder}, folder.c_str()},
      {{"embed", "--model", folder, "--text", "a"}, "no weights"},
      {{"embed", "--model", model + "/vocab.txt", "--config", model + "/config.json", "--text", "a"}, "vocab.txt"},
      {{"embed", "--model", model, "--config", folder, "--text", "a"}, ""},
      {{"embed", "--model", model, "--config", folder + "/none.yaml", "--text", "a"}, "none.yaml"},
      {{"embed", "--model", model, "--tokenizer", folder + "/none.txt", "--text", "a"}, "none.txt"},
      {{"embed", "--model", "", "--text", "a"}, "--model"},
      {{"tokenize", "--model", folder, "--text", "a"}, ""},
      {{"inspect", folder + "/none.pt"}, "none.pt"},
      {{"inspect", "/dev/null"}, "/dev/null"},
      {{"convert", folder + "/none.pt", folder + "/a.pt"}, "none.pt"},
      {{"convert", model, folder + "/a.xyz"}, "xyz"},
      {{"convert", model, folder + "/no/such/a.safetensors"}, "no/such"},
      {{"convert", model + "/model.safetensors", folder + "/hub", "--to", "hugging-face", "--config", folder + "/none.yaml"}, "none.yaml"},
      {{"similarity", "--model", model, "--query", "a", "--corpus", folder + "/none.txt"}, "none.txt"},
      {{"similarity", "--model", model, "--query", "a", "--corpus", "/dev/null"}, "no passages"},
  };
  for (const Case& c : cases) {
    const Outcome outcome = run(c.arguments);
    EXPECT_TRUE(outcome.code == 1 || (outcome.code == 2 && c.arguments[2].empty()))
        << c.arguments[0] << " " << c.message << ": " << outcome.err;
    EXPECT_TRUE(has(outcome.err, "error: "));
    EXPECT_TRUE(has(outcome.err, c.message));
    EXPECT_EQ(scratch.files(), 0u);
  }
}

TEST(HostilePlaces, UnknownConfigFieldsAreOneWarning) {
  const Scratch scratch;
  fs::copy(tiny_models().m2, scratch / "model", fs::copy_options::recursive);
  io::Tree config = tiny_m2_config().to_tree();
  config.set("flux_capacitor", 1);
  scratch.put("model/config.json", io::to_json(config));
  const Outcome outcome = run({"embed", "--model", (scratch / "model").string(), "--text", "river"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_TRUE(has(outcome.err, "flux_capacitor"));
  EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
  EXPECT_EQ(json_lines(outcome.out).size(), 1u);
}

}  // namespace
}  // namespace m2bert::test
