// m2bert eval beir and loco, and data loco: tables, caches that survive kills, and what is refused.
#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <map>

#include "m2bert/io/file.h"
#include "m2bert/io/json.h"
#include "tests/cli/program.h"
#include "tests/support/scratch.h"
#include "tests/support/tiny_models.h"

namespace m2bert::test {
namespace {

namespace fs = std::filesystem;

// A data set in BEIR's layout, whose queries share words with the documents that answer them.
class Eval : public ::testing::Test {
 protected:
  Eval() { make("set", 60); }

  void make(const std::string& name, size_t documents) const {
    fs::create_directories(scratch_ / (name + "/qrels"));
    std::string corpus, queries, qrels = "query-id\tcorpus-id\tscore\n";
    for (size_t i = 0; i < documents; ++i) {
      corpus += io::to_json({{"_id", "d" + std::to_string(i)}, {"title", sentence(i, 2)}, {"text", sentence(i * 3, 1 + i % 9)}}) + "\n";
      if (i % 4 != 0) continue;
      queries += io::to_json({{"_id", "q" + std::to_string(i)}, {"text", sentence(i * 3, 4)}}) + "\n";
      qrels += "q" + std::to_string(i) + "\td" + std::to_string(i) + "\t2\n" + "q" + std::to_string(i) + "\td" +
               std::to_string((i + 1) % documents) + "\t1\n";
    }
    scratch_.put(name + "/corpus.jsonl", corpus);
    scratch_.put(name + "/queries.jsonl", queries);
    scratch_.put(name + "/qrels/test.tsv", qrels);
  }

  std::string at(const std::string& name) const { return (scratch_ / name).string(); }

  Outcome beir(std::vector<std::string> more, const HowToRun& how = {}) const {
    std::vector<std::string> arguments = {"eval", "beir", at("set"), "--model", tiny_models().attention};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run(arguments, how);
  }

  Scratch scratch_;
};

TEST_F(Eval, ATableWithBm25BesideTheModel) {
  const Outcome outcome = beir({});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(outcome.out.substr(0, 16), "data set  system");
  for (const char* part : {"nDCG@10", "MRR@10", "Recall@100", "set       model", "set       BM25", "set       difference", "["})
    EXPECT_PRED2(has, outcome.out, part);
  EXPECT_PRED2(has, beir({"--markdown"}).out, "| data set | system | nDCG@10 |");
}

TEST_F(Eval, JsonHasAllScoresAndSettings) {
  const Outcome outcome = beir({"--json", "--cutoffs", "1,5"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const io::Tree result = json_lines(outcome.out).at(0);
  ASSERT_EQ(result["results"].size(), 3U);
  const io::Tree& bm25 = result["results"].items()[1];
  EXPECT_EQ(bm25["system"].string(), "BM25");
  EXPECT_EQ(bm25["queries"].integer(), 15);
  EXPECT_EQ(bm25["documents"].integer(), 60);
  for (const char* name : {"nDCG@1", "MAP@5", "Recall@5", "P@1", "MRR@5"}) {
    EXPECT_TRUE(bm25["scores"].contains(name)) << name;
    EXPECT_EQ(bm25["intervals"][name].size(), 2U);
  }
  EXPECT_EQ(result["settings"]["bm25"]["k1"].number(), 0.9);
  EXPECT_EQ(result["settings"]["measure"].string(), "cosine");
  EXPECT_EQ(result["settings"]["seed"].integer(), 0);
  EXPECT_EQ(result["settings"]["resamples"].integer(), 1000);
  EXPECT_FALSE(json_lines(beir({"--json", "--resamples", "0"}).out).at(0)["results"].items()[0].contains("intervals"));
}

TEST_F(Eval, SeveralSetsHaveAMean) {
  make("other", 20);
  const Outcome outcome = beir({at("other")});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_PRED2(has, outcome.out, "mean      difference");
  EXPECT_PRED2(has, beir({at("other"), "--run", at("run.txt")}).err, "--run and --bm25-run are for one data set, and there are 2");
}

TEST_F(Eval, RunFilesAndPages) {
  const std::vector<std::string> outputs = {"--run", at("run.txt"), "--bm25-run", at("bm25.txt"), "--page", at("page.html")};
  ASSERT_EQ(beir(outputs).code, 0);
  const std::string ranking = io::read_file(at("run.txt"));
  EXPECT_EQ(std::count(ranking.begin(), ranking.end(), '\n'), 15 * 60);
  EXPECT_PRED2(has, ranking, "q0 Q0 d");
  EXPECT_PRED2(has, io::read_file(at("bm25.txt")), " BM25\n");
  EXPECT_PRED2(has, io::read_file(at("page.html")), "<th>MAP@100</th>");
  EXPECT_PRED2(has, beir(outputs).err, "run.txt is there already; --overwrite replaces it");
  EXPECT_EQ(beir({"--page", at("page.html")}).code, 0);  // its own page
  EXPECT_PRED2(has, beir({"--page", at("set/corpus.jsonl")}).err, "is there already");
}

TEST_F(Eval, CutoffsAreAListAndAFolderMayFollow) {
  const Outcome outcome = run({"eval", "beir", "--bm25-only", "--json", "--cutoffs", "2,1", at("set")});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const io::Tree scores = json_lines(outcome.out).at(0)["results"].items()[0]["scores"];
  EXPECT_TRUE(scores.contains("nDCG@1") && scores.contains("nDCG@2"));
  EXPECT_FALSE(scores.contains("nDCG@10"));
}

TEST_F(Eval, Bm25Alone) {
  const Outcome outcome = run({"eval", "beir", at("set"), "--bm25-only", "--json"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const io::Tree both = json_lines(beir({"--json"}).out).at(0);
  EXPECT_EQ(io::to_json(json_lines(outcome.out).at(0)["results"].items()[0]), io::to_json(both["results"].items()[1]));
  EXPECT_NE(
      io::to_json(
          json_lines(run({"eval", "beir", at("set"), "--bm25-only", "--json", "--bm25-k1", "2", "--bm25-b", "0.9"}).out).at(0)["results"]),
      io::to_json(json_lines(outcome.out).at(0)["results"]));
  EXPECT_PRED2(has, run({"eval", "beir", at("set")}).err, "no model: --model is missing");
}

TEST_F(Eval, OptionsChangeTheScores) {
  const std::string plain = beir({"--no-bm25"}).out;
  for (const std::vector<std::string>& more : {std::vector<std::string>{"--query-prompt", sentence(9, 3)},
                                               {"--passage-prompt", sentence(9, 3)},
                                               {"--title", "always"},
                                               {"--pooling", "cls"},
                                               {"--dimensions", "4"},
                                               {"--max-length", "6"},
                                               {"--measure", "manhattan"}}) {
    std::vector<std::string> arguments = {"--no-bm25"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const Outcome outcome = beir(arguments);
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    EXPECT_NE(outcome.out, plain) << more.front();
  }
}

TEST_F(Eval, RefusesOptionsThatChangeNothing) {
  const auto refused = [&](const std::string& alone, std::vector<std::string> option) {
    option.insert(option.begin(), {"eval", "beir", at("set"), alone});
    const Outcome outcome = run(option);
    EXPECT_EQ(outcome.code, 2) << option[4];
    EXPECT_PRED2(has, outcome.err, alone);
    EXPECT_PRED2(has, outcome.err, option[4]);
  };
  refused("--no-bm25", {"--bm25-only"});
  refused("--no-bm25", {"--bm25-k1", "1"});
  refused("--no-bm25", {"--bm25-b", "1"});
  refused("--no-bm25", {"--bm25-analyzer", "words"});
  refused("--no-bm25", {"--bm25-run", at("bm25.txt")});
  refused("--bm25-only", {"--model", tiny_models().attention});
  refused("--bm25-only", {"--cache", at("cache")});
  refused("--bm25-only", {"--max-length", "64"});
  refused("--bm25-only", {"--query-prompt", "a"});
  refused("--bm25-only", {"--measure", "dot"});
  refused("--bm25-only", {"--title", "never"});
  refused("--bm25-only", {"--run", at("run.txt")});
}

// Whenever it is killed, the same command ends with the same table, and computes nothing twice that was finished.
TEST_F(Eval, KillsDoNotChangeTheTable) {
  make("set", 1400);  // several blocks
  const std::vector<std::string> arguments = {"--json", "--cache", at("cache"), "--batch-size", "1"};
  const Outcome whole = beir({"--json", "--batch-size", "1"});
  ASSERT_EQ(whole.code, 0) << whole.err;
  std::map<fs::path, fs::file_time_type> finished;  // blocks, and when
  const auto note_blocks = [&] {
    for (const auto& entry : fs::recursive_directory_iterator(at("cache")))
      if (entry.path().extension() == ".vectors") {
        const auto [block, is_new] = finished.try_emplace(entry.path(), entry.last_write_time());
        EXPECT_EQ(block->second, entry.last_write_time()) << entry.path() << " was computed again";
      }
  };
  fs::create_directories(at("cache"));
  int killed = 0;
  for (int i = 0; i < 12; ++i) {
    HowToRun how;
    how.signal_after = 0.05 * (i + 1);
    how.signal = i % 3 == 2 ? SIGTERM : SIGKILL;
    const Outcome outcome = beir(arguments, how);
    killed += outcome.code >= 128;
    note_blocks();
    if (outcome.code == 0) {
      EXPECT_EQ(outcome.out, whole.out);
    }
  }
  EXPECT_GT(killed, 0);
  const Outcome last = beir(arguments);
  ASSERT_EQ(last.code, 0) << last.err;
  EXPECT_EQ(last.out, whole.out);
  note_blocks();
  EXPECT_GT(finished.size(), 3U);
  for (const auto& entry : fs::recursive_directory_iterator(at("cache"))) {
    const std::string name = entry.path().filename().string();
    EXPECT_TRUE(entry.is_directory() || name.ends_with(".vectors") || name == "settings.json" || name.find(".part-") != std::string::npos)
        << name;
  }
}

TEST_F(Eval, HostileDataGivesOneError) {
  scratch_.put("set/qrels/test.tsv", "query-id\tcorpus-id\tscore\nq0\tgone\t1\nq0\td0\t1\n");
  const Outcome missing = beir({});
  EXPECT_EQ(missing.code, 1);
  EXPECT_PRED2(has, missing.err,
               "error: set: the query q0 has a judgement of the document gone, which the corpus lacks; --missing-documents count");
  EXPECT_EQ(missing.out, "");
  const Outcome counted = beir({"--missing-documents", "count"});
  EXPECT_EQ(counted.code, 0);
  EXPECT_PRED2(has, counted.err, "1 judgements name documents that the corpus lacks");
  scratch_.put("set/qrels/test.tsv", "query-id\tcorpus-id\tscore\nq9999\td0\t1\nq0\td0\t1\n");
  EXPECT_PRED2(has, beir({}).err, "qrels/test.tsv:2: there is no query with the id \"q9999\"; --skip-bad passes over such lines");
  const Outcome skipped = beir({"--skip-bad"});
  EXPECT_EQ(skipped.code, 0);
  EXPECT_PRED2(has, skipped.err, "q9999");
  scratch_.put("set/qrels/test.tsv", "query-id\tcorpus-id\tscore\nq0\td0\t1\n");
  scratch_.put("set/corpus.jsonl", "{\"_id\": \"d0\", \"text\": \"x\"}\n{\"_id\": \"d0\", \"text\": \"x\"}\n");
  EXPECT_PRED2(has, beir({}).err, "corpus.jsonl:2: the id d0 occurs twice; --skip-bad");
  EXPECT_EQ(beir({"--cutoffs", "0"}).code, 2);
  EXPECT_PRED2(has, run({"eval"}).err, "say what to evaluate: eval beir");
}

TEST_F(Eval, LocoFoldersFromItsFiles) {
  const std::string queries =
      "{\"dataset\": \"qmsum\", \"qid\": \"Query_0\", \"query\": \"green tree\", \"answer_pids\": [\"Passage_0\"]}\n"
      "{\"dataset\": \"stackoverflow\", \"qid\": \"Query_0\", \"query\": \"night\", \"answer_pids\": [\"Passage_0\"]}\n";
  const std::string documents =
      "{\"dataset\": \"qmsum\", \"pid\": \"Passage_0\", \"passage\": \"a green tree\"}\n"
      "{\"dataset\": \"qmsum\", \"pid\": \"Passage_1\", \"passage\": \"a river\"}\n"
      "{\"dataset\": \"stackoverflow\", \"pid\": \"Passage_0\", \"passage\": \"the night\"}\n";
  scratch_.put("queries.jsonl", queries);
  scratch_.put("documents.jsonl", documents);
  scratch_.put("reports.jsonl", "{\"input\": \"the long report of a tree\", \"output\": \"tree\"}\n");
  const std::vector<std::string> build = {"data",
                                          "loco",
                                          at("loco"),
                                          "--queries",
                                          at("queries.jsonl"),
                                          "--documents",
                                          at("documents.jsonl"),
                                          "--pairs",
                                          "gov_report=" + at("reports.jsonl")};
  const Outcome made = run(build);
  ASSERT_EQ(made.code, 0) << made.err;
  EXPECT_EQ(made.out, at("loco/qmsum") + ": 2 documents, 1 queries\n" + at("loco/stackoverflow") + ": 1 documents, 1 queries\n" +
                          at("loco/gov_report") + ": 1 documents, 1 queries\n");
  EXPECT_PRED2(has, run(build).err, "is there already; --overwrite replaces it");
  const Outcome scored = run({"eval", "loco", at("loco"), "--model", tiny_models().m2});
  ASSERT_EQ(scored.code, 0) << scored.err;
  for (const char* name : {"gov_report", "qmsum", "stackoverflow", "mean"}) EXPECT_PRED2(has, scored.out, name);
  fs::create_directories(at("files"));
  scratch_.put("files/queries.jsonl", queries);
  scratch_.put("files/documents.jsonl", documents);
  const Outcome direct = run({"eval", "loco", at("files"), "--model", tiny_models().m2, "--json"});
  ASSERT_EQ(direct.code, 0) << direct.err;
  EXPECT_EQ(json_lines(direct.out).at(0)["results"].items()[0]["documents"].integer(), 2);
  EXPECT_PRED2(has, run({"data", "loco", at("two"), "--pairs", "mine=" + at("reports.jsonl")}).err, "mine: is no known source");
  EXPECT_FALSE(fs::exists(at("two")));
  EXPECT_PRED2(has, run({"data", "loco", at("two"), "--queries", at("queries.jsonl")}).err, "--queries and --documents go together");
}

}  // namespace
}  // namespace m2bert::test
