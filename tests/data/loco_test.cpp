#include "m2bert/data/loco.h"

#include <gtest/gtest.h>

#include "m2bert/io/file.h"
#include "tests/support/paths.h"
#include "tests/support/scratch.h"

namespace m2bert::data {
namespace {

namespace fs = std::filesystem;
using test::error_of;
using test::has;
using test::Scratch;

constexpr const char* kQueries =
    "{\"dataset\": \"qmsum\", \"qid\": \"Query_0\", \"query\": \"what?\", \"answer_pids\": [\"Passage_0\"]}\n"
    "{\"dataset\": \"qasper_title\", \"qid\": \"Query_0\", \"query\": \"paper one\", \"answer_pids\": [\"Passage_0\"]}\n"
    "{\"dataset\": \"qasper_title\", \"qid\": \"Query_1\", \"query\": \"paper two\", \"answer_pids\": [\"Passage_1\"]}\n";
constexpr const char* kDocuments =
    "{\"dataset\": \"qasper_title\", \"pid\": \"Passage_0\", \"passage\": \"text one\"}\n"
    "{\"dataset\": \"qmsum\", \"pid\": \"Passage_0\", \"passage\": \"a meeting\"}\n"
    "{\"dataset\": \"qasper_title\", \"pid\": \"Passage_1\", \"passage\": null}\n"
    "{\"dataset\": \"qmsum\", \"pid\": \"Passage_1\", \"passage\": \"another\"}\n";

std::vector<std::string> ids_of(const RetrievalSet& set) {
  std::vector<std::string> ids;
  const auto source = set.open_documents();
  for (Document document; source->next(document);) ids.push_back(document.id + ": " + document.text);
  return ids;
}

TEST(Loco, ReadsTheFilesOfLoCoV1) {
  const Scratch scratch;
  scratch.put("queries.jsonl", kQueries);
  scratch.put("documents.jsonl", kDocuments);
  const auto sets = find_loco(scratch.folder());
  ASSERT_EQ(sets.size(), 2U);
  EXPECT_EQ(sets[0].name, "qmsum");
  EXPECT_EQ(ids_of(sets[0]), (std::vector<std::string>{"Passage_0: a meeting", "Passage_1: another"}));
  EXPECT_EQ(sets[1].name, "qasper_title");
  ASSERT_EQ(sets[1].queries.size(), 1U);  // the answer of the other has no passage
  EXPECT_EQ(sets[1].queries[0].text, "paper one");
  EXPECT_EQ(sets[1].queries[0].judgements[0].relevance, 1);
  EXPECT_EQ(ids_of(sets[1]), (std::vector<std::string>{"Passage_0: text one"}));
}

// The golden file's column "other" is null in every third row.
TEST(Loco, ReadsParquet) {
  const LocoPairs pairs{"golden", test::source_dir() / "tests/golden/parquet/plain.parquet", "text", "other"};
  EXPECT_PRED2(has, error_of([&] { read_loco_pairs(pairs); }), "plain.parquet: row 1: the field \"other\" is null");
  const auto set = read_loco_pairs(pairs, true);
  ASSERT_EQ(set.queries.size(), 40U);
  EXPECT_EQ(set.queries[0].id, "Query_1");
  EXPECT_EQ(set.queries[0].text, "prefix 0 1");
  const auto documents = ids_of(set);
  ASSERT_EQ(documents.size(), 40U);
  EXPECT_EQ(documents[0], "Passage_1: text 1 蝶 x");
}

// Also where the first set has no query that is left.
TEST(Loco, CountsWhatItSkips) {
  const Scratch scratch;
  const auto queries =
      scratch.put("q.jsonl", "{\"dataset\": \"empty\", \"qid\": \"Query_0\", \"query\": \"?\", \"answer_pids\": []}\nno JSON\n" +
                                 std::string(kQueries));
  const auto sets = read_loco(queries, scratch.put("d.jsonl", kDocuments), true);
  ASSERT_EQ(sets.size(), 2U);
  EXPECT_EQ(sets[0].name, "qmsum");
  EXPECT_EQ(sets[0].skipped.count, 1U);
  EXPECT_PRED2(has, sets[0].skipped.first, "q.jsonl:2:");
  fs::create_directories(scratch / "qmsum");
  EXPECT_EQ(write_beir(sets[0], scratch / "qmsum").skipped.count, 1U);
}

TEST(Loco, WritesAndFindsFoldersInBeirsLayout) {
  const Scratch scratch;
  const auto sets = read_loco(scratch.put("q.jsonl", kQueries), scratch.put("d.jsonl", kDocuments));
  for (const RetrievalSet& set : sets) {
    fs::create_directories(scratch / "loco/" / set.name);
    const WrittenSet written = write_beir(set, scratch / "loco/" / set.name);
    EXPECT_EQ(written.queries, 1U);
    EXPECT_EQ(written.documents, set.name == "qmsum" ? 2U : 1U);
  }
  EXPECT_EQ(io::read_file(scratch / "loco/qmsum/qrels/test.tsv"), "query-id\tcorpus-id\tscore\nQuery_0\tPassage_0\t1\n");
  const auto found = find_loco(scratch / "loco");
  ASSERT_EQ(found.size(), 2U);
  EXPECT_EQ(found[0].name, "qasper_title");  // by name
  EXPECT_EQ(ids_of(found[1]), ids_of(sets[0]));
  EXPECT_EQ(find_loco(scratch / "loco/qmsum").front().queries.front().text, "what?");
}

TEST(Loco, ReadsSources) {
  const Scratch scratch;
  const auto qmsum = scratch.put(
      "qmsum.jsonl",
      "{\"input\": \"long\", \"output\": \"short\"}\n{\"input\": null, \"output\": \"x\"}\n{\"input\": \"l\", \"output\": \"s\"}\n");
  const RetrievalSet set = read_loco_pairs(loco_pairs("qmsum", qmsum));
  EXPECT_EQ(ids_of(set), (std::vector<std::string>{"Passage_0: long", "Passage_2: l"}));
  ASSERT_EQ(set.queries.size(), 2U);
  EXPECT_EQ(set.queries[1].id, "Query_2");
  EXPECT_EQ(set.queries[1].judgements[0].document, "Passage_2");
  const auto qasper = scratch.put("qasper.jsonl",
                                  "{\"title\": \"T\", \"abstract\": \"A\", \"full_text\": {\"section_name\": [\"One\", null], "
                                  "\"paragraphs\": [[\"p1\", \"p2\"], [\"p3\"]]}}\n");
  EXPECT_EQ(ids_of(read_loco_pairs(loco_pairs("qasper_abstract", qasper))), (std::vector<std::string>{"Passage_0: One\np1 p2\np3"}));
  EXPECT_EQ(read_loco_pairs(loco_pairs("qasper_title", qasper)).queries[0].text, "T");
  EXPECT_EQ(read_loco_pairs(loco_pairs("mine", qmsum, "input", "output")).name, "mine");
}

TEST(Loco, Errors) {
  const Scratch scratch;
  const auto documents = scratch.put("d.jsonl", kDocuments);
  const auto queries = [&](const std::string& text) { return scratch.put("q.jsonl", text); };
  EXPECT_PRED2(has, error_of([&] { read_loco(queries(""), documents); }), "q.jsonl: has no queries");
  EXPECT_PRED2(has, error_of([&] { read_loco(queries("{\"qid\": \"1\"}\n"), documents); }), "q.jsonl:1: has no field \"dataset\"");
  EXPECT_PRED2(has, error_of([&] {
                 read_loco(queries("{\"dataset\": \"a\", \"qid\": \"1\", \"query\": \"x\", \"answer_pids\": \"p\"}\n"), documents);
               }),
               "q.jsonl:1: wants a list \"answer_pids\"");
  EXPECT_PRED2(has, error_of([&] { read_loco(queries(std::string(kQueries) + kQueries), documents); }),
               "q.jsonl:4: the id Query_0 occurs twice");
  EXPECT_PRED2(has, error_of([&] { find_loco(scratch / "none"); }), "has neither LoCoV1's queries.jsonl and documents.jsonl, nor");
  EXPECT_PRED2(has, error_of([&] { loco_pairs("mine", "f"); }), "mine: is no known source; name the fields");
  const auto bad = scratch.put("bad.jsonl", "{\"title\": \"T\", \"full_text\": {\"section_name\": [\"One\"], \"paragraphs\": []}}\n");
  EXPECT_PRED2(has, error_of([&] { read_loco_pairs(loco_pairs("qasper_title", bad)); }),
               "bad.jsonl:1: full_text has 1 section names for 0 sections");
  EXPECT_PRED2(has, error_of([&] { read_loco_pairs(loco_pairs("qmsum", bad)); }), "bad.jsonl:1: has no field \"input\"");
}

}  // namespace
}  // namespace m2bert::data
