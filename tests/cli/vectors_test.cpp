// The forms of vectors that embed writes and similarity searches: fewer dimensions, quantized, of passages and tokens. Pairs of texts.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "m2bert/io/file.h"
#include "m2bert/io/json.h"
#include "m2bert/io/npy.h"
#include "tests/cli/program.h"
#include "tests/support/scratch.h"
#include "tests/support/tiny_models.h"

namespace m2bert::test {
namespace {

using Arguments = std::vector<std::string>;

Arguments joined(Arguments first, const Arguments& second) {
  first.insert(first.end(), second.begin(), second.end());
  return first;
}

class Vectors : public ::testing::Test {
 protected:
  Vectors() {
    std::string lines;
    for (size_t i = 0; i < 70; ++i) lines += sentence(i, 1 + i % 9) + "\n";
    corpus_ = scratch_.put("texts.txt", lines).string();
  }

  std::string path(const std::string& name) const { return (scratch_ / name).string(); }

  std::string embed(const std::string& name, const Arguments& more = {}, const std::string& input = "") const {
    const Outcome outcome =
        run(joined({"embed", "--model", model_, input.empty() ? corpus_ : input, "-o", path(name), "--overwrite"}, more));
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    return path(name);
  }

  Outcome try_embed(const Arguments& more) const { return run(joined({"embed", "--model", model_, corpus_, "-o", path("x.npy")}, more)); }

  Outcome search(const Arguments& more) const {
    return run(joined({"similarity", "--model", model_, "--query", "green tree", "--query", "night river", "--top-k", "7"}, more));
  }

  io::Tree answer(const Arguments& more) const {
    const Outcome outcome = search(joined(more, {"--json"}));
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    const auto lines = json_lines(outcome.out);
    return lines.size() == 1 ? lines[0] : io::Tree();
  }
  std::string results(const Arguments& more) const { return io::to_json(answer(more).at("results")); }

  Scratch scratch_;
  std::string model_ = tiny_models().m2, corpus_;
};

TEST_F(Vectors, OfFewerDimensions) {
  const io::NpyMatrix whole = io::read_npy(embed("whole.npy")), few = io::read_npy(embed("few.npy", {"--dimensions", "6"}));
  ASSERT_EQ(few.columns, 6u);
  for (size_t row = 0; row < few.rows; ++row)
    for (size_t i = 0; i < 6; ++i) EXPECT_EQ(few.values[row * 6 + i], whole.values[row * 16 + i]);
  EXPECT_TRUE(has(try_embed({"--dimensions", "17"}).err, "17 dimensions: the vectors of this model have 16"));
  EXPECT_EQ(try_embed({"--dimensions", "0"}).code, 2);
}

TEST_F(Vectors, OfFewerDimensionsAreSearched) {
  const std::string recorded = embed("few.safetensors", {"--dimensions", "6"}), plain = embed("few.npy", {"--dimensions", "6"});
  const std::string expected = results({"--corpus", corpus_, "--dimensions", "6"});
  EXPECT_EQ(results({"--vectors", recorded, "--corpus", corpus_}), expected);
  EXPECT_EQ(results({"--vectors", plain, "--corpus", corpus_, "--dimensions", "6"}), expected);
  EXPECT_TRUE(has(search({"--vectors", plain}).err, "have 6 dimensions"));
  EXPECT_TRUE(has(search({"--vectors", recorded, "--dimensions", "7"}).err, "--dimensions 7: the vectors of"));
}

// A folder whose vectors are cut, as in sentence-transformers, does not scale them again; questions are treated as the file's vectors were.
TEST_F(Vectors, CutByTheFolderAreSearched) {
  ASSERT_EQ(run({"convert", tiny_models().attention, path("cut"), "--to", "sentence-transformers", "--normalize"}).code, 0);
  const std::string file = path("cut/config_sentence_transformers.json");
  io::Tree settings = std::filesystem::exists(file) ? io::read_json(file) : io::Tree::map();
  settings.set("truncate_dim", 6);
  io::write_file(file, io::to_json(settings));
  model_ = path("cut");
  const std::string saved = embed("cut.safetensors");
  EXPECT_TRUE(has(io::read_file(saved).substr(0, 4096), R"("normalize":"true")"));
  EXPECT_TRUE(has(io::read_file(saved).substr(0, 4096), R"("normalize_cut":"false")"));
  EXPECT_EQ(results({"--vectors", saved, "--corpus", corpus_, "--measure", "dot"}), results({"--corpus", corpus_, "--measure", "dot"}));
}

TEST_F(Vectors, Int8NeedsRanges) {
  const Outcome without = try_embed({"--precision", "int8"});
  EXPECT_EQ(without.code, 2);
  EXPECT_TRUE(has(without.err, "--calibration sample.npy"));
  EXPECT_TRUE(has(try_embed({"--precision", "binary", "--calibration", corpus_}).err, "--calibration is for --precision int8 and uint8"));
  const std::string sample = embed("sample.npy"), few = embed("few.npy", {"--dimensions", "6"});
  EXPECT_TRUE(has(try_embed({"--precision", "int8", "--calibration", few}).err, "have 6 dimensions, those of this model 16"));
  const std::string bits = embed("bits.npy", {"--precision", "binary"});
  EXPECT_TRUE(has(try_embed({"--precision", "int8", "--calibration", bits}).err, "are quantized"));
  const std::string int8 = embed("int8.npy", {"--precision", "int8", "--calibration", sample});
  EXPECT_TRUE(has(search({"--vectors", int8}).err, "does not record their ranges"));
  EXPECT_EQ(search({"--vectors", int8, "--calibration", sample}).code, 0);
  EXPECT_TRUE(has(search({"--vectors", sample, "--calibration", sample}).err, "--calibration is for int8 and uint8 vectors"));
  EXPECT_FALSE(std::filesystem::exists(path("x.npy")));
}

TEST_F(Vectors, EveryFileOfAPrecisionHoldsTheSame) {
  const std::string sample = embed("sample.npy");
  for (const char* precision : {"int8", "uint8", "binary", "ubinary"}) {
    const bool scalar = std::string(precision).ends_with("int8");
    const Arguments calibration = scalar ? Arguments{"--calibration", sample} : Arguments{};
    const Arguments how = joined({"--precision", precision}, calibration);
    const std::string npy = embed("v.npy", how), safetensors = embed("v.safetensors", how), jsonl = embed("v.jsonl", how);
    EXPECT_EQ(content(npy).size(), 128 + 70 * (scalar ? 16 : 2)) << precision;
    EXPECT_TRUE(content(safetensors).ends_with(content(npy).substr(128))) << precision;
    for (const Arguments& rescored : {Arguments{}, Arguments{"--rescore"}}) {
      const std::string expected = results(joined({"--vectors", safetensors}, rescored));
      EXPECT_EQ(results(joined(joined({"--vectors", npy}, rescored), calibration)), expected) << precision;
      EXPECT_EQ(results(joined(joined({"--vectors", jsonl}, rescored), calibration)), expected) << precision;
    }
  }
}

TEST_F(Vectors, RescoringEveryCandidateIsTheExactSearch) {
  const Arguments all = {"--rescore", "--rescore-multiplier", "10"};  // 70 candidates: all
  for (const char* measure : {"cosine", "dot", "euclidean", "manhattan"}) {
    const std::string expected = results({"--corpus", corpus_, "--measure", measure});
    EXPECT_EQ(results(joined({"--corpus", corpus_, "--measure", measure}, all)), expected);
    EXPECT_EQ(results(joined({"--vectors", embed("v.npy"), "--corpus", corpus_, "--measure", measure}, all)), expected);
  }
  const std::string bits = embed("bits.npy", {"--precision", "ubinary"});
  EXPECT_EQ(answer({"--vectors", bits}).at("measure").string(), "hamming");
  EXPECT_EQ(answer({"--vectors", bits, "--rescore"}).at("measure").string(), "dot");
  EXPECT_TRUE(has(search({"--vectors", bits, "--measure", "cosine"}).err, "are bits"));
  EXPECT_EQ(search({"--vectors", bits, "--rescore-multiplier", "2"}).code, 2);
  EXPECT_EQ(run({"similarity", "--model", model_, "--a", "x", "--b", "y", "--rescore"}).code, 2);
}

TEST_F(Vectors, OfPassagesAreSearched) {
  const std::string documents =
      scratch_
          .put("d.jsonl",
               "{\"text\":\"green tree. little rivér. bright house!\",\"id\":7}\n{\"text\":\"\"}\n{\"text\":\"night cloud\",\"id\":8}\n")
          .string();
  const Arguments how = {"--late-chunking", "--chunk-sentences", "--pooling", "mean"};
  const auto lines = json_lines(content(embed("p.jsonl", how, documents)));
  ASSERT_EQ(lines.size(), 4u);
  const int64_t expected[][3] = {{0, 0, 11}, {0, 12, 25}, {0, 26, 39}, {2, 0, 11}};
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(lines[i].at("index").integer(), expected[i][0]);
    EXPECT_EQ(lines[i].at("start").integer(), expected[i][1]);
    EXPECT_EQ(lines[i].at("end").integer(), expected[i][2]);
  }
  const std::string safetensors = embed("p.safetensors", how, documents);
  const io::Tree from_file = answer({"--vectors", safetensors, "--corpus", documents}).at("results");
  const io::Tree from_lines = answer({"--vectors", path("p.jsonl"), "--corpus", documents, "--pooling", "mean"}).at("results");
  EXPECT_EQ(io::to_json(from_file), io::to_json(from_lines));
  std::set<std::string> texts;
  for (const io::Tree& hit : from_file.items()[0].at("hits").items()) texts.insert(hit.at("text").string());
  EXPECT_EQ(texts, (std::set<std::string>{"green tree.", "little rivér.", "bright house!", "night cloud"}));
  EXPECT_TRUE(has(search({"--vectors", safetensors}).out, "1 [12, 25)"));
  const std::string others = scratch_.put("o.jsonl", "{\"text\":\"green\"}\n").string();
  EXPECT_TRUE(has(search({"--vectors", safetensors, "--corpus", others}).err, "give the file that was embedded"));
}

TEST_F(Vectors, OfPassagesHaveClearErrors) {
  const auto error = [&](const Arguments& more) { return try_embed(joined({"--output-format", "jsonl"}, more)).err; };
  EXPECT_TRUE(has(error({"--late-chunking"}), "say what a passage is"));
  EXPECT_TRUE(has(error({"--chunk-tokens", "3"}), "--chunk-tokens goes with --late-chunking"));
  EXPECT_TRUE(has(error({"--late-chunking", "--chunk-tokens", "3"}), "pooling of this model is pooler; --pooling mean"));
  EXPECT_TRUE(has(error({"--late-chunking", "--chunk-tokens", "3", "--chunk-overlap", "3"}), "must be less"));
  EXPECT_TRUE(has(error({"--late-chunking", "--chunk-sentences", "--chunk-overlap", "3"}), "goes with --chunk-tokens alone"));
  EXPECT_TRUE(has(error({"--late-chunking", "--chunk-spans", "at"}), "is a field of JSON lines"));
  EXPECT_TRUE(
      has(error({"--late-chunking", "--chunk-tokens", "3", "--reference-cut"}), "--reference-cut does not go with --late-chunking"));
  EXPECT_TRUE(
      has(error({"--late-chunking", "--chunk-tokens", "3", "--window-overlap", "40", "--pooling", "mean"}), "overlap of 40 tokens"));
  EXPECT_TRUE(has(error({"--tokens", "--normalize"}), "--normalize does not go with --tokens"));
  EXPECT_TRUE(has(try_embed({"--tokens"}).err, ".npy file cannot say"));
  EXPECT_TRUE(has(try_embed({"--late-chunking", "--chunk-tokens", "3"}).err, ".npy file cannot say"));
  const auto spans = [&](const std::string& at) {
    const std::string file = scratch_.put("s.jsonl", "{\"text\":\"green tree\",\"at\":" + at + "}\n").string();
    return run({"embed", "--model", model_, "--pooling", "mean", "--late-chunking", "--chunk-spans", "at", file}).err;
  };
  EXPECT_EQ(spans("[[0,5]]"), "");
  EXPECT_TRUE(has(spans("[[0,50]]"), "text 1: the passage [0, 50] is not a part of its 10 characters"));
  EXPECT_TRUE(has(spans("[[5,6]]"), "has no tokens"));
  EXPECT_TRUE(has(spans("[[1]]"), "s.jsonl:1:1: at[0]: wants [start, end]"));
  EXPECT_TRUE(has(spans("[[-1,3]]"), "s.jsonl:1:1: at[0][0]"));
  EXPECT_TRUE(has(spans("\"all\""), "s.jsonl:1:1: at"));
}

TEST_F(Vectors, OfTokens) {
  const io::Tree line = json_lines(run({"embed", "--model", model_, "--tokens", "--text", "green trée, x"}).out).at(0);
  EXPECT_EQ(io::to_json(line.at("tokens")), R"(["[CLS]","green","tree",",","x","[SEP]"])");
  EXPECT_EQ(io::to_json(line.at("offsets")), "[[0,0],[0,5],[6,10],[10,11],[12,13],[0,0]]");
  EXPECT_EQ(line.at("embeddings").size(), 6u);
  EXPECT_EQ(line.at("embeddings").items()[0].size(), 16u);
  EXPECT_TRUE(has(search({"--vectors", embed("t.safetensors", {"--tokens"})}).err, "are those of tokens"));
}

TEST_F(Vectors, ToAPipeAreThoseOfTheFile) {
  for (const Arguments& how : {Arguments{"--tokens"}, Arguments{"--precision", "binary"},
                               Arguments{"--late-chunking", "--chunk-tokens", "3", "--pooling", "mean"}}) {
    const std::string file = content(embed("f.safetensors", how));
    EXPECT_TRUE(run(joined({"embed", "--model", model_, corpus_, "--output-format", "safetensors"}, how)).out == file);
  }
}

TEST(Pairs, EveryInputGivesTheSameScores) {
  const Scratch scratch;
  const std::string model = tiny_models().classifier;
  const auto classify = [&](const Arguments& input, const std::string& text = "") {
    HowToRun how;
    how.input = text;
    const Outcome outcome = run(joined({"classify", "--model", model, "--json"}, input), how);
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    return outcome.out;
  };
  const std::string expected = classify({"--text", "green tree", "--text-pair", "river", "--text", "", "--text-pair", "house"});
  EXPECT_EQ(json_lines(expected).size(), 2u);
  EXPECT_NE(expected, classify({"--text", "river", "--text-pair", "green tree", "--text", "house", "--text-pair", ""}));
  const std::string lines = "{\"a\":\"green tree\",\"b\":\"river\"}\n{\"a\":\"\",\"b\":\"house\"}\n";
  const Arguments fields = {"--field", "a", "--pair-field", "b"};
  EXPECT_EQ(classify(joined({scratch.put("p.jsonl", lines).string()}, fields)), expected);
  EXPECT_EQ(classify(joined({"-", "--format", "jsonl"}, fields), lines), expected);
  EXPECT_EQ(classify(joined({scratch.put("p.csv", "b,a\nriver,green tree\nhouse,\n").string()}, fields)), expected);
  EXPECT_EQ(classify(joined({scratch.put("p.tsv", "a\tb\ngreen tree\triver\n\thouse\n").string()}, fields)), expected);
  const std::string out = (scratch / "out.jsonl").string();
  classify(joined({(scratch / "p.jsonl").string(), "-o", out, "--resume"}, fields));
  EXPECT_EQ(content(out), expected);
  EXPECT_TRUE(
      has(run(joined({"classify", "--model", model, (scratch / "p.jsonl").string(), "-o", out, "--resume", "--field", "a"}, {})).err,
          "pairs was true, is false"));
}

TEST(Pairs, HaveClearErrors) {
  const Scratch scratch;
  const auto classify = [&](const Arguments& input) { return run(joined({"classify", "--model", tiny_models().classifier}, input)); };
  EXPECT_TRUE(has(classify({"--text", "a", "--text", "b", "--text-pair", "c"}).err, "there are 2 --text and 1 --text-pair"));
  EXPECT_TRUE(has(classify({"--text", "a", "--pair-field", "c"}).err, "does not go with --text"));
  EXPECT_TRUE(has(classify({scratch.put("t.txt", "a\n").string(), "--pair-field", "c"}).err, "the input is text"));
  const std::string file = scratch.put("p.jsonl", "{\"text\":\"a\",\"b\":\"c\"}\n{\"text\":\"a\",\"b\":3}\n").string();
  EXPECT_TRUE(has(classify({file, "--pair-field", "b"}).err, "p.jsonl:2: its b is 3, wants a text; --skip-bad"));
  EXPECT_TRUE(has(classify({file, "--pair-field", "none"}).err, "p.jsonl:1"));
  const Outcome skipped = classify({file, "--pair-field", "b", "--skip-bad"});
  EXPECT_EQ(skipped.code, 0) << skipped.err;
  EXPECT_TRUE(has(skipped.err, "1 text was passed over (--skip-bad)"));
  EXPECT_EQ(std::count(skipped.out.begin(), skipped.out.end(), '\n'), 1);
}

// A vocab.txt does not say whether its words are lower case; the model's folder does.
TEST(Vocabulary, HasTheCaseOfTheModel) {
  const Scratch scratch;
  const std::string model = (scratch / "model").string();
  std::filesystem::copy(tiny_models().attention, model);
  io::write_file(model + "/tokenizer_config.json", R"({"do_lower_case": false})");
  std::filesystem::copy(model + "/vocab.txt", scratch / "words.txt");
  const Arguments embed = {"embed", "--model", model, "--text", "Green TREE house"};
  const std::string own = run(embed).out;
  EXPECT_EQ(run(joined(embed, {"--tokenizer", (scratch / "words.txt").string()})).out, own);
  EXPECT_NE(run({"embed", "--model", tiny_models().attention, "--text", "Green TREE house"}).out, own);
}

}  // namespace
}  // namespace m2bert::test
