#include "m2bert/checkpoint/convert.h"

#include <gtest/gtest.h>

#include <limits>
#include <set>

#include "m2bert/checkpoint/folder.h"
#include "m2bert/checkpoint/safetensors.h"
#include "m2bert/checkpoint/weights.h"
#include "m2bert/error.h"
#include "tests/checkpoint/bytes.h"

namespace m2bert::checkpoint::test {
namespace {

std::map<std::string, mx::array> by_name(const std::filesystem::path& path) {
  auto w = load_weights(path);
  return {w.begin(), w.end()};
}

void expect_same_weights(const std::filesystem::path& a, const std::filesystem::path& b, bool ties_dropped) {
  auto wa = by_name(a), wb = by_name(b);
  EXPECT_TRUE(ties_dropped || wa.size() == wb.size());
  EXPECT_GT(wb.size(), 8u);
  for (const auto& [name, value] : wb) EXPECT_TRUE(mx::array_equal(value, wa.at(name)).item<bool>()) << name;
}

TEST(Convert, BetweenAllFormats) {
  Folder f;
  auto source = golden("composer.pt");
  convert(source, f / "a.safetensors");
  expect_same_weights(source, f / "a.safetensors", true);
  convert(f / "a.safetensors", f / "b.pt");
  expect_same_weights(source, f / "b.pt", true);
  convert(source, f / "c.pt");
  expect_same_weights(source, f / "c.pt", false);
  auto report = convert(source, f / "folder", {.config_json = "{\"hidden_size\": 4}"});
  EXPECT_EQ(report.target, Target::hugging_face);
  EXPECT_EQ(report.tensors, 16u);
  EXPECT_EQ(io::read_file(f / "folder" / "config.json"), "{\"hidden_size\": 4}");
  expect_same_weights(source, f / "folder", true);
  convert(f / "folder", f / "st", {.target = Target::sentence_transformers, .pooling = "mean", .normalize = true, .max_seq_length = 8});
  auto m = read_folder(f / "st");
  EXPECT_EQ(m.pooling->modes, std::vector<std::string>{"mean"});
  EXPECT_TRUE(m.normalize);
  EXPECT_EQ(m.pooling->dimension, 4);
  EXPECT_EQ(m.max_seq_length, 8);
  convert(f / "st", f / "again");
  EXPECT_TRUE(read_folder(f / "again").sentence_transformers);
  convert(f / "st", f / "d.pt");
  expect_same_weights(source, f / "d.pt", true);
}

TEST(Convert, DtypeChangesFloatsOnly) {
  Folder f;
  convert(golden("composer.pt"), f / "half.pt", {.dtype = mx::bfloat16});
  auto w = by_name(f / "half.pt");
  EXPECT_EQ(w.at("bert.embeddings.word_embeddings.weight").dtype(), mx::bfloat16);
  EXPECT_EQ(w.at("bert.embeddings.position_ids").dtype(), mx::int64);
  for (const auto& [name, a] : w) {
    if (name.find(".filter_fn") == std::string::npos) continue;
    EXPECT_EQ(a.dtype(), mx::float32) << name;  // as in the models
  }
  EXPECT_EQ(w.at("bert.embeddings.word_embeddings.weight").id(), w.at("cls.predictions.decoder.weight").id());
}

TEST(Convert, Int8HasScalesAndRoundTrips) {
  Folder f;
  convert(golden("composer.pt"), f / "small.safetensors", {.dtype = mx::int8});
  auto w = by_name(f / "small.safetensors");
  EXPECT_EQ(w.at("bert.embeddings.word_embeddings.weight").dtype(), mx::int8);
  EXPECT_EQ(w.at("bert.embeddings.word_embeddings.weight_scale").dtype(), mx::float32);
  convert(f / "small.safetensors", f / "wide.pt", {.dtype = mx::float32});
  w = by_name(f / "wide.pt");
  EXPECT_EQ(w.at("bert.embeddings.word_embeddings.weight").dtype(), mx::float32);
  EXPECT_FALSE(w.contains("bert.embeddings.word_embeddings.weight_scale"));
  EXPECT_NE(error_of([&] { convert(golden("composer.pt"), f / "small.pt", {.dtype = mx::int8}); }).find("safetensors"), std::string::npos);
  EXPECT_FALSE(std::filesystem::exists(f / "small.pt"));
}

TEST(Convert, KeepsTheMetadata) {
  Folder f;
  const TensorMap weights = {{"bert.pooler.dense.bias", mx::zeros({2})}};
  save_safetensors(f / "in.safetensors", weights, {{"license", "apache-2.0"}, {"note", "Gr\xc3\xbc\xc3\x9f"}, {"m2bert.run", "{}"}});
  convert(f / "in.safetensors", f / "out.safetensors", {.dtype = mx::bfloat16});
  const std::map<std::string, std::string> wanted = {{"format", "pt"}, {"license", "apache-2.0"}, {"note", "Gr\xc3\xbc\xc3\x9f"}};
  EXPECT_EQ(TensorFile::open(f / "out.safetensors")->metadata(), wanted);  // not the state of a run, which the file no longer is
  convert(f / "in.safetensors", f / "folder", {.config_json = "{}"});
  EXPECT_EQ(TensorFile::open(f / "folder/model.safetensors")->metadata(), wanted);
}

TEST(Convert, TakesTheCopyThatIsNamed) {
  Folder f;
  save_safetensors(f / "in.safetensors", {{"model.bert.pooler.dense.bias", mx::zeros({2})}, {"ema.bert.pooler.dense.bias", mx::ones({2})}});
  convert(f / "in.safetensors", f / "plain.safetensors");
  convert(f / "in.safetensors", f / "ema.safetensors", {.copy = "ema"});
  EXPECT_EQ(mx::sum(load_weights(f / "plain.safetensors").at(0).second).item<float>(), 0.0f);
  EXPECT_EQ(mx::sum(load_weights(f / "ema.safetensors").at(0).second).item<float>(), 2.0f);
}

TEST(Convert, RefusesValuesThatTheDtypeCannotHold) {
  Folder f;
  const float infinite = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
  const auto refused = [&](float value, mx::Dtype dtype, const char* part) {
    const mx::array ones = mx::ones({4, 4}), weight = mx::concatenate({ones, mx::full({1, 4}, value)}, 0);
    save_safetensors(f / "in.safetensors", {{"bert.pooler.dense.weight", weight}});
    const std::string error = error_of([&] { convert(f / "in.safetensors", f / "out.safetensors", {.dtype = dtype}); });
    EXPECT_NE(error.find("in.safetensors: 'bert.pooler.dense.weight' has "), std::string::npos) << error;
    EXPECT_NE(error.find(part), std::string::npos) << error;
    EXPECT_FALSE(std::filesystem::exists(f / "out.safetensors"));
  };
  refused(nan, mx::int8, "NaN or infinite");
  refused(infinite, mx::int8, "NaN or infinite");
  refused(-infinite, mx::float16, "NaN or infinite");
  refused(nan, mx::bfloat16, "NaN or infinite");
  refused(70000.0f, mx::float16, "values up to 70000");
  refused(3.4e38f, mx::bfloat16, "more than bfloat16");
  convert(f / "in.safetensors", f / "out.safetensors", {.dtype = mx::float32});  // nothing is lost
}

// Every file of a sentence-transformers folder stays as it is, so every field does.
TEST(Convert, ASentenceTransformersFolderKeepsItsDescription) {
  Folder f;
  convert(golden("composer.pt"), f / "in/0_Transformer", {.config_json = R"({"hidden_size": 4, "torch_dtype": "float32"})"});
  const std::map<std::string, std::string> files = {
      {"modules.json",
       R"([{"idx":0,"name":"0","path":"0_Transformer","type":"sentence_transformers.models.Transformer"},
           {"idx":1,"name":"1","path":"1_Pooling","type":"sentence_transformers.models.Pooling"},
           {"idx":2,"name":"2","path":"2_Normalize","type":"sentence_transformers.models.Normalize"}])"},
      {"1_Pooling/config.json", R"({"word_embedding_dimension":4,"pooling_mode_mean_tokens":true,"include_prompt":false})"},
      {"config_sentence_transformers.json", R"({"prompts":{"query":"q: "},"default_prompt_name":null,"similarity_fn_name":"dot"})"},
      {"0_Transformer/sentence_bert_config.json", R"({"max_seq_length":7,"do_lower_case":true})"},
      {"0_Transformer/vocab.txt", "[PAD]\n"},
      {"0_Transformer/special_tokens_map.json", "{}"}};
  for (const auto& [name, text] : files) f.write("in/" + name, text);
  convert(f / "in", f / "out", {.dtype = mx::bfloat16});
  for (const auto& [name, text] : files) EXPECT_EQ(io::read_file(f / ("out/" + name)), text);
  EXPECT_EQ(read_folder(f / "out").weights, std::vector{f / "out/0_Transformer/model.safetensors"});
  EXPECT_NE(io::read_file(f / "out/0_Transformer/config.json").find("\"torch_dtype\": \"bfloat16\""), std::string::npos);

  testing::internal::CaptureStderr();
  convert(f / "in", f / "plain", {.target = Target::hugging_face});
  const std::string said = testing::internal::GetCapturedStderr();
  for (const char* part : {"pooling", "normalisation", "prompts", "similarity", "lower-casing"})
    EXPECT_NE(said.find(part), std::string::npos);
  EXPECT_EQ(io::read_file(f / "plain/vocab.txt"), "[PAD]\n");
  EXPECT_NE(io::read_file(f / "plain/tokenizer_config.json").find("\"model_max_length\": 7"), std::string::npos);
  EXPECT_FALSE(std::filesystem::exists(f / "plain/modules.json"));
}

// Nothing of the old folder is left to be mixed with the new one.
TEST(Convert, AFolderIsReplacedAsAWhole) {
  Folder f;
  convert(golden("composer.pt"), f / "out", {.target = Target::sentence_transformers, .config_json = "{}"});
  f.write("out/vocab.txt", "[PAD]\n");
  f.write("out/pytorch_model.bin", "old");
  convert(golden("composer.pt"), f / "out", {.config_json = "{}"});
  std::set<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(f / "out")) names.insert(entry.path().filename());
  EXPECT_EQ(names, (std::set<std::string>{"config.json", "model.safetensors"}));
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(f.path()), std::filesystem::directory_iterator()), 1);
}

TEST(Convert, AFolderWithOtherFilesIsNotReplaced) {
  Folder f;
  const ConvertOptions options = {.config_json = "{}"};
  for (const std::string name : {"out/notes.md", "out/checkpoint.pt", "out/sub/data.txt", "out/.git/config"}) {
    std::filesystem::remove_all(f / "out");
    convert(golden("composer.pt"), f / "out", options);
    f.write(name, "mine");
    const std::string error = error_of([&] { convert(golden("composer.pt"), f / "out", options); });
    EXPECT_NE(error.find(name.substr(4)), std::string::npos) << error;
    EXPECT_EQ(io::read_file(f / name), "mine");
  }
  std::filesystem::copy_file(golden("composer.pt"), f / "out/model.safetensors", std::filesystem::copy_options::overwrite_existing);
  EXPECT_NE(error_of([&] { convert(f / "out/model.safetensors", f / "out", options); }).find("is in this folder"), std::string::npos);
}

TEST(Convert, AFailedConversionLeavesTheOldFolder) {
  Folder f;
  convert(golden("composer.pt"), f / "out", {.config_json = "{\"old\": 1}"});
  const auto refuse = [](const TensorMap&) -> std::string { fail("does not fit"); };
  EXPECT_NE(error_of([&] { convert(golden("composer.pt"), f / "out", {.config_json = "{}", .configure = refuse}); }).find("does not fit"),
            std::string::npos);
  EXPECT_EQ(io::read_file(f / "out/config.json"), "{\"old\": 1}");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(f.path()), std::filesystem::directory_iterator()), 1);
}

TEST(Convert, CopiesTokenizerFiles) {
  Folder f;
  convert(golden("composer.pt"), f / "a", {.config_json = "{}"});
  f.write("a/vocab.txt", "[PAD]\n");
  convert(f / "a", f / "b");
  EXPECT_EQ(io::read_file(f / "b" / "vocab.txt"), "[PAD]\n");
}

TEST(Convert, RefusesInvalidConversions) {
  Folder f;
  auto source = golden("composer.pt");
  const std::string other = error_of([&] { convert(source, f / "x.gguf"); });
  for (const char* part : {"x.gguf", ".safetensors", ".pt", "model folder"}) EXPECT_NE(other.find(part), std::string::npos);
  convert(source, f / "v1.0", {.target = Target::hugging_face, .config_json = "{}"});  // the name need not say it
  EXPECT_NE(error_of([&] { convert(source, f / "folder"); }).find("config.json"), std::string::npos);
  EXPECT_FALSE(std::filesystem::exists(f / "folder"));
  EXPECT_NE(error_of([&] { convert(source, source); }).find("the output is the input"), std::string::npos);
  EXPECT_NE(error_of([&] { convert(source, f / "y.pt", {.dtype = mx::int32}); }).find("int32"), std::string::npos);
  EXPECT_NE(error_of([&] { convert(f / "absent.pt", f / "z.pt"); }).find("absent.pt"), std::string::npos);
  f.write("taken", "x");
  EXPECT_NE(error_of([&] { convert(source, f / "taken", {.config_json = "{}"}); }).find("a file already"), std::string::npos);
  EXPECT_NE(error_of([&] { convert(golden("dtypes.pt"), f / "d.pt"); }).find("'sparse' is a sparse tensor"), std::string::npos);
  EXPECT_FALSE(std::filesystem::exists(f / "d.pt"));
}

}  // namespace
}  // namespace m2bert::checkpoint::test
