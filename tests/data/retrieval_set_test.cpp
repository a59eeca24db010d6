#include "m2bert/data/retrieval_set.h"

#include <gtest/gtest.h>

#include "tests/support/scratch.h"

namespace m2bert::data {
namespace {

namespace fs = std::filesystem;
using test::error_of;
using test::has;
using test::Scratch;

constexpr const char* kCorpus =
    "{\"_id\": \"d1\", \"title\": \"One\", \"text\": \"first\"}\n\n{\"_id\": 2, \"text\": \"second\"}\n{\"id\": \"d3\", \"title\": null, "
    "\"text\": \"\"}\n";
constexpr const char* kQueries =
    "{\"_id\": \"q1\", \"text\": \"who?\"}\n{\"_id\": \"q2\", \"text\": \"unjudged\"}\n{\"_id\": \"q3\", \"text\": \"why?\"}\n";
constexpr const char* kQrels = "query-id\tcorpus-id\tscore\nq3\td1\t2\nq1\t2\t1\nq1\td3\t0\n";

// A folder with these files; "": the file is absent.
void make(const Scratch& scratch, const std::string& corpus = kCorpus, const std::string& queries = kQueries,
          const std::string& qrels = kQrels) {
  fs::create_directories(scratch / "qrels");
  if (!corpus.empty()) scratch.put("corpus.jsonl", corpus);
  if (!queries.empty()) scratch.put("queries.jsonl", queries);
  if (!qrels.empty()) scratch.put("qrels/test.tsv", qrels);
}

std::vector<Document> documents_of(const RetrievalSet& set) {
  std::vector<Document> documents;
  const auto source = set.open_documents();
  for (Document document; source->next(document);) documents.push_back(document);
  return documents;
}

TEST(RetrievalSet, ReadsBeir) {
  const Scratch scratch;
  make(scratch);
  const RetrievalSet set = read_beir(scratch.folder().string() + "/");
  EXPECT_EQ(set.name, scratch.folder().filename().string());
  ASSERT_EQ(set.queries.size(), 2U);  // q2 has no judgement
  EXPECT_EQ(set.queries[0].id, "q1");
  EXPECT_EQ(set.queries[0].text, "who?");
  ASSERT_EQ(set.queries[0].judgements.size(), 2U);
  EXPECT_EQ(set.queries[0].judgements[0].document, "2");
  EXPECT_EQ(set.queries[0].judgements[1].relevance, 0);
  EXPECT_EQ(set.queries[1].judgements[0].relevance, 2);
  for (int pass = 0; pass < 2; ++pass) {
    const auto documents = documents_of(set);
    ASSERT_EQ(documents.size(), 3U);
    EXPECT_EQ(documents[0].title, "One");
    EXPECT_EQ(documents[1].id, "2");
    EXPECT_EQ(documents[1].title, "");
    EXPECT_EQ(documents[2].id, "d3");
  }
}

TEST(RetrievalSet, ReadsMteb) {
  const Scratch scratch;
  make(scratch, kCorpus, kQueries, "");
  scratch.put("qrels/dev.jsonl",
              "{\"query-id\": \"q1\", \"corpus-id\": \"d1\", \"score\": 1.0}\n{\"query-id\": \"q1\", \"corpus-id\": 2, \"score\": 3}\n");
  const RetrievalSet set = read_beir(scratch.folder(), "dev");
  ASSERT_EQ(set.queries.size(), 1U);
  EXPECT_EQ(set.queries[0].judgements[1].document, "2");
  EXPECT_EQ(set.queries[0].judgements[1].relevance, 3);
  EXPECT_PRED2(has, error_of([&] { read_beir(scratch.folder()); }), "has no qrels/test.tsv; its splits are dev");
}

TEST(RetrievalSet, EachErrorNamesFileAndLine) {
  const std::string head = "query-id\tcorpus-id\tscore\n";
  const std::tuple<std::string, std::string, std::string, std::string> cases[] = {
      {"", kQueries, kQrels, "has no corpus.jsonl; a data set in BEIR's layout is"},
      {kCorpus, "", kQrels, "has no queries.jsonl"},
      {kCorpus, kQueries, "", "has no qrels/test.tsv"},
      {kCorpus, "{\"_id\": \"q1\"}\n", kQrels, "queries.jsonl:1: has no field \"text\""},
      {kCorpus, "{\"text\": \"x\"}\n", kQrels, "queries.jsonl:1: has no field \"_id\""},
      {kCorpus, "{\"_id\": \"q 1\", \"text\": \"x\"}\n", kQrels, "queries.jsonl:1: the id \"q 1\" is empty or has white space"},
      {kCorpus, "{\"_id\": \"q1\", \"text\": 5}\n", kQrels, "queries.jsonl:1: the field \"text\" is 5, and must be a string"},
      {kCorpus, std::string(kQueries) + "{\"_id\": \"q1\", \"text\": \"again\"}\n", kQrels, "queries.jsonl:4: the id q1 occurs twice"},
      {kCorpus, "[1]\n", kQrels, "queries.jsonl:1: wants a JSON object, got [1]"},
      {kCorpus, "{\"_id\": \n", kQrels, "queries.jsonl:1:8: syntax error"},
      {kCorpus, kQueries, "q1\td1\t1\n", "qrels/test.tsv:1: wants a header, the three columns query-id, corpus-id and score"},
      {kCorpus, kQueries, "q1 0 d1 1\n", "qrels/test.tsv:1: wants a header"},
      {kCorpus, kQueries, head + "q1\td1\n", "qrels/test.tsv:2: has 2 columns, wants 3"},
      {kCorpus, kQueries, head + "q1\td1\t1\tx\n", "qrels/test.tsv:2: has 4 columns"},
      {kCorpus, kQueries, head + "q1\td1\tgood\n", "qrels/test.tsv:2: the relevance is \"good\", and must be a whole number"},
      {kCorpus, kQueries, head + "q1\td1\t0.5\n", "qrels/test.tsv:2: the relevance is \"0.5\""},
      {kCorpus, kQueries, head + "q1\td1\t99999999999\n", "qrels/test.tsv:2: the relevance is"},
      {kCorpus, kQueries, head + "q9\td1\t1\n", "qrels/test.tsv:2: there is no query with the id \"q9\""},
      {kCorpus, kQueries, head + "q1\td1\t1\nq1\td1\t0\n", "qrels/test.tsv:3: the query q1 has a second judgement of the document d1"},
      {kCorpus, kQueries, head, "its split test has no judgements"},
  };
  for (const auto& [corpus, queries, qrels, message] : cases) {
    const Scratch scratch;
    make(scratch, corpus, queries, qrels);
    EXPECT_PRED2(has, error_of([&] { read_beir(scratch.folder()); }), message);
  }
  EXPECT_PRED2(has, error_of([] { read_beir("/none/such"); }), "/none/such: is no folder");
}

TEST(RetrievalSet, ErrorsOfTheCorpus) {
  const std::pair<const char*, const char*> cases[] = {
      {"{\"_id\": \"d1\", \"text\": \"x\"}\n{\"_id\": \"d1\", \"text\": \"y\"}\n", "corpus.jsonl:2: the id d1 occurs twice"},
      {"{\"_id\": \"d1\", \"title\": 1, \"text\": \"x\"}\n", "corpus.jsonl:1: the field \"title\" is 1"},
      {"{\"_id\": \"\", \"text\": \"x\"}\n", "corpus.jsonl:1: the id \"\" is empty"},
      {"{\"_id\": \"d1\"}\n", "corpus.jsonl:1: has no field \"text\""}};
  for (const auto& [corpus, message] : cases) {
    const Scratch scratch;
    make(scratch, corpus);
    const RetrievalSet set = read_beir(scratch.folder());
    EXPECT_PRED2(has, error_of([&] { documents_of(set); }), message);
  }
}

TEST(RetrievalSet, BadLinesArePassedOverIfAskedFor) {
  const Scratch scratch;
  make(scratch, std::string(kCorpus) + "bad\n{\"_id\": \"d1\", \"text\": \"again\"}\n", std::string(kQueries) + "bad\n",
       std::string(kQrels) + "q1\td1\nq9\td1\t1\n");
  const RetrievalSet set = read_beir(scratch.folder(), "test", true);
  EXPECT_EQ(set.skipped.count, 3U);
  EXPECT_PRED2(has, set.skipped.first, "queries.jsonl:4:1: syntax error");
  EXPECT_EQ(set.queries.size(), 2U);
  const auto source = set.open_documents();
  size_t count = 0;
  for (Document document; source->next(document);) ++count;
  EXPECT_EQ(count, 3U);
  EXPECT_EQ(source->skipped().count, 2U);
}

}  // namespace
}  // namespace m2bert::data
