#include "m2bert/data/labelled.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/scratch.h"

namespace m2bert::data {
namespace {

using test::error_of;
using test::has;
using test::Scratch;
using Names = std::vector<std::string>;
using Indices = std::vector<int32_t>;

class LabelledTest : public ::testing::Test {
 protected:
  LabelledData read(const std::string& name, const std::string& content, const LabelledOptions& options = {}) {
    return read_labelled(scratch.put(name, content), options);
  }
  std::string error(const std::string& name, const std::string& content, const LabelledOptions& options = {}) {
    return error_of([&] { read(name, content, options); });
  }
  Scratch scratch;
};

TEST_F(LabelledTest, OneLabelATextFromATable) {
  const LabelledData data = read("a.csv", "text,label\n\"good, really\",pos\nbad,neg\n\nfine,pos\n");
  EXPECT_EQ(data.kind, LabelKind::single);
  EXPECT_EQ(data.texts, (Names{"good, really", "bad", "fine"}));
  EXPECT_FALSE(data.are_pairs());
  EXPECT_EQ(data.label_names, (Names{"neg", "pos"}));
  EXPECT_EQ(data.labels, (Indices{1, 0, 1}));
  EXPECT_EQ(data.records, (std::vector<uint64_t>{0, 1, 2}));
  EXPECT_EQ(label_counts(data), (std::vector<uint64_t>{1, 2}));
}

TEST_F(LabelledTest, IntegersAreNamesInTheirOrder) {
  EXPECT_EQ(read("a.tsv", "sentence\tlabel\nx\t10\ny\t9\nz\t-1\n").label_names, (Names{"-1", "9", "10"}));
  const LabelledData data = read("a.jsonl", "{\"text\":\"x\",\"label\":10}\n{\"text\":\"y\",\"label\":2}\n");
  EXPECT_EQ(data.label_names, (Names{"2", "10"}));
  EXPECT_EQ(data.labels, (Indices{1, 0}));
  EXPECT_EQ(read("a.jsonl", "{\"text\":\"x\",\"label\":true}\n{\"text\":\"y\",\"label\":false}\n").label_names, (Names{"false", "true"}));
}

TEST_F(LabelledTest, PairsByTheNamesOfTheField) {
  for (const auto& [a, b] : default_columns().pairs) {
    const LabelledData data = read("a.csv", "label," + b + "," + a + "\n1,second,first\n0,d,c\n");
    EXPECT_EQ(data.texts, (Names{"first", "c"})) << a;
    EXPECT_EQ(data.pairs, (Names{"second", "d"})) << b;
  }
}

TEST_F(LabelledTest, ColumnsByNameNumberAndPath) {
  const LabelledOptions by_name{.text = "body", .text_pair = "title", .label = "topic"};
  const std::string table = "topic,title,body\nx,t,b\ny,u,c\n";
  EXPECT_EQ(read("a.csv", table, by_name).pairs, (Names{"t", "u"}));
  EXPECT_EQ(read("a.csv", table, {.text = "3", .label = "1"}).texts, (Names{"b", "c"}));
  LabelledOptions bare{.text = "2", .label = "1"};
  bare.source.header = false;
  EXPECT_EQ(read("a.tsv", "x\tb\ny\tc\n", bare).labels, (Indices{0, 1}));
  EXPECT_EQ(read("a.jsonl", "{\"doc\":{\"body\":\"b\",\"topic\":\"x\"}}\n", {.text = "doc.body", .label = "doc.topic"}).label_names,
            Names{"x"});
}

TEST_F(LabelledTest, SeveralLabels) {
  const LabelledData lists = read("a.jsonl", "{\"text\":\"x\",\"labels\":[\"b\",\"a\"]}\n{\"text\":\"y\",\"labels\":[]}\n");
  EXPECT_EQ(lists.kind, LabelKind::multi);
  EXPECT_EQ(lists.label_names, (Names{"a", "b"}));
  EXPECT_EQ(lists.label_sets, (std::vector<Indices>{{0, 1}, {}}));
  const LabelledData strings = read("a.csv", "text,labels\nx,c|a\ny,\nz, b | c\n", {.kind = LabelKind::multi, .separator = "|"});
  EXPECT_EQ(strings.label_sets, (std::vector<Indices>{{0, 2}, {}, {1, 2}}));
  EXPECT_EQ(label_counts(strings), (std::vector<uint64_t>{1, 1, 2}));
  EXPECT_TRUE(has(error("a.jsonl", "{\"text\":\"x\",\"labels\":[1]}\n{\"text\":\"y\",\"labels\":null}\n"),
                  "a.jsonl:2: \"labels\" holds no label; an empty list says that none applies"));
}

TEST_F(LabelledTest, Numbers) {
  const LabelledData scores = read("a.tsv", "sentence1\tsentence2\tscore\na\tb\t5\nc\td\t2\n");
  EXPECT_EQ(scores.kind, LabelKind::number);
  EXPECT_EQ(scores.values, (std::vector<float>{5, 2}));
  EXPECT_EQ(read("a.csv", "text,label\na,1\nb,2.5\n").values, (std::vector<float>{1, 2.5f}));
  EXPECT_EQ(read("a.csv", "text,label\na,1\nb,2\n", {.kind = LabelKind::number}).values, (std::vector<float>{1, 2}));
  EXPECT_TRUE(has(error("a.csv", "text,score\na,1\nb,nan\n"), "a.csv:3: \"score\" is NaN"));
  EXPECT_TRUE(has(error("a.csv", "text,score\na,inf\n"), "a.csv:2: \"score\" is infinite"));
  EXPECT_TRUE(has(error("a.csv", "text,score\na,high\n"), "a.csv:2: \"score\" wants a number, got \"high\""));
  EXPECT_TRUE(has(error("a.csv", "text,score\na,\n"), "a.csv:2: \"score\" holds no number"));
}

TEST_F(LabelledTest, GivenNames) {
  LabelledOptions given{.label_names = {"no", "yes"}};
  EXPECT_EQ(read("a.csv", "text,label\nx,yes\n", given).labels, Indices{1});
  EXPECT_TRUE(
      has(error("a.csv", "text,label\nx,yes\ny,maybe\n", given), "a.csv:3: \"label\" is \"maybe\", which is not among the labels no, yes"));
  EXPECT_TRUE(has(error("a.jsonl", "{\"text\":\"x\",\"label\":1}\n", given), "a.jsonl:1: \"label\" is 1, which is not among"));
  given.integers_are_indices = true;
  EXPECT_EQ(read("a.jsonl", "{\"text\":\"x\",\"label\":1}\n{\"text\":\"x\",\"label\":\"no\"}\n", given).labels, (Indices{1, 0}));
  EXPECT_TRUE(has(error("a.jsonl", "{\"text\":\"x\",\"label\":2}\n", given), "\"label\" is 2, which is not among"));
  EXPECT_TRUE(has(error("a.csv", "text,label\nx,1\n", {.label_names = {"a", "a"}}), "the label \"a\" is named twice"));
}

TEST_F(LabelledTest, Unlabelled) {
  const LabelledOptions test_set{.label_names = {"no", "yes"}, .integers_are_indices = true, .allow_unlabelled = true};
  const LabelledData data =
      read("a.jsonl", "{\"text\":\"x\",\"label\":-1}\n{\"text\":\"y\",\"label\":null}\n{\"text\":\"z\",\"label\":0}\n", test_set);
  EXPECT_EQ(data.labels, (Indices{-1, -1, 0}));
  EXPECT_EQ(data.unlabelled, 2u);
  EXPECT_EQ(read("a.csv", "text\nx\n", test_set).labels, Indices{-1});
  EXPECT_TRUE(std::isnan(read("a.csv", "text,score\nx,-1\ny,-1.0\n", {.allow_unlabelled = true}).values[1]));
  EXPECT_TRUE(has(error("a.jsonl", "{\"text\":\"x\",\"label\":-1}\n", {.label_names = {"no", "yes"}}), "is -1, which is not among"));
}

TEST_F(LabelledTest, ProblemsNameFileLineAndColumn) {
  EXPECT_TRUE(has(error("a.csv", "body,label\nx,1\n"), "a.csv: has no column of texts that is known by its name"));
  EXPECT_TRUE(has(error("a.csv", "body,label\nx,1\n"), "it has body, label; name the one that holds the text"));
  EXPECT_TRUE(has(error("a.csv", "text,topic\nx,1\n"), "a.csv: has no column label, labels or score; it has text, topic; name the one"));
  EXPECT_TRUE(has(error("a.csv", "text,label\nx,1\n", {.label = "topic"}), "a.csv: has no column \"topic\"; it has text, label"));
  EXPECT_TRUE(has(error("a.csv", "text,label\nx,1\n", {.text = "7"}), "a.csv: there is no column 7; it has 2"));
  EXPECT_TRUE(has(error("a.csv", "text,label\nx,a\ny,\n"), "a.csv:3: \"label\" holds no label"));
  EXPECT_TRUE(has(error("a.csv", "text,label\nx,1\ny,nan\nz,2\n"), "a.csv:3: \"label\" is NaN, which is no label"));
  EXPECT_TRUE(has(error("a.csv", "text,label\nx,1\ny\n"), "a.csv:3: has 1 column, the first line has 2"));
  EXPECT_TRUE(has(error("a.csv", "text,label,label\nx,1,2\n"), "a.csv:1: has two columns label"));
  EXPECT_TRUE(has(error("a.csv", "text,label\n"), "a.csv: has no examples"));
  EXPECT_TRUE(has(error("a.csv", ""), "a.csv: is empty"));
  EXPECT_TRUE(has(error("a.jsonl", ""), "a.jsonl: has no examples"));
  EXPECT_TRUE(
      has(error("a.jsonl", "{\"text\":\"x\",\"label\":1}\n{\"text\":\"y\"}\n"), "a.jsonl:2: has no \"label\", which holds the label"));
  EXPECT_TRUE(has(error("a.jsonl", "{\"text\":\"x\",\"label\":1}\n{\"text\":7,\"label\":1}\n"), "a.jsonl:2: \"text\" wants a text, got 7"));
  EXPECT_TRUE(has(error("a.jsonl", "{\"text\":\"x\",\"label\":NaN}\n"), "a.jsonl:1"));
  EXPECT_TRUE(has(error("a.jsonl", "{\"text\":\"x\",\"label\":{}}\n"), "a.jsonl:1: \"label\" wants a label, got"));
  EXPECT_TRUE(has(error("a.txt", "x\n"), "a.txt: is read as text"));
}

TEST_F(LabelledTest, BadRecordsCanBePassedOver) {
  LabelledOptions options;
  options.source.skip_bad = true;
  const LabelledData data = read("a.csv", "text,label\nx,a\ny\nz,\nw,b\n", options);
  EXPECT_EQ(data.texts, (Names{"x", "w"}));
  EXPECT_EQ(data.records, (std::vector<uint64_t>{0, 3}));
  EXPECT_EQ(data.skipped, 2u);
  EXPECT_NE(data.first_skipped, "");
}

TEST_F(LabelledTest, EveryLabelMustOccur) {
  const LabelledData data = read("a.csv", "text,label\nx,a\n", {.label_names = {"a", "b", "c"}});
  EXPECT_TRUE(has(error_of([&] { require_every_label(data); }), "a.csv: no text has the labels b, c"));
  const LabelledData one = read("a.csv", "text,label\nx,a\ny,a\n");
  EXPECT_TRUE(has(error_of([&] { require_every_label(one); }), "every text has the label a; a classifier needs two"));
  const LabelledData constant = read("a.csv", "text,score\nx,1\ny,1\n");
  EXPECT_TRUE(has(error_of([&] { require_every_label(constant); }), "every text has the number 1"));
  require_every_label(read("a.csv", "text,label\nx,a\ny,b\n"));
}

TEST_F(LabelledTest, QuotesCanBeCharacters) {
  LabelledOptions options;
  options.source.quotes = false;
  EXPECT_EQ(read("a.tsv", "sentence\tlabel\n\"open\t1\n\"closed\"\t0\n", options).texts, (Names{"\"open", "\"closed\""}));
}

}  // namespace
}  // namespace m2bert::data
