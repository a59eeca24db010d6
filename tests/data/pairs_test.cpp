#include "m2bert/data/pairs.h"

#include <gtest/gtest.h>

#include "tests/support/scratch.h"

namespace m2bert::data {
namespace {

using test::error_of;
using test::has;
using test::Scratch;

// Samples with their texts.
struct Found {
  std::string query;
  std::vector<std::string> passages;
  std::vector<float> scores;
  bool operator==(const Found&) const = default;
};

std::vector<Found> found_in(const RetrievalData& data) {
  std::vector<Found> all;
  for (const auto& sample : data.samples()) {
    Found found{data.text(sample.query), {}, sample.scores};
    for (const auto passage : sample.passages) found.passages.push_back(data.text(passage));
    all.push_back(found);
  }
  return all;
}

struct Pairs : ::testing::Test {
  Scratch scratch;
  RetrievalData data;
  std::vector<Found> read(const std::string& name, const std::string& content, const PairOptions& options = {}) {
    read_pairs(scratch.put(name, content), options, data);
    return found_in(data);
  }
  std::string error(const std::string& name, const std::string& content, const PairOptions& options = {}) {
    return error_of([&] { read(name, content, options); });
  }
};

TEST_F(Pairs, ColumnsKnownByName) {
  EXPECT_EQ(read("a.csv", "id,query,positive\n1,q,p\n2,\"q, 2\",p2\n"), (std::vector<Found>{{"q", {"p"}, {}}, {"q, 2", {"p2"}, {}}}));
  data = {};
  EXPECT_EQ(read("a.tsv", "anchor\tpositive\tnegative\nq\tp\tn\n"), (std::vector<Found>{{"q", {"p", "n"}, {}}}));
  data = {};
  EXPECT_EQ(read("a.csv", "question,answer,negative_1,negative_2\nq,p,n1,n2\n"), (std::vector<Found>{{"q", {"p", "n1", "n2"}, {}}}));
  data = {};
  EXPECT_EQ(read("a.csv", "sentence1,sentence2,score\na,b,0.25\n"), (std::vector<Found>{{"a", {"b"}, {0.25f}}}));
}

TEST_F(Pairs, ListsInJsonLines) {
  EXPECT_EQ(read("a.jsonl", R"({"query": "q", "pos": ["p", "r"], "neg": ["n", "m"]})"),
            (std::vector<Found>{{"q", {"p", "n", "m"}, {}}, {"q", {"r", "n", "m"}, {}}}));
  data = {};
  EXPECT_EQ(read("a.jsonl", R"({"query": "q", "positive": "p", "negatives": ["n"], "scores": [3, -0.5]})"),
            (std::vector<Found>{{"q", {"p", "n"}, {3, -0.5f}}}));
  EXPECT_EQ(data.texts().size(), 3);
}

TEST_F(Pairs, NamedAndNumberedColumns) {
  PairOptions named;
  named.columns = {"title", "body.text", "", "match"};
  EXPECT_EQ(read("a.jsonl", R"({"title": "q", "body": {"text": "p"}, "match": 1})", named), (std::vector<Found>{{"q", {"p"}, {1}}}));
  data = {};
  PairOptions plain;  // the triples of MS MARCO: texts divided by tabs
  plain.source.header = plain.source.quotes = false;
  EXPECT_EQ(read("triples.train.small.tsv", "q\t\"p\" is\tn\nq2\tp2\tn2\n", plain),
            (std::vector<Found>{{"q", {"\"p\" is", "n"}, {}}, {"q2", {"p2", "n2"}, {}}}));
}

TEST_F(Pairs, ErrorsNameFileLineAndColumn) {
  EXPECT_TRUE(has(error("a.csv", "title,positive\nx,y\n"), "a.csv: has no column of queries"));
  EXPECT_TRUE(has(error("a.csv", "query,body\nx,y\n"), "has no column of the positive passages"));
  EXPECT_TRUE(has(error("a.csv", "query,positive\nx,\n"), "a.csv:2: \"positive\" is empty"));
  EXPECT_TRUE(has(error("a.csv", "query,positive,label\nx,y,1\nx,y,maybe\n"), "a.csv:3: \"label\" wants a finite number"));
  EXPECT_TRUE(has(error("a.csv", "query,positive,label\nx,y,nan\n"), "wants a finite number"));
  EXPECT_TRUE(has(error("a.csv", "query,positive,negative,label\nx,y,z,1\n"), "is one number, and there are 2 passages"));
  EXPECT_TRUE(has(error("a.jsonl", R"({"query": "q", "positive": 3})"), "a.jsonl:1: \"positive\" wants a text"));
  EXPECT_TRUE(has(error("a.jsonl", R"({"query": "q", "positive": []})"), "is an empty list"));
  EXPECT_TRUE(has(error("a.jsonl", R"({"query": "q", "positive": "p", "neg": ["n"], "scores": [1]})"), "has 1 scores for 2 passages"));
  EXPECT_TRUE(has(error("a.csv", "query,positive\n"), "has no records"));
  EXPECT_TRUE(has(error("a.txt", "query,positive\n"), "is read as text"));
}

TEST_F(Pairs, BadRecordsCanBeSkipped) {
  PairOptions options;
  options.source.skip_bad = true;
  const auto report = read_pairs(scratch.put("a.csv", "query,positive\nq,\nq,p\n"), options, data);
  EXPECT_EQ(report.skipped, 1);
  EXPECT_TRUE(has(report.first_skipped, "a.csv:2"));
  EXPECT_EQ(data.samples().size(), 1);
}

TEST_F(Pairs, ShapeIsThatOfAllSamples) {
  read("a.jsonl",
       "{\"query\": \"q\", \"positive\": \"p\", \"neg\": [\"a\", \"b\"]}\n{\"query\": \"q\", \"positive\": \"p\", \"neg\": [\"a\"]}");
  EXPECT_EQ(shape_of(data, "a").negatives, 1);
  EXPECT_FALSE(shape_of(data, "a").labels);
  read("b.csv", "query,positive,label\nq,r,0\n");
  EXPECT_TRUE(has(error_of([&] { (void)shape_of(data, "x"); }), "of 3 samples 1 have a label"));
  EXPECT_TRUE(has(error_of([] { (void)shape_of(RetrievalData(), "x"); }), "x: there are no samples"));
}

TEST_F(Pairs, CorpusPositivesAndLimit) {
  read("a.csv", "query,positive\nq,p\nr,s\nq,t\n");
  EXPECT_EQ(data.corpus().size(), 3);
  const auto positives = data.positives();
  EXPECT_EQ(positives.at(data.samples()[0].query).size(), 2);
  const auto before = data.fingerprint();
  limit_queries(data, 1);
  EXPECT_EQ(found_in(data), (std::vector<Found>{{"q", {"p"}, {}}, {"q", {"t"}, {}}}));
  EXPECT_NE(data.fingerprint(), before);
}

}  // namespace
}  // namespace m2bert::data
