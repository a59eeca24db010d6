// m2bert eval sts, classification and clustering.
#include <gtest/gtest.h>

#include <filesystem>

#include "m2bert/io/file.h"
#include "m2bert/io/json.h"
#include "tests/cli/program.h"
#include "tests/support/scratch.h"
#include "tests/support/tiny_models.h"

namespace m2bert::test {
namespace {

class EvalTexts : public ::testing::Test {
 protected:
  std::string at(const std::string& name) const { return (scratch_ / name).string(); }

  Outcome eval(const std::string& kind, const std::string& input, std::vector<std::string> more = {}) const {
    std::vector<std::string> arguments = {"eval", kind, at(input), "--model", tiny_models().m2};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run(arguments);
  }

  // The rows of the results.
  std::vector<io::Tree> rows(const std::string& kind, const std::string& input, std::vector<std::string> more = {}) const {
    more.insert(more.end(), {"--json", "--quiet"});
    const Outcome outcome = eval(kind, input, more);
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    EXPECT_EQ(outcome.err, "");
    const auto lines = json_lines(outcome.out);
    return lines.size() == 1 ? lines[0].at("results").items() : std::vector<io::Tree>();
  }

  // The message for a file with this content.
  std::string error(const std::string& kind, const std::string& name, const std::string& content,
                    std::vector<std::string> more = {}) const {
    scratch_.put(name, content);
    const Outcome outcome = eval(kind, kind == "classification" ? "." : name, more);
    EXPECT_EQ(outcome.code, 1) << outcome.err;
    EXPECT_EQ(outcome.out, "");
    EXPECT_EQ(outcome.err.find("error: "), 0u) << outcome.err;
    return outcome.err;
  }

  Scratch scratch_;
};

std::string json_text(const std::string& text) { return io::to_json(io::Tree(text)); }

std::string pair_line(size_t i) {
  return "{\"sentence1\": " + json_text(sentence(i, 5)) + ", \"sentence2\": " + json_text(sentence(i * 7 + 1, 6)) +
         ", \"score\": " + std::to_string(i % 6) + "}\n";
}

TEST_F(EvalTexts, StsGivesBothCorrelationsOfEachSimilarity) {
  std::string lines;
  for (size_t i = 0; i < 20; ++i) lines += pair_line(i);
  scratch_.put("pairs.jsonl", lines);
  const auto found = rows("sts", "pairs.jsonl");
  ASSERT_EQ(found.size(), 4u);
  const char* similarities[] = {"cosine", "dot", "euclidean", "manhattan"};
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(found[i].at("data_set").string(), "pairs.jsonl");
    EXPECT_EQ(found[i].at("similarity").string(), similarities[i]);
    EXPECT_EQ(found[i].at("pairs").integer(), 20);
    for (const char* name : {"Spearman", "Pearson"}) {
      const double value = found[i].at("scores").at(name).number();
      const auto& interval = found[i].at("intervals").at(name).items();
      EXPECT_LT(interval.at(0).number(), value);
      EXPECT_GT(interval.at(1).number(), value);
    }
  }
}

TEST_F(EvalTexts, StsReadsTablesAndKeepsItsVectors) {
  std::string table = "genre\tsentence1\tsentence2\tscore\n";
  for (size_t i = 0; i < 9; ++i) table += "x\t\"" + sentence(i, 4) + "\t" + sentence(i + 3, 4) + "\t" + std::to_string(i) + ".5\n";
  scratch_.put("dev.tsv", table);
  const auto first = rows("sts", "dev.tsv", {"--no-quotes", "--cache", at("vectors"), "--resamples", "0"});
  ASSERT_EQ(first.size(), 4u);
  EXPECT_FALSE(first[0].find("intervals"));
  EXPECT_TRUE(std::filesystem::exists(scratch_ / "vectors"));
  const auto again = rows("sts", "dev.tsv", {"--no-quotes", "--cache", at("vectors"), "--resamples", "0"});
  EXPECT_EQ(first[0], again[0]);
  scratch_.put("other.csv", "a,b,c\nred tree,green tree,1\nnight,day,2\nriver,stone,3\n");
  EXPECT_EQ(rows("sts", "other.csv", {"--text-field", "a", "--pair-field", "b", "--label-field", "c"}).at(0).at("pairs").integer(), 3);
}

TEST_F(EvalTexts, StsEmbedsEachTextOnce) {
  std::string table = "sentence1,sentence2,score\n";
  for (size_t i = 0; i < 4; ++i) table += sentence(0, 40) + "," + sentence(i, 3) + "," + std::to_string(i) + "\n";
  scratch_.put("dev.csv", table);
  const Outcome outcome = eval("sts", "dev.csv");
  EXPECT_EQ(outcome.code, 0);
  EXPECT_PRED2(has, outcome.err, "dev.csv: 1 of 5 texts were truncated to 32 tokens");
}

TEST_F(EvalTexts, StsRefusesWhatHasNoCorrelation) {
  const std::string good = pair_line(1) + pair_line(2);
  EXPECT_PRED2(has, error("sts", "a.jsonl", ""), "a.jsonl: has no examples");
  EXPECT_PRED2(has, error("sts", "a.jsonl", pair_line(1)), "a.jsonl: has one pair");
  EXPECT_PRED2(has, error("sts", "a.jsonl", good + "{\"sentence1\": \"a\", \"sentence2\": \"b\", \"score\": NaN}\n"),
               "a.jsonl:3:1:47: NaN is no JSON; write null; --skip-bad passes");
  EXPECT_PRED2(has, error("sts", "a.csv", "sentence1,sentence2,score\na,b,1\nc,d,nan\n"), "a.csv:3: \"score\" is NaN; --skip-bad passes");
  EXPECT_PRED2(has, error("sts", "a.csv", "sentence1,sentence2,score\na,b,1\nc,d,1\n"), "a.csv: every score is 1; a correlation wants");
  EXPECT_PRED2(has, error("sts", "a.csv", "sentence1,sentence2\na,b\nc,d\n"),
               "a.csv: has no column \"score\"; it has sentence1, sentence2");
  EXPECT_PRED2(has, error("sts", "a.csv", "text,score\na,1\nb,2\n"), "a.csv: has no second text");
  EXPECT_PRED2(has, error("sts", "a.csv", "sentence1,sentence2,score\na,b,1\nc,2\n"), "a.csv:3");
  scratch_.put("a.csv", "sentence1,sentence2,score\na,b,1\nc,d,nan\ne,f,2\n");
  const Outcome skipped = eval("sts", "a.csv", {"--skip-bad"});
  EXPECT_EQ(skipped.code, 0);
  EXPECT_PRED2(has, skipped.err, "a.csv:3");
}

// Texts of a class share a word.
std::string labelled_lines(size_t count, size_t first, bool words = true) {
  const char *topics[] = {"tree", "night", "river"}, *labels[] = {"plants", "time", "water"};
  std::string lines;
  for (size_t i = first; i < first + count; ++i) {
    const std::string topic = words ? std::string(topics[i % 3]) + " " + topics[i % 3] + " " : "";
    lines += "{\"text\": " + json_text(topic + sentence(i, 3)) + ", \"label\": \"" + labels[i % 3] + "\"}\n";
  }
  return lines;
}

TEST_F(EvalTexts, ClassificationLearnsFromFewExamples) {
  std::filesystem::create_directory(scratch_ / "topics");
  scratch_.put("topics/train.jsonl", labelled_lines(60, 0));
  scratch_.put("topics/test.jsonl", labelled_lines(30, 60));
  const auto found = rows("classification", "topics/", {"--threads", "1"});
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].at("data_set").string(), "topics");
  EXPECT_EQ(found[0].at("classes").integer(), 3);
  EXPECT_EQ(found[0].at("texts").integer(), 30);
  EXPECT_GT(found[0].at("scores").at("Accuracy").number(), 0.5);
  EXPECT_FALSE(found[0].at("scores").find("AP"));
  EXPECT_EQ(found[0], rows("classification", "topics", {"--threads", "2"}).at(0)) << "whatever the number of threads";
  EXPECT_NE(found[0], rows("classification", "topics", {"--seed", "1", "--samples-per-label", "2", "--experiments", "3"}).at(0));
}

TEST_F(EvalTexts, ClassificationWarnsOfRegressionsThatDidNotConverge) {
  std::filesystem::create_directory(scratch_ / "topics");
  scratch_.put("topics/train.jsonl", labelled_lines(60, 0));
  scratch_.put("topics/test.jsonl", labelled_lines(30, 60));
  EXPECT_PRED2(has, eval("classification", "topics", {"--max-iterations", "1"}).err,
               "10 of 10 logistic regressions did not converge in 1 iterations (--max-iterations)");
}

TEST_F(EvalTexts, ClassificationOfTwoClassesHasAveragePrecision) {
  std::filesystem::create_directory(scratch_ / "two");
  scratch_.put("two/train.csv", "body,topic\ntree tree,1\nnight night,0\ngreen tree,1\nblack night,0\n");
  scratch_.put("two/validation.csv", "body,topic\ntree,1\nnight,0\n");
  const auto found = rows("classification", "two", {"--split", "validation", "--text-field", "body", "--label-field", "topic"});
  ASSERT_EQ(found.size(), 1u);
  EXPECT_DOUBLE_EQ(found[0].at("scores").at("AP").number(), 1);
  EXPECT_TRUE(found[0].at("scores").find("AP of predictions"));
}

TEST_F(EvalTexts, ClassificationRefusesWhatCannotBeScored) {
  const std::string train = "text,label\na,x\nb,y\n";
  EXPECT_PRED2(has, error("classification", "unrelated.csv", ""), "has no train.jsonl, train.csv, train.tsv or train.parquet");
  EXPECT_PRED2(has, error("classification", "train.csv", train), "has no test.jsonl");
  EXPECT_PRED2(has, error("classification", "test.csv", "text,label\na,x\nb,z\n"),
               "test.csv:3: \"label\" is \"z\", which is not among the labels x, y");
  EXPECT_PRED2(has, error("classification", "test.csv", ""), "test.csv: ");
  EXPECT_PRED2(has, error("classification", "test.csv", "text,label\na,\n"), "test.csv:2: \"label\" holds no label");
  EXPECT_PRED2(has, error("classification", "train.csv", "text,label\na,x\nb,x\n"),
               "train.csv: every text has the label x; a classifier needs two labels or more");
  EXPECT_PRED2(has, error("classification", "train.tsv", "text\tlabel\na\tx\n"), "has both train.csv and train.tsv; keep one of them");
  const Outcome no_folder = eval("classification", "train.csv");
  EXPECT_EQ(no_folder.code, 1);
  EXPECT_PRED2(has, no_folder.err, "train.csv: is no folder");
}

TEST_F(EvalTexts, ClusteringOfOneSetAndOfMany) {
  scratch_.put("one.jsonl", labelled_lines(45, 0));
  const auto one = rows("clustering", "one.jsonl", {"--threads", "1"});
  ASSERT_EQ(one.size(), 1u);
  EXPECT_EQ(one[0].at("sets").integer(), 1);
  EXPECT_EQ(one[0].at("texts").integer(), 45);
  EXPECT_GT(one[0].at("scores").at("V-measure").number(), 0);
  EXPECT_FALSE(one[0].find("intervals"));
  EXPECT_EQ(one[0], rows("clustering", "one.jsonl", {"--threads", "2"}).at(0));

  const std::string set = R"({"sentences": ["tree", "tree", "night", "night"], "labels": ["a", "a", 7, 7]})";
  scratch_.put("many.jsonl", set + "\n\n" + set + "\n");
  const auto many = rows("clustering", "many.jsonl");
  ASSERT_EQ(many.size(), 1u);
  EXPECT_EQ(many[0].at("sets").integer(), 2);
  EXPECT_EQ(many[0].at("texts").integer(), 8);
  EXPECT_DOUBLE_EQ(many[0].at("scores").at("V-measure").number(), 1);
  EXPECT_TRUE(many[0].find("intervals"));
}

TEST_F(EvalTexts, ClusteringRefusesSetsWithoutClasses) {
  const std::string good = R"({"sentences": ["a", "b"], "labels": ["x", "y"]})";
  const auto second = [&](const std::string& line) { return error("clustering", "a.jsonl", good + "\n" + line + "\n"); };
  EXPECT_PRED2(has, second(R"({"sentences": ["a", "b"], "labels": ["x"]})"), "a.jsonl:2: has 2 sentences and 1 label; --skip-bad passes");
  EXPECT_PRED2(has, second(R"({"sentences": ["a", 1], "labels": ["x", "y"]})"), "a.jsonl:2: \"sentences\" wants texts, got 1");
  EXPECT_PRED2(has, second(R"({"sentences": ["a", "b"], "labels": ["x", null]})"), "a.jsonl:2: \"labels\" wants strings or integers");
  EXPECT_PRED2(has, second(R"({"sentences": ["a", "b"], "labels": ["x", "x"]})"), "a.jsonl:2: its sentences have 1 label;");
  EXPECT_PRED2(has, second(R"({"sentences": ["a", "b"]})"), "a.jsonl:2: wants a list \"labels\"");
  EXPECT_PRED2(has, error("clustering", "a.jsonl", ""), "a.jsonl: has no examples");
  EXPECT_PRED2(has, error("clustering", "a.csv", "text,label\na,x\nb,x\n"), "a.csv: all texts have the same label");
}

TEST_F(EvalTexts, PagesAreNotWrittenOverInputs) {
  const std::string lines = labelled_lines(9, 0);
  scratch_.put("one.jsonl", lines);
  const Outcome over = eval("clustering", "one.jsonl", {"--page", at("one.jsonl"), "--overwrite"});
  EXPECT_EQ(over.code, 1);
  EXPECT_EQ(content(at("one.jsonl")), lines);
  const Outcome page = eval("clustering", "one.jsonl", {"--page", at("page.html"), "--markdown"});
  EXPECT_EQ(page.code, 0) << page.err;
  EXPECT_PRED2(has, page.out, "| data set | V-measure |");
  EXPECT_PRED2(has, content(at("page.html")), "V-measure");
}

TEST_F(EvalTexts, ListsOfSentencesHaveNoFields) {
  scratch_.put("sets.jsonl", "{\"sentences\": [\"a\", \"b\"], \"labels\": [\"x\", \"y\"]}\n");
  EXPECT_EQ(eval("clustering", "sets.jsonl").code, 0);
  for (const char* option : {"--text-field", "--label-field"}) {
    const Outcome outcome = eval("clustering", "sets.jsonl", {option, "body"});
    EXPECT_EQ(outcome.code, 2);
    EXPECT_PRED2(has, outcome.err, option);
  }
}

}  // namespace
}  // namespace m2bert::test
