// m2bert embed: inputs, outputs and their contents.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cmath>
#include <cstring>
#include <filesystem>

#include "m2bert/io/json.h"
#include "tests/cli/program.h"
#include "tests/support/scratch.h"
#include "tests/support/tiny_models.h"

namespace m2bert::test {
namespace {

constexpr size_t dim = 16;

std::vector<std::vector<float>> vectors_of(const std::string& jsonl) {
  std::vector<std::vector<float>> vectors;
  for (const io::Tree& line : json_lines(jsonl)) {
    vectors.emplace_back();
    for (const io::Tree& v : line.at("embedding").items()) vectors.back().push_back(static_cast<float>(v.number()));
  }
  return vectors;
}

std::vector<std::vector<float>> embed_lines(std::vector<std::string> options, const std::string& lines) {
  HowToRun how;
  how.input = lines;
  options.insert(options.begin(), "embed");
  const Outcome outcome = run(options, how);
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  return vectors_of(outcome.out);
}

double largest_difference(const std::vector<std::vector<float>>& a, const std::vector<std::vector<float>>& b) {
  EXPECT_EQ(a.size(), b.size());
  double largest = a.size() == b.size() ? 0 : 1e9;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i)
    for (size_t j = 0; j < a[i].size(); ++j) largest = std::max<double>(largest, std::abs(a[i][j] - b[i].at(j)));
  return largest;
}

std::vector<float> floats_at(const std::string& bytes, size_t offset) {
  std::vector<float> values((bytes.size() - offset) / sizeof(float));
  std::memcpy(values.data(), bytes.data() + offset, values.size() * sizeof(float));
  return values;
}

const std::string three_lines = "green tree\nriver\nlittle bright house\n";

TEST(Embed, NeverReplacesWhatItReads) {
  const Scratch scratch;
  const std::string input = scratch.put("texts.jsonl", "{\"text\": \"green tree\"}\n").string();
  const Outcome outcome = run({"embed", "--model", tiny_models().m2, input, "--output", input, "--overwrite"});
  EXPECT_EQ(outcome.code, 1);
  EXPECT_NE(outcome.err.find("would replace what this command reads"), std::string::npos) << outcome.err;
  EXPECT_NE(run({"embed", "--model", tiny_models().m2, input, "--output", tiny_models().m2 + "/config.json", "--overwrite"}).code, 0);
  EXPECT_TRUE(std::filesystem::file_size(input) > 20);
}

TEST(Embed, EveryInputFormGivesTheSameVectors) {
  const std::string model = tiny_models().m2;
  const Scratch scratch;
  const auto expected = embed_lines({"--model", model}, three_lines);
  ASSERT_EQ(expected.size(), 3u);
  ASSERT_EQ(expected[0].size(), dim);
  const std::string text = scratch.put("a.txt", three_lines).string();
  const std::string jsonl =
      scratch.put("a.jsonl", "{\"body\":\"green tree\"}\n{\"body\":\"river\"}\n{\"body\":\"little bright house\"}\n").string();
  const std::string csv = scratch.put("a.csv", "id,body\n1,green tree\n2,\"river\"\n3,little bright house\n").string();
  const std::string tsv = scratch.put("a.tsv", "id\tbody\n1\tgreen tree\n2\triver\n3\tlittle bright house\n").string();
  EXPECT_EQ(embed_lines({"--model", model, text}, ""), expected);
  EXPECT_EQ(embed_lines({"--model", model, "-"}, three_lines), expected);
  EXPECT_EQ(embed_lines({"--model", model, jsonl, "--field", "body"}, ""), expected);
  EXPECT_EQ(embed_lines({"--model", model, csv, "--field", "body"}, ""), expected);
  EXPECT_EQ(embed_lines({"--model", model, tsv, "--field", "body"}, ""), expected);
  EXPECT_EQ(embed_lines({"--model", model, "--text", "green tree", "--text", "river", "--text", "little bright house"}, ""), expected);
  EXPECT_EQ(embed_lines({"--model", model, "--format", "jsonl", "--field", "body"}, content(jsonl)), expected);
}

TEST(Embed, EveryOutputFormHoldsTheSameVectors) {
  const std::string model = tiny_models().m2;
  const Scratch scratch;
  const auto expected = embed_lines({"--model", model}, three_lines);
  const std::string input = scratch.put("a.txt", three_lines).string();
  for (const char* name : {"a.npy", "a.safetensors", "a.jsonl"}) {
    const Outcome outcome = run({"embed", "--model", model, input, "-o", (scratch / name).string(), "--json"});
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    EXPECT_EQ(json_lines(outcome.out).at(0).at("texts").integer(), 3);
  }
  EXPECT_EQ(vectors_of(content((scratch / "a.jsonl").string())), expected);
  const std::string npy = content((scratch / "a.npy").string()), safetensors = content((scratch / "a.safetensors").string());
  EXPECT_TRUE(has(npy, "'descr': '<f4', 'fortran_order': False, 'shape': (3, 16), }"));
  ASSERT_EQ(npy.size(), 128 + 3 * dim * 4);
  EXPECT_TRUE(has(safetensors, "\"shape\":[3,16]"));
  EXPECT_TRUE(has(safetensors, "\"pooling\":\"pooler\""));
  const size_t header = safetensors.size() - 3 * dim * 4;
  EXPECT_EQ(header % 64, 0u);
  for (size_t row = 0; row < 3; ++row)
    for (size_t i = 0; i < dim; ++i) {
      EXPECT_EQ(floats_at(npy, 128)[row * dim + i], expected[row][i]);
      EXPECT_EQ(floats_at(safetensors, header)[row * dim + i], expected[row][i]);
    }
  EXPECT_EQ(json_lines(run({"inspect", "--json", (scratch / "a.safetensors").string()}).out).at(0).at("tensor_count").integer(), 1);
  EXPECT_EQ(run({"embed", "--model", model, input, "--output-format", "npy"}).out, npy);
  EXPECT_EQ(scratch.files(), 4u);
}

TEST(Embed, CheckpointAndFolderAgree) {
  const TinyModels& models = tiny_models();
  const auto folder = embed_lines({"--model", models.m2}, three_lines);
  const auto checkpoint = embed_lines({"--model", models.checkpoint + "/checkpoint.pt", "--config", models.checkpoint + "/recipe.yaml",
                                       "--tokenizer", models.checkpoint + "/vocab.txt"},
                                      three_lines);
  EXPECT_EQ(folder, checkpoint);
}

TEST(Embed, PaddingIsPartOfM2AndNotOfAttention) {
  const TinyModels& models = tiny_models();
  std::string lines;
  for (size_t i = 0; i < 40; ++i) lines += sentence(i, 1 + i % 9) + "\n";
  const auto with = [&](const std::string& model, const char* pad) {
    return embed_lines({"--model", model, "--pad", pad, "--batch-size", "8"}, lines);
  };
  const auto attention = with(models.attention, "max");
  EXPECT_LT(largest_difference(attention, with(models.attention, "longest")), 1e-5);
  EXPECT_LT(largest_difference(attention, with(models.attention, "bucket")), 1e-5);
  EXPECT_EQ(with(models.m2, "max"), embed_lines({"--model", models.m2, "--batch-size", "8"}, lines));
  EXPECT_GT(largest_difference(with(models.m2, "max"), with(models.m2, "longest")), 1e-4);
}

TEST(Embed, BucketsDependOnTheTextAlone) {
  const TinyModels& models = tiny_models();
  std::string lines;
  for (size_t i = 0; i < 60; ++i) lines += sentence(i, 1 + i % 20) + "\n";
  const auto all = embed_lines({"--model", models.m2, "--pad", "bucket"}, lines);
  const auto single = embed_lines({"--model", models.m2, "--pad", "bucket", "--batch-size", "1"}, lines);
  EXPECT_LT(largest_difference(all, single), 1e-5);
}

TEST(Embed, BatchSizeDoesNotMatterAtTheMaximumLength) {
  std::string lines;
  for (size_t i = 0; i < 33; ++i) lines += sentence(i, 1 + i % 9) + "\n";
  EXPECT_LT(largest_difference(embed_lines({"--model", tiny_models().m2}, lines),
                               embed_lines({"--model", tiny_models().m2, "--batch-size", "5"}, lines)),
            1e-5);
}

TEST(Embed, PoolingNormalizeAndPrompt) {
  const std::string model = tiny_models().attention;
  const auto norm = [](const std::vector<float>& v) {
    double sum = 0;
    for (const float x : v) sum += x * x;
    return std::sqrt(sum);
  };
  EXPECT_NEAR(norm(embed_lines({"--model", model, "--normalize"}, "river\n").at(0)), 1, 1e-5);
  EXPECT_GT(std::abs(norm(embed_lines({"--model", model, "--no-normalize"}, "river\n").at(0)) - 1), 1e-3);
  const auto mean = embed_lines({"--model", model, "--pooling", "mean"}, "river\n");
  EXPECT_GT(largest_difference(mean, embed_lines({"--model", model, "--pooling", "cls"}, "river\n")), 1e-4);
  EXPECT_EQ(embed_lines({"--model", model, "--prompt", "green "}, "river\n"), embed_lines({"--model", model}, "green river\n"));
}

TEST(Embed, FolderDecidesPoolingAndNormalizing) {
  const Scratch scratch;
  const std::string folder = (scratch / "sentences").string(), model = tiny_models().attention;
  const Outcome made =
      run({"convert", model, folder, "--to", "sentence-transformers", "--pooling", "mean", "--normalize", "--max-length", "40"});
  ASSERT_EQ(made.code, 0) << made.err;
  const auto given = embed_lines({"--model", model, "--pooling", "mean", "--normalize", "--max-length", "40"}, three_lines);
  EXPECT_EQ(embed_lines({"--model", folder}, three_lines), given);
  EXPECT_GT(largest_difference(embed_lines({"--model", folder, "--no-normalize"}, three_lines), given), 1e-3);
}

TEST(Embed, LongTextsAreCutCountedAndMarked) {
  const std::string model = tiny_models().m2;
  HowToRun how;
  how.input = "river\n" + sentence(1, 100) + "\n";
  const Outcome outcome = run({"embed", "--model", model}, how);
  const auto lines = json_lines(outcome.out);
  EXPECT_FALSE(lines.at(0).at("truncated").boolean());
  EXPECT_TRUE(lines.at(1).at("truncated").boolean());
  EXPECT_TRUE(has(outcome.err, "1 of 2 texts were truncated to 32 tokens"));
  EXPECT_TRUE(has(run({"embed", "--model", model, "--max-length", "33", "--text", "a"}).err, "at most 32 tokens"));
  const auto right = embed_lines({"--model", model}, how.input),
             left = embed_lines({"--model", model, "--truncation-side", "left"}, how.input);
  EXPECT_GT(largest_difference(right, left), 1e-4);
  EXPECT_GT(largest_difference(right, embed_lines({"--model", model, "--reference-cut"}, how.input)), 1e-5);
}

TEST(Embed, LowerPrecisionComesNear) {
  const auto exact = embed_lines({"--model", tiny_models().attention}, three_lines);
  EXPECT_LT(largest_difference(exact, embed_lines({"--model", tiny_models().attention, "--dtype", "bfloat16"}, three_lines)), 0.1);
  EXPECT_GT(largest_difference(exact, embed_lines({"--model", tiny_models().attention, "--dtype", "float16"}, three_lines)), 0);
}

TEST(Embed, EmptyInputGivesAnEmptyOutput) {
  const Scratch scratch;
  const std::string empty = scratch.put("a.txt", "").string(), out = (scratch / "a.npy").string();
  const Outcome outcome = run({"embed", "--model", tiny_models().m2, empty, "-o", out});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_TRUE(has(outcome.err, "no texts"));
  EXPECT_TRUE(has(content(out), "'shape': (0, 16)"));
  EXPECT_EQ(content(out).size(), 128u);
}

TEST(Embed, EmptyLinesAreTexts) { EXPECT_EQ(embed_lines({"--model", tiny_models().m2}, "\n\nriver\n").size(), 3u); }

TEST(Embed, BrokenWeightsAreAnErrorThatNamesTheText) {
  const Scratch scratch;
  const Outcome outcome = run({"embed", "--model", tiny_models().broken, "--text", "a", "-o", (scratch / "a.npy").string()});
  EXPECT_EQ(outcome.code, 1);
  EXPECT_TRUE(has(outcome.err, "text 1 gets a vector with NaN"));
  EXPECT_EQ(scratch.files(), 0u);
}

TEST(Embed, QuietSaysNothing) {
  const Scratch scratch;
  const Outcome outcome = run({"embed", "--quiet", "--model", tiny_models().m2, "--text", "a", "-o", (scratch / "a.npy").string()});
  EXPECT_EQ(outcome.out + outcome.err, "");
}

TEST(Embed, WritesToPipesAndDevices) {
  const std::string model = tiny_models().m2;
  EXPECT_EQ(run({"embed", "--model", model, "--text", "a", "-o", "/dev/null"}).code, 0);
  const Outcome full = run({"embed", "--model", model, "--text", "a", "-o", "/dev/full"});
  EXPECT_EQ(full.code, 1);
  EXPECT_TRUE(has(full.err, "/dev/full"));
}

TEST(Embed, StreamsInConstantMemory) {
  const Scratch scratch;
  std::string few, many;
  for (size_t i = 0; i < 2000; ++i) few += sentence(i, 3) + "\n";
  for (size_t i = 0; i < 60; ++i) many += few;
  const std::vector<std::string> command = {"embed", "--model", tiny_models().attention, "--batch-size", "256", "--threads", "1"};
  const auto peak = [&](const std::string& lines, const char* name) {
    std::vector<std::string> arguments = command;
    arguments.insert(arguments.end(), {scratch.put("in.txt", lines).string(), "-o", (scratch / name).string()});
    const Outcome outcome = run(arguments);
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    return outcome.peak_kb;
  };
  const long small = peak(few + few + few + few, "few.npy"), large = peak(many, "many.npy");
  EXPECT_LT(large - small, 20000) << "kB grown from 8,000 to 120,000 texts";
  EXPECT_EQ(std::filesystem::file_size(scratch / "many.npy"), 128 + 120000 * dim * 4);
}

}  // namespace
}  // namespace m2bert::test
