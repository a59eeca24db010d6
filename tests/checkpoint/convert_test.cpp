#include "m2bert/checkpoint/convert.h"

#include <gtest/gtest.h>

#include "m2bert/checkpoint/folder.h"
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
  EXPECT_NE(error_of([&] { convert(source, f / "x.gguf"); }).find(".gguf"), std::string::npos);
  EXPECT_NE(error_of([&] { convert(source, f / "folder"); }).find("config.json"), std::string::npos);
  EXPECT_FALSE(std::filesystem::exists(f / "folder"));
  EXPECT_NE(error_of([&] { convert(source, source); }).find("the output is the input"), std::string::npos);
  EXPECT_NE(error_of([&] { convert(source, f / "y.pt", {.dtype = mx::int32}); }).find("int32"), std::string::npos);
  EXPECT_NE(error_of([&] { convert(f / "absent.pt", f / "z.pt"); }).find("absent.pt"), std::string::npos);
  f.write("taken", "x");
  EXPECT_NE(error_of([&] { convert(source, f / "taken", {.config_json = "{}"}); }).find("a file already"), std::string::npos);
  EXPECT_NE(error_of([&] { convert(golden("dtypes.pt"), f / "d.pt"); }).find("MLX does not have"), std::string::npos);
  EXPECT_FALSE(std::filesystem::exists(f / "d.pt"));
}

}  // namespace
}  // namespace m2bert::checkpoint::test
