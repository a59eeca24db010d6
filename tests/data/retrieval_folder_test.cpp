#include "m2bert/data/retrieval_folder.h"

#include <gtest/gtest.h>

#include "tests/support/scratch.h"

namespace m2bert::data {
namespace {

using test::error_of;
using test::has;
using test::Scratch;

using Sample = std::pair<std::string, std::vector<std::string>>;

struct RetrievalFolder : ::testing::Test {
  Scratch scratch;
  RetrievalData data;

  RetrievalFolder() { std::filesystem::create_directory(scratch / "qrels"); }
  std::vector<Sample> read(const RetrievalFolderOptions& options = {}) {
    data = {};
    read_retrieval_folder(scratch.folder(), options, data);
    std::vector<Sample> all;
    for (const auto& sample : data.samples()) {
      all.push_back({data.text(sample.query), {}});
      for (const auto passage : sample.passages) all.back().second.push_back(data.text(passage));
    }
    return all;
  }
  std::string error(const RetrievalFolderOptions& options = {}) {
    return error_of([&] { read(options); });
  }
  void put_beir() {
    scratch.put("corpus.jsonl",
                "{\"_id\": \"a\", \"title\": \"T\", \"text\": \"x\"}\n{\"_id\": 7, \"text\": \"y\"}\n{\"_id\": \"c\", \"title\": \"\", "
                "\"text\": \"z\"}\n");
    scratch.put("queries.jsonl", "{\"_id\": \"q1\", \"text\": \"one\"}\n{\"_id\": \"q2\", \"text\": \"two\"}\n");
    scratch.put("qrels/train.tsv", "query-id\tcorpus-id\tscore\nq1\ta\t1\nq1\t7\t2\nq2\tc\t0\n");
  }
  void put_msmarco() {
    scratch.put("collection.tsv", "10\tten \"quoted\n11\televen\n12\ttwelve\n");
    scratch.put("queries.train.tsv", "1\tone\n2\ttwo\n");
  }
};

TEST_F(RetrievalFolder, Beir) {
  put_beir();
  EXPECT_EQ(layout_of(scratch.folder()), RetrievalLayout::beir);
  EXPECT_EQ(read(), (std::vector<Sample>{{"one", {"T x"}}, {"one", {"y"}}}));
  EXPECT_EQ(data.corpus().size(), 3);
  EXPECT_EQ(read({.all_passages = false}).size(), 2);
  EXPECT_EQ(data.corpus().size(), 2);
}

TEST_F(RetrievalFolder, BeirErrors) {
  put_beir();
  EXPECT_TRUE(has(error({.split = "dev"}), "dev"));
  scratch.put("qrels/train.tsv", "query-id\tcorpus-id\tscore\nq1\ta\t1\nq1\tnone\t1\n");
  EXPECT_TRUE(has(error(), "the judgements of query q1: there is no passage with the id none"));
  scratch.put("qrels/train.tsv", "query-id\tcorpus-id\tscore\nq1\ta\t0\n");
  EXPECT_TRUE(has(error(), "no query with a relevant passage"));
}

TEST_F(RetrievalFolder, Loco) {
  scratch.put("documents.jsonl",
              "{\"dataset\": \"d\", \"pid\": \"P1\", \"passage\": \"x\"}\n{\"dataset\": \"d\", \"pid\": \"P2\", \"passage\": \"y\"}\n");
  scratch.put("queries.jsonl", "{\"dataset\": \"d\", \"qid\": \"Q1\", \"query\": \"one\", \"answer_pids\": [\"P2\"]}\n");
  EXPECT_EQ(read(), (std::vector<Sample>{{"one", {"y"}}}));
  EXPECT_EQ(data.corpus().size(), 2);
  EXPECT_TRUE(has(error_of([] { (void)layout_of("/nowhere"); }), "is no folder of retrieval data"));
}

TEST_F(RetrievalFolder, MsMarcoTriples) {
  put_msmarco();
  scratch.put("qidpidtriples.train.full.2.tsv", "1\t10\t11\n2\t12\t10\n");
  EXPECT_EQ(read(), (std::vector<Sample>{{"one", {"ten \"quoted", "eleven"}}, {"two", {"twelve", "ten \"quoted"}}}));
}

TEST_F(RetrievalFolder, MsMarcoHardNegatives) {
  put_msmarco();
  scratch.put("msmarco-hard-negatives.jsonl", "{\"qid\": 1, \"pos\": [10, 11], \"neg\": {\"bm25\": [12], \"other\": [12]}}\n");
  EXPECT_EQ(read(), (std::vector<Sample>{{"one", {"ten \"quoted", "twelve"}}, {"one", {"eleven", "twelve"}}}));
  scratch.put("qidpidtriples.tsv", "1\t10\t11\n");
  EXPECT_TRUE(has(error(), "several files of triples"));
  EXPECT_EQ(read({.triples = scratch / "qidpidtriples.tsv"}).size(), 1);
}

TEST_F(RetrievalFolder, MsMarcoJudgements) {
  put_msmarco();
  scratch.put("qrels.train.tsv", "1\t0\t11\t1\n2\t0\t12\t0\n");
  EXPECT_EQ(read({.all_passages = false}), (std::vector<Sample>{{"one", {"eleven"}}}));
  EXPECT_EQ(data.corpus().size(), 1);
}

}  // namespace
}  // namespace m2bert::data
