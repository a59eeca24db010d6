#pragma once
// LoCo, the benchmark of long documents: its files as they are published, and the sources that it was made of.
#include <filesystem>
#include <string>
#include <vector>

#include "m2bert/data/retrieval_set.h"

namespace m2bert::data {

// LoCoV1 (hazyresearch/LoCoV1-Queries and LoCoV1-Documents on the hub), as JSON lines or Parquet files with these fields:
//   queries    {"dataset": "qmsum", "qid": "Query_0", "query": "...", "answer_pids": ["Passage_0"]}
//   documents  {"dataset": "qmsum", "pid": "Passage_0", "passage": "..."}
// A set for each value of "dataset", in the order of the queries' file. Documents without a passage (null) are left out, and so are queries
// that they alone answer, as upstream does. Errors: as read_beir.
std::vector<RetrievalSet> read_loco(const std::filesystem::path& queries, const std::filesystem::path& documents, bool skip_bad = false);

// The sets of a folder: LoCoV1's files queries.jsonl and documents.jsonl; or a set in BEIR's layout; or folders of such sets, by name.
// Error: the folder has none of these.
std::vector<RetrievalSet> find_loco(const std::filesystem::path& folder, const std::string& split = "test", bool skip_bad = false);

// A file of JSON lines or a Parquet file, each record with a document and its query, of which upstream first made LoCo.
struct LocoPairs {
  std::string name;  // of the set
  std::filesystem::path file;
  std::string document, query;  // fields
};

// The fields of a known source:
//   summ_screen_fd, gov_report, qmsum                       (Tau Scrolls)   input, output
//   qasper_title, qasper_abstract                           (Qasper)        full_text: sections with their names; title or abstract
//   multifieldqa_en, 2wikimqa, passage_retrieval_en         (LongBench)     context, input
//   courtlistener_HTML, courtlistener_Plain_Text                            Document_HTML or Document_Plain_Text, Query
//   stackoverflow                                                           passage, query
// Error for another name, unless both fields are given.
LocoPairs loco_pairs(const std::string& name, const std::filesystem::path& file, const std::string& document = "",
                     const std::string& query = "");

// The set of such a file: record i is the document Passage_i, which answers Query_i. Records without a document (null) are left out.
RetrievalSet read_loco_pairs(const LocoPairs& pairs, bool skip_bad = false);

// Writes a set in BEIR's layout: corpus.jsonl, queries.jsonl and qrels/SPLIT.tsv in the folder, which exists.
struct WrittenSet {
  uint64_t documents = 0, queries = 0, judgements = 0;
  SkippedRecords skipped;  // of all files
};
WrittenSet write_beir(const RetrievalSet& set, const std::filesystem::path& folder, const std::string& split = "test");

}  // namespace m2bert::data
