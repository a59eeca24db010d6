#pragma once
// Data sets of retrieval benchmarks: documents, queries, and judgements of which document answers which query.
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "m2bert/data/json_lines.h"

namespace m2bert::data {

struct Document {
  std::string id, title, text;
};

// Documents, one at a time.
class DocumentSource {
 public:
  virtual ~DocumentSource() = default;
  // False at the end. BadRecord, "file:line: what": a line that is no document; an id that occurs twice.
  virtual bool next(Document& document) = 0;
  virtual const SkippedRecords& skipped() const = 0;
};

struct Judgement {
  std::string document;
  int32_t relevance = 0;  // relevant if it is at least 1
};

struct JudgedQuery {
  std::string id, text;
  std::vector<Judgement> judgements;  // at least one, in the order of their file
};

struct RetrievalSet {
  std::string name;
  std::vector<JudgedQuery> queries;  // those with judgements, in the order of their file
  SkippedRecords skipped;            // lines of queries and judgements
  // Opens the documents; each call starts from the beginning.
  std::function<std::unique_ptr<DocumentSource>()> open_documents;
};

// A folder in BEIR's layout:
//   corpus.jsonl     {"_id": "d1", "title": "...", "text": "..."} a line; the title may be absent
//   queries.jsonl    {"_id": "q1", "text": "..."}
//   qrels/SPLIT.tsv  a header, then query id, document id and relevance (a whole number), divided by tabs. MTEB's qrels/SPLIT.jsonl,
//                    {"query-id": "q1", "corpus-id": "d1", "score": 1}, does as well
// Ids may also be numbers, and be named "id". Files may be compressed and end in .gz or .zst. Queries without judgements are left out.
// Errors: a file is missing; a line cannot be used ("file:line: what"): wrong fields or columns, a relevance that is no number, an id or a
// judgement that occurs twice, a judgement of an unknown query; no judgements at all. skip_bad: such lines are passed over and counted.
RetrievalSet read_beir(const std::filesystem::path& folder, const std::string& split = "test", bool skip_bad = false);

// corpus.jsonl or corpus.jsonl.gz or corpus.jsonl.zst for "corpus.jsonl"; nullopt: there is none.
std::optional<std::filesystem::path> find_compressed(const std::filesystem::path& file);

// Collects queries and their judgements. Errors are BadRecords that begin with `where`.
class JudgedQueries {
 public:
  // Error: the id occurs twice.
  void add_query(std::string id, std::string text, const std::string& where);
  // Error: there is no such query, or it has a judgement of that document already.
  void add_judgement(const std::string& query, Judgement judgement, const std::string& where);
  // The queries that have judgements.
  std::vector<JudgedQuery> finish();

 private:
  std::vector<JudgedQuery> queries_;
  std::unordered_map<std::string, size_t> index_;
  std::unordered_map<size_t, std::unordered_set<std::string>> judged_;  // of each query
};

}  // namespace m2bert::data
