// m2bert similarity on saved vectors: embedded once, searched often.
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>

#include "m2bert/io/file.h"
#include "m2bert/io/json.h"
#include "m2bert/io/npy.h"
#include "tests/cli/program.h"
#include "tests/support/scratch.h"
#include "tests/support/tiny_models.h"

namespace m2bert::test {
namespace {

constexpr size_t count = 60;

class SavedVectors : public ::testing::Test {
 protected:
  SavedVectors() {
    std::string lines;
    for (size_t i = 0; i < count; ++i) lines += sentence(i, 1 + i % 9) + "\n";
    corpus_ = scratch_.put("texts.txt", lines).string();
  }

  std::string path(const std::string& name) const { return (scratch_ / name).string(); }

  std::string embed(const std::string& name, std::vector<std::string> more = {}) const {
    std::vector<std::string> arguments = {"embed", "--model", model_, corpus_, "-o", path(name), "--overwrite"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const Outcome outcome = run(arguments);
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    return path(name);
  }

  Outcome search(std::vector<std::string> more) const {
    std::vector<std::string> arguments = {"similarity", "--model",     model_,    "--query", "green tree",
                                          "--query",    "night river", "--top-k", "7"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run(arguments);
  }

  io::Tree results(std::vector<std::string> more) const {
    more.push_back("--json");
    const Outcome outcome = search(more);
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    const auto lines = json_lines(outcome.out);
    return lines.size() == 1 ? lines[0].at("results") : io::Tree();
  }

  Scratch scratch_;
  std::string model_ = tiny_models().m2, corpus_;
};

TEST_F(SavedVectors, GiveWhatTheCorpusGives) {
  const std::vector<std::string> files = {embed("v.npy"), embed("v.safetensors"), embed("v.jsonl")};
  for (const char* measure : {"cosine", "dot", "euclidean", "manhattan"}) {
    const io::Tree expected = results({"--corpus", corpus_, "--measure", measure});
    ASSERT_EQ(expected.size(), 2u);
    for (const std::string& file : files)
      EXPECT_EQ(io::to_json(results({"--vectors", file, "--corpus", corpus_, "--measure", measure})), io::to_json(expected)) << file;
  }
}

TEST_F(SavedVectors, WithoutTextsHitsAreNumbers) {
  const std::string vectors = embed("v.npy");
  const io::Tree hits = results({"--vectors", vectors}).items()[0].at("hits");
  ASSERT_EQ(hits.size(), 7u);
  EXPECT_FALSE(hits.items()[0].contains("text"));
  const Outcome plain = search({"--vectors", vectors});
  const std::string best = "  " + std::to_string(hits.items()[0].at("index").integer() + 1) + "\n";
  EXPECT_TRUE(has(plain.out, best));
  EXPECT_TRUE(has(plain.out, "60 vectors searched for 2 questions"));
  EXPECT_TRUE(has(plain.err, "does not record which model"));
  EXPECT_FALSE(has(search({"--vectors", embed("v.safetensors")}).err, "does not record"));
}

TEST_F(SavedVectors, QuestionsAreEmbeddedAsTheVectorsWere) {
  const std::vector<std::string> how = {"--pooling", "mean", "--pad", "bucket", "--max-length", "20"};
  std::vector<std::string> with_normalize = how;
  with_normalize.push_back("--normalize");
  const std::string recorded = embed("v.safetensors", with_normalize), plain = embed("v.npy", how);
  std::vector<std::string> given = {"--vectors", plain};
  given.insert(given.end(), how.begin(), how.end());
  const io::Tree expected = results(given), got = results({"--vectors", recorded});
  for (size_t i = 0; i < 7; ++i) {
    const io::Tree &a = expected.items()[1].at("hits").items()[i], &b = got.items()[1].at("hits").items()[i];
    EXPECT_EQ(a.at("index").integer(), b.at("index").integer());
    EXPECT_NEAR(a.at("score").number(), b.at("score").number(), 1e-6);
  }
  const io::Tree dot = results({"--vectors", recorded, "--measure", "dot"});
  EXPECT_NEAR(dot.items()[0].at("hits").items()[0].at("score").number(), got.items()[0].at("hits").items()[0].at("score").number(), 1e-6);
  EXPECT_TRUE(has(search({"--vectors", recorded, "--pooling", "cls"}).err, "--pooling cls: the vectors of"));
  EXPECT_TRUE(has(search({"--vectors", recorded, "--max-length", "21"}).err, "were embedded with 20"));
  EXPECT_EQ(search({"--vectors", recorded, "--pooling", "mean"}).code, 0);
}

// The numbers of the hits are those of the input, and with the corpus their texts.
TEST_F(SavedVectors, TextsThatWerePassedOverLeaveGaps) {
  corpus_ = scratch_.put("bad.jsonl", "{\"text\":\"green tree\"}\n{}\n{\"text\":\"night river\"}\n").string();
  const std::string vectors = embed("gaps.jsonl", {"--skip-bad"});
  const io::Tree expected = results({"--corpus", corpus_, "--skip-bad"}), numbers = results({"--vectors", vectors});
  EXPECT_EQ(io::to_json(results({"--vectors", vectors, "--corpus", corpus_, "--skip-bad"})), io::to_json(expected));
  for (size_t q = 0; q < 2; ++q)
    EXPECT_EQ(numbers.items()[q].at("hits").items()[0].at("index"), expected.items()[q].at("hits").items()[0].at("index"));
  const std::string others = scratch_.put("others.txt", "one\ntwo\n").string();
  EXPECT_TRUE(has(search({"--vectors", vectors, "--corpus", others}).err, "text with the index 1 meets the vector with the index 2"));
}

TEST_F(SavedVectors, MetadataOfOtherProgramsDoNotCount) {
  std::string json = R"({"__metadata__":{"model":"mine"},"v":{"dtype":"F32","shape":[1,16],"data_offsets":[0,64]}})";
  std::string file = {static_cast<char>(json.size())};
  file += std::string(7, '\0') + json + std::string(64, '\x3e');
  scratch_.put("foreign.safetensors", file);
  const Outcome outcome = search({"--vectors", path("foreign.safetensors")});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_TRUE(has(outcome.err, "does not record which model"));
}

TEST_F(SavedVectors, OfAnotherModelAreRefused) {
  const std::string vectors = embed("v.safetensors");
  model_ = tiny_models().m2_other;
  const Outcome other = search({"--vectors", vectors});
  EXPECT_EQ(other.code, 1);
  EXPECT_TRUE(has(other.err, "come from another model"));
  EXPECT_EQ(search({"--vectors", vectors, "--allow-other-model"}).code, 0);
}

TEST_F(SavedVectors, OfEveryDtypeAreRead) {
  const io::NpyMatrix exact = io::read_npy(embed("v.npy"));
  io::write_npy(path("half.npy"), exact.values, exact.rows, exact.columns, io::NpyType::float16);
  std::string wide = "\x93NUMPY\x01", header = "{'descr': '<f8', 'fortran_order': False, 'shape': (60, 16), }\n";
  wide += {'\0', static_cast<char>(header.size()), '\0'};
  wide += header;
  for (const float value : exact.values) wide.append(reinterpret_cast<const char*>(std::array{double(value)}.data()), sizeof(double));
  scratch_.put("wide.npy", wide);
  std::string json = R"({"vectors":{"dtype":"BF16","shape":[60,16],"data_offsets":[0,1920]}})", bfloat16 = {static_cast<char>(json.size())};
  bfloat16 += std::string(7, '\0') + json;
  for (const float value : exact.values) bfloat16.append(reinterpret_cast<const char*>(&value) + 2, 2);
  scratch_.put("b.safetensors", bfloat16);
  const io::Tree expected = results({"--vectors", path("v.npy")});
  EXPECT_EQ(io::to_json(results({"--vectors", path("wide.npy")})), io::to_json(expected));
  for (const char* name : {"half.npy", "b.safetensors"}) {
    const io::Tree got = results({"--vectors", path(name)});
    for (size_t i = 0; i < 7; ++i)
      EXPECT_NEAR(got.items()[0].at("hits").items()[i].at("score").number(), expected.items()[0].at("hits").items()[i].at("score").number(),
                  0.01);
  }
}

TEST_F(SavedVectors, ThatDoNotFitAreOneClearError) {
  const std::string vectors = embed("v.npy");
  io::NpyMatrix matrix = io::read_npy(vectors);
  matrix.values[17 * matrix.columns + 3] = NAN;
  io::write_npy(path("nan.npy"), matrix.values, matrix.rows, matrix.columns);
  io::write_npy(path("narrow.npy"), std::vector<float>(12, 1), 3, 4);
  io::write_npy(path("none.npy"), {}, 0, 16);
  scratch_.put("short.txt", "one\ntwo\n");
  scratch_.put("ragged.jsonl", "{\"embedding\":[1,2]}\n{\"embedding\":[1]}\n");
  scratch_.put("shuffled.jsonl", "{\"index\":2,\"embedding\":[1,2]}\n{\"index\":0,\"embedding\":[1,3]}\n");
  scratch_.put("half.jsonl", "{\"index\":0,\"embedding\":[1,2]}\n{\"embedding\":[1,3]}\n");
  scratch_.put("texts.jsonl", "{\"text\":\"a\"}\n");
  scratch_.put("empty.npy", "");
  struct Case {
    std::vector<std::string> arguments;
    const char* message;
  };
  const std::vector<Case> cases = {
      {{"--vectors", path("nan.npy")}, "nan.npy: row 18 has NaN"},
      {{"--vectors", path("narrow.npy")}, "have 4 dimensions, those of"},
      {{"--vectors", path("none.npy")}, "has no vectors"},
      {{"--vectors", path("empty.npy")}, "is empty"},
      {{"--vectors", path("nothing.npy")}, "no such file"},
      {{"--vectors", scratch_.folder().string()}, "is a folder"},
      {{"--vectors", path("texts.txt")}, "is no file of vectors"},
      {{"--vectors", path("texts.jsonl")}, "texts.jsonl:1: has no \"embedding\""},
      {{"--vectors", path("ragged.jsonl")}, "ragged.jsonl:2: its vector has 1 dimensions"},
      {{"--vectors", path("shuffled.jsonl")}, "shuffled.jsonl:2: has the index 0 after 2: the lines are not in order"},
      {{"--vectors", path("half.jsonl")}, "half.jsonl:2: has no index, but the lines before have one"},
      {{"--vectors", vectors, "--corpus", path("short.txt")}, "has 2 texts, but"},
      {{"--vectors", tiny_models().m2 + "/model.safetensors"}, "none of them named embeddings"},
  };
  for (const Case& c : cases) {
    const Outcome outcome = search(c.arguments);
    EXPECT_EQ(outcome.code, 1) << c.message;
    EXPECT_EQ(outcome.out, "");
    EXPECT_TRUE(has(outcome.err, c.message));
  }
  EXPECT_EQ(search({"--vectors", vectors, "--corpus-prompt", "x"}).code, 2);
  EXPECT_EQ(run({"similarity", "--model", model_, "--vectors", vectors}).code, 2);
}

}  // namespace
}  // namespace m2bert::test
