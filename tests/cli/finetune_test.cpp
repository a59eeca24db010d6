// m2bert finetune: whole runs from the command line.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "m2bert/io/json.h"
#include "tests/cli/program.h"
#include "tests/support/scratch.h"
#include "tests/support/tiny_models.h"

namespace m2bert::test {
namespace {

namespace fs = std::filesystem;

class FinetuneClassify : public ::testing::Test {
 protected:
  std::string at(const std::string& name) const { return (scratch_ / name).string(); }
  std::vector<std::string> command(const std::string& train, const std::string& eval, std::vector<std::string> more = {}) const {
    std::vector<std::string> all = {"finetune", "classify", tiny_models().m2, "--train", at(train),   "-o", at("run"),
                                    "--lr",     "0.003",    "--batch-size",   "8",       "--threads", "1",  "progress_bar=false"};
    if (!eval.empty()) all.insert(all.end(), {"--eval", at(eval)});
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  // A text in each of `labels`.
  void put_table(const std::string& name, int rows, const std::vector<std::string>& labels, size_t first = 0) {
    static const char* words[] = {"monarch", "river", "stone"};
    std::string text = "text,label\n";
    for (int i = 0; i < rows; ++i) {
      const size_t label = size_t(i) % labels.size();
      text += std::string(words[label]) + " " + sentence(first + size_t(i), 3) + ",\"" + labels[label] + "\"\n";
    }
    scratch_.put(name, text);
  }
  io::Tree json(const Outcome& outcome) const {
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    return io::parse_json(outcome.out, "stdout");
  }
  Scratch scratch_;
};

TEST_F(FinetuneClassify, TrainsAClassifierThatClassifyUses) {
  put_table("train.csv", 30, {"butterflies", "water", "rock"});
  put_table("eval.csv", 12, {"butterflies", "water", "rock"}, 100);
  const auto result = json(run(command("train.csv", "eval.csv", {"--epochs", "50", "--json"})));
  EXPECT_EQ(result.at("evaluation").at("MulticlassAccuracy").number(), 1);
  EXPECT_EQ(result.at("batches").integer(), 200);
  const auto labels =
      json_lines(run({"classify", "--model", at("run/model"), "--text", "river stone", "--text", "monarch monarch", "--json"}).out);
  ASSERT_EQ(labels.size(), 2U);
  EXPECT_EQ(io::to_json(labels[0]).find("\"label\":\"water\"") != std::string::npos, true) << io::to_json(labels[0]);
  EXPECT_TRUE(fs::exists(at("run/report.html")));
  const std::string page = content(at("run/report.html"));
  EXPECT_NE(page.find("Confusion matrix"), std::string::npos);
  EXPECT_NE(page.find("butterflies"), std::string::npos);
  EXPECT_EQ(content(at("run/wrong.jsonl")), "");
}

TEST_F(FinetuneClassify, SeveralLabelsAndNumbers) {
  put_table("several.csv", 24, {"a", "a,b", "b,c"});
  auto result = json(run(command("several.csv", "several.csv", {"--epochs", "1", "--kind", "multi", "--json"})));
  EXPECT_TRUE(result.at("evaluation").contains("MultilabelF1Score"));
  const auto config = io::read_json(at("run/model/config.json"));
  EXPECT_EQ(config.at("problem_type").string(), "multi_label_classification");
  EXPECT_EQ(config.at("id2label").at("2").string(), "c");
  put_table("numbers.csv", 24, {"0.5", "1.25", "-2"});
  result = json(run(command("numbers.csv", "numbers.csv", {"--epochs", "1", "--overwrite", "--json"})));
  EXPECT_TRUE(result.at("evaluation").contains("SpearmanCorrCoef"));
  EXPECT_EQ(io::read_json(at("run/model/config.json")).at("num_labels").integer(), 1);
}

// The report is of the texts that were evaluated.
TEST_F(FinetuneClassify, EvaluatesAPartOfTheTexts) {
  put_table("train.csv", 24, {"x", "y"});
  const auto result = json(run(command("train.csv", "train.csv", {"--epochs", "1", "--json", "eval_subset_num_batches=1"})));
  EXPECT_EQ(result.at("evaluation").at("samples").integer(), 8);
  EXPECT_EQ(std::ranges::count(content(at("run/wrong.jsonl")), '\n'),
            std::llround(8 * (1 - result.at("evaluation").at("MulticlassAccuracy").number())));
}

TEST_F(FinetuneClassify, ResumesAfterASignal) {
  put_table("train.csv", 40, {"x", "y"});
  HowToRun how;
  how.signal = 15;
  how.signal_when = [&] { return fs::exists(at("run/metrics.jsonl")) && fs::file_size(at("run/metrics.jsonl")) > 0; };
  const auto stopped = run(command("train.csv", "train.csv", {"--epochs", "40"}), how);
  EXPECT_EQ(stopped.code, 128 + 15);
  EXPECT_NE(stopped.err.find("with --resume resumes from there"), std::string::npos) << stopped.err;
  const auto whole = json(run(command("train.csv", "train.csv", {"--epochs", "40", "--resume", "--json"})));
  const auto model = content(at("run/model/model.safetensors"));
  EXPECT_EQ(whole.at("epochs").integer(), 40);
  json(run(command("train.csv", "train.csv", {"--epochs", "40", "--overwrite", "--json"})));
  EXPECT_EQ(content(at("run/model/model.safetensors")), model);
}

TEST_F(FinetuneClassify, ModelOfOtherLabels) {
  put_table("two.csv", 8, {"x", "y"});
  put_table("three.csv", 9, {"p", "q", "r"});
  json(run(command("two.csv", "", {"--epochs", "1", "--json"})));
  const auto config = io::read_json(at("run/model/config.json"));
  EXPECT_EQ(config.at("label2id").at("y").integer(), 1);
  for (const char* from : {"run/model", "run"}) {
    auto words = command("three.csv", "", {"--epochs", "1"});
    words[2] = at(from);
    words[6] = at(std::string("next-") + fs::path(from).filename().string());
    const auto outcome = run(words);
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    EXPECT_NE(outcome.err.find("has other labels in its classifier: training starts with a new one"), std::string::npos) << outcome.err;
  }
}

TEST_F(FinetuneClassify, FreezesANumberOfLayers) {
  put_table("train.csv", 8, {"x", "y"});
  json(run(command("train.csv", "", {"--epochs", "1", "--freeze", "1", "--json"})));
  const auto wrong = run(command("train.csv", "", {"--freeze", "all"}));
  EXPECT_EQ(wrong.code, 2);
  EXPECT_NE(wrong.err.find("--freeze"), std::string::npos) << wrong.err;
}

TEST_F(FinetuneClassify, TextsLongerThanTheModelTakesAreRefused) {
  put_table("train.csv", 8, {"x", "y"});
  const auto outcome = run(command("train.csv", "", {"--max-length", "100000"}));
  EXPECT_EQ(outcome.code, 1);
  EXPECT_NE(outcome.err.find("--max-length"), std::string::npos) << outcome.err;
}

// Without dropout, whose masks follow the way in which a batch is cut.
TEST_F(FinetuneClassify, TwoProcessesTrainAsOne) {
  put_table("train.csv", 30, {"x", "y"});
  put_table("eval.csv", 11, {"x", "y"}, 50);
  const auto train = [&](const std::string& processes) {
    return json(run(command("train.csv", "eval.csv",
                            {"--epochs", "2", "--json", "--overwrite", "--launch", processes, "device_train_microbatch_size=4",
                             "model.model_config.hidden_dropout_prob=0"})));
  };
  const auto one = train("1"), two = train("2");
  EXPECT_NEAR(one.at("evaluation").at("CrossEntropy").number(), two.at("evaluation").at("CrossEntropy").number(), 1e-5);
  EXPECT_EQ(two.at("evaluation").at("samples").integer(), 11);
  EXPECT_EQ(std::ranges::count(content(at("run/wrong.jsonl")), '\n'),
            std::llround(11 * (1 - two.at("evaluation").at("MulticlassAccuracy").number())));
}

TEST_F(FinetuneClassify, NamesOfLabels) {
  put_table("train.csv", 8, {"New York, NY", "Boston"});
  const auto trained = run(command("train.csv", "", {"--epochs", "1", "--labels", "Boston, \"New York, NY\""}));
  EXPECT_EQ(trained.code, 0) << trained.err;
  EXPECT_EQ(io::read_json(at("run/model/config.json")).at("id2label").at("1").string(), "New York, NY");
  EXPECT_TRUE(has(run(command("train.csv", "", {"--labels", "\"New York"})).err, "--labels: a quote is not closed"));
  put_table("nan.csv", 8, {"nan", "two\nlines"});
  EXPECT_TRUE(has(run(command("nan.csv", "", {"--epochs", "1", "--overwrite"})).err, "\"nan\" is taken as the name of a label"));
  const auto labels = run({"classify", "--model", at("run/model"), "--text", "river"});
  EXPECT_TRUE(has(labels.out, "two\\x0Alines") || has(labels.out, "two\\x0alines")) << labels.out;
  EXPECT_EQ(std::ranges::count(labels.out, '\n'), 1);
}

// All texts have one value, so that a rank correlation is none.
TEST_F(FinetuneClassify, AMetricThatIsNeverANumberEndsTheRun) {
  scratch_.put("train.csv", "text,score\na b,0.5\nc d,1.5\n");
  scratch_.put("eval.csv", "text,score\na,0.5\nb,0.5\n");
  const auto outcome = run(command("train.csv", "eval.csv", {"--epochs", "9", "--patience", "3"}));
  EXPECT_EQ(outcome.code, 1);
  EXPECT_TRUE(has(outcome.err, "batch 3: SpearmanCorrCoef was NaN or infinite in all 3 evaluations so far")) << outcome.err;
  const auto without = run(command("train.csv", "eval.csv", {"--epochs", "2", "--overwrite"}));
  EXPECT_TRUE(has(without.err, "SpearmanCorrCoef was NaN or infinite in every evaluation; the model has the last weights")) << without.err;
}

TEST_F(FinetuneClassify, BadDataGiveOneClearError) {
  const auto error = [&](const std::string& file, const std::string& text, const std::vector<std::string>& more = {}) {
    scratch_.put(file, text);
    const auto outcome = run(command(file, "", more));
    EXPECT_NE(outcome.code, 0);
    EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
    EXPECT_FALSE(fs::exists(at("run/model")));
    return outcome.err;
  };
  EXPECT_PRED2(has, error("no_label.csv", "text,other\na,b\n"), "no_label.csv");
  EXPECT_PRED2(has, error("missing.csv", "text,label\na,x\nb,\nc,y\n"), "missing.csv:3");
  EXPECT_PRED2(has, error("nan.csv", "text,score\na,1.5\nb,nan\n"), "nan.csv:3");
  EXPECT_PRED2(has, error("one.csv", "text,label\na,x\nb,x\n"), "one.csv");
  EXPECT_PRED2(has, error("empty.csv", "text,label\n"), "empty.csv");
  EXPECT_PRED2(has, error("absent_class.csv", "text,label\na,x\nb,y\n", {"--labels", "x,y,z"}), "z");
  EXPECT_PRED2(has, error("unknown.csv", "text,label\na,x\nb,w\n", {"--labels", "x,y"}), "unknown.csv:3");
}

}  // namespace
}  // namespace m2bert::test
