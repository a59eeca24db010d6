#include "m2bert/data/glue.h"

#include <gtest/gtest.h>

#include "m2bert/io/file.h"
#include "tests/support/paths.h"
#include "tests/support/scratch.h"

namespace m2bert::data {
namespace {

using test::error_of;
using test::has;
using test::Scratch;
using Names = std::vector<std::string>;
using Indices = std::vector<int32_t>;

class GlueTest : public ::testing::Test {
 protected:
  void put(const std::string& name, const std::string& content) {
    std::filesystem::create_directories((scratch / name).parent_path());
    scratch.put(name, content);
  }
  LabelledData train(const std::string& task) { return GlueFolder(scratch.folder()).train(glue_task(task)); }
  LabelledData validation(const std::string& task, size_t split = 0) {
    return GlueFolder(scratch.folder()).evaluation(glue_task(task), glue_task(task).evaluation.at(split));
  }
  LabelledData test(const std::string& task, size_t split = 0) {
    return GlueFolder(scratch.folder()).test(glue_task(task), glue_task(task).test.at(split));
  }
  Scratch scratch;
};

TEST_F(GlueTest, CoLA) {
  put("CoLA/train.tsv", "gj04\t1\t\t\"Open quote.\ngj04\t0\t*\tBad are sentence.\n");
  put("CoLA/dev.tsv", "gj04\t1\t\tFine.\n");
  put("CoLA/test.tsv", "index\tsentence\n0\tA test.\n1\tAnother.\n");
  EXPECT_EQ(train("cola").texts, (Names{"\"Open quote.", "Bad are sentence."}));
  EXPECT_EQ(train("cola").labels, (Indices{1, 0}));
  EXPECT_EQ(train("cola").label_names, (Names{"unacceptable", "acceptable"}));
  EXPECT_EQ(validation("cola").labels, Indices{1});
  EXPECT_EQ(test("cola").texts, (Names{"A test.", "Another."}));
  EXPECT_EQ(test("cola").labels, (Indices{-1, -1}));
}

TEST_F(GlueTest, PairsByTheirOfficialColumns) {
  put("MNLI/train.tsv", "index\tpairID\tsentence1\tsentence2\tlabel1\tgold_label\n0\t1e\tA.\tB.\tneutral\tcontradiction\n");
  put("MNLI/dev_mismatched.tsv", "index\tsentence1\tsentence2\tlabel1\tgold_label\n0\tC.\tD.\tentailment\tneutral\n");
  put("QQP/train.tsv", "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n0\t1\t2\tWhat?\tWhy?\t1\n");
  put("QNLI/dev.tsv", "index\tquestion\tsentence\tlabel\n0\tWho?\tShe.\tnot_entailment\n");
  put("STS-B/dev.tsv",
      "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore\n0\tg\tf\ty\t1\ts\ts\tA\tB\t2.600\n");
  put("WNLI/train.tsv", "index\tsentence1\tsentence2\tlabel\n0\tA\tB\t1\n");
  put("AX/diagnostic.tsv", "index\tsentence1\tsentence2\n0\tA\tB\n");
  EXPECT_EQ(train("mnli").labels, Indices{2});
  EXPECT_EQ(validation("mnli", 1).labels, Indices{1});
  EXPECT_EQ(validation("mnli", 1).pairs, Names{"D."});
  EXPECT_EQ(train("qqp").labels, Indices{1});
  EXPECT_EQ(validation("qnli").labels, Indices{1});
  EXPECT_EQ(validation("stsb").values, std::vector<float>{2.6f});
  EXPECT_EQ(train("wnli").labels, Indices{1});
  EXPECT_EQ(test("ax").texts, Names{"A"});
  EXPECT_TRUE(has(error_of([&] { validation("mnli", 0); }), "MNLI: has no dev_matched.tsv, and no validation_matched-*.parquet or"));
  EXPECT_TRUE(has(error_of([&] { train("rte"); }), "has no folder RTE (official) or rte (as on the hub)"));
  EXPECT_TRUE(has(error_of([&] { train("ax"); }), "has no training data"));
}

TEST_F(GlueTest, MicrosoftsParaphrases) {
  const std::string header = "\xEF\xBB\xBFQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\n";
  put("MRPC/msr_paraphrase_train.txt", header + "1\t10\t11\ta \"b\tc\n0\t12\t13\td\te\n1\t14\t15\tf\tg\n");
  put("MRPC/msr_paraphrase_test.txt", header + "0\t16\t17\th\ti\n");
  put("MRPC/dev_ids.tsv", "12\t13\n");
  EXPECT_EQ(train("mrpc").texts, (Names{"a \"b", "f"}));
  EXPECT_EQ(validation("mrpc").texts, Names{"d"});
  EXPECT_EQ(validation("mrpc").labels, Indices{0});
  EXPECT_EQ(test("mrpc").pairs, Names{"i"});
  put("MRPC/train.tsv", "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n1\t1\t2\tx\ty\n");
  EXPECT_EQ(train("mrpc").texts, Names{"x"});
}

TEST_F(GlueTest, FilesOfTheHub) {
  put("rte/train.jsonl", "{\"sentence1\":\"a\",\"sentence2\":\"b\",\"label\":1,\"idx\":0}\n");
  put("rte/validation-00000-of-00002.jsonl", "{\"sentence1\":\"a\",\"sentence2\":\"b\",\"label\":0}\n");
  put("rte/test.jsonl", "{\"sentence1\":\"a\",\"sentence2\":\"b\",\"label\":-1}\n");
  EXPECT_EQ(train("rte").labels, Indices{1});
  EXPECT_EQ(test("rte").labels, Indices{-1});
  EXPECT_TRUE(has(error_of([&] { validation("rte"); }), "rte: has 1 files of \"validation\", not 2 as their names say"));
  put("rte/validation-00001-of-00002.jsonl", "{\"sentence1\":\"c\",\"sentence2\":\"d\",\"label\":1}\n");
  EXPECT_EQ(validation("rte").texts, (Names{"a", "c"}));
  put("rte/train.jsonl", "{\"sentence1\":\"a\",\"sentence2\":\"b\",\"label\":2}\n");
  EXPECT_TRUE(
      has(error_of([&] { train("rte"); }), "train.jsonl:1: \"label\" is 2, which is not among the labels entailment, not_entailment"));
}

TEST_F(GlueTest, QqpHasBadRowsToEvaluateOnToo) {
  std::string rows = "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n";
  for (int i = 0; i < 200; ++i) rows += "0\t1\t2\tWhat?\tWhy?\t" + std::to_string(i % 2) + "\n";
  put("QQP/dev.tsv", rows + "0\t1\t2\tHalf a row\n");
  EXPECT_EQ(validation("qqp").size(), 200u);
}

TEST_F(GlueTest, RowsWithoutAllColumnsArePassedOverInTraining) {
  std::string rows = "sentence\tlabel\n";
  for (int i = 0; i < 200; ++i) rows += "row " + std::to_string(i) + "\t" + std::to_string(i % 2) + "\n";
  put("SST-2/train.tsv", rows + "half\n");
  put("SST-2/dev.tsv", rows + "half\n");
  EXPECT_EQ(train("sst2").size(), 200u);
  EXPECT_TRUE(has(error_of([&] { validation("sst2"); }), "dev.tsv:202: has 1 column"));
  put("SST-2/train.tsv", "sentence\tlabel\na\t1\nhalf\n");
  EXPECT_TRUE(has(error_of([&] { train("sst2"); }), "train.tsv:3: has 1 column"));
}

TEST_F(GlueTest, Submissions) {
  EXPECT_EQ(glue_submission(glue_task("mnli"), {2, 0}), "index\tprediction\n0\tcontradiction\n1\tentailment\n");
  EXPECT_EQ(glue_submission(glue_task("cola"), {1}), "index\tprediction\n0\t1\n");
  EXPECT_EQ(glue_submission(glue_task("stsb"), {5.25, -1, 3.14159}), "index\tprediction\n0\t5.000\n1\t0.000\n2\t3.142\n");
  EXPECT_EQ(glue_task("mnli").test.at(1).submission, "MNLI-mm.tsv");
  EXPECT_EQ(glue_task("sst2").test.at(0).submission, "SST-2.tsv");
  EXPECT_TRUE(has(error_of([] { glue_task("snli"); }), "unknown GLUE task \"snli\"; there are cola, sst2"));
  EXPECT_EQ(glue_tasks().size(), 10u);
}

}  // namespace
}  // namespace m2bert::data
