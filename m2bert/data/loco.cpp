#include "m2bert/data/loco.h"

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>

#include "m2bert/data/source.h"
#include "m2bert/error.h"
#include "m2bert/io/file.h"
#include "m2bert/io/json.h"

namespace m2bert::data {

namespace fs = std::filesystem;

namespace {

// The objects of JSON lines, or the rows of a Parquet file, as the hub has it.
class Objects {
 public:
  Objects(const fs::path& file, bool skip_bad) : skip_bad_(skip_bad) {
    if (file.extension() == ".parquet") rows_ = open_source(file, {.format = Format::parquet, .records = true});
    else lines_.emplace(file, skip_bad);
  }

  // As JsonLines::next.
  bool next(const std::function<void(const io::Tree& object)>& use) {
    if (lines_) return lines_->next(use);
    while (true) {
      try {
        std::string none;
        if (!rows_->next(none)) return false;
        use(rows_->kept());
        return true;
      } catch (const BadRecord& e) {
        skipped_.add(e, skip_bad_);
      }
    }
  }
  std::string where() const { return lines_ ? lines_->where() : rows_->where(); }
  const SkippedRecords& skipped() const { return lines_ ? lines_->skipped() : skipped_; }

 private:
  std::optional<JsonLines> lines_;
  std::unique_ptr<Source> rows_;
  bool skip_bad_;
  SkippedRecords skipped_;
};

bool is_absent(const io::Tree& object, const std::string& field) {
  const io::Tree* value = object.find(field);
  return value == nullptr || value->is_null();
}

// The documents of one of LoCoV1's sets.
class LocoDocuments : public DocumentSource {
 public:
  LocoDocuments(const fs::path& file, std::string set, bool skip_bad) : lines_(file, skip_bad), set_(std::move(set)) {}

  bool next(Document& document) override {
    for (bool taken = false; !taken;) {
      const bool there = lines_.next([&](const io::Tree& object) {
        if (string_member(object, "dataset", lines_.where()) != set_ || is_absent(object, "passage")) return;
        document = {string_member(object, "pid", lines_.where(), true), "", string_member(object, "passage", lines_.where())};
        if (!seen_.insert(document.id).second) bad_record(lines_.where(), ": the id ", document.id, " occurs twice in ", set_);
        taken = true;
      });
      if (!there) return false;
    }
    return true;
  }
  const SkippedRecords& skipped() const override { return lines_.skipped(); }

 private:
  Objects lines_;
  std::string set_;
  std::unordered_set<std::string> seen_;
};

// Sets and the ids of their documents that have no passage.
std::set<std::pair<std::string, std::string>> empty_passages(const fs::path& documents) {
  std::set<std::pair<std::string, std::string>> found;
  Objects lines(documents, true);  // bad lines are reported when the documents are read
  while (lines.next([&](const io::Tree& object) {
    if (is_absent(object, "passage"))
      found.emplace(string_member(object, "dataset", lines.where()), string_member(object, "pid", lines.where(), true));
  })) {
  }
  return found;
}

std::vector<std::string> answers_of(const io::Tree& object, const std::string& where) {
  const io::Tree* answers = object.find("answer_pids");
  if (answers == nullptr || !answers->is_list()) bad_record(where, ": wants a list \"answer_pids\" of the documents that answer the query");
  std::vector<std::string> ids;
  for (const io::Tree& item : answers->items()) {
    if (!item.is_string()) bad_record(where, ": answer_pids has ", item.shown(), ", and wants strings");
    ids.push_back(item.string());
  }
  return ids;
}

// One record of pairs.
struct Pair {
  std::string document, query;
  bool has_document = true;
};

// Qasper's text of a paper: each section's name, then its paragraphs.
std::string full_text(const io::Tree& value, const std::string& where) {
  std::string text;
  try {
    const auto& names = value.at("section_name").items();
    const auto& sections = value.at("paragraphs").items();
    require(names.size() == sections.size(), where, ": full_text has ", names.size(), " section names for ", sections.size(), " sections");
    for (size_t i = 0; i < names.size(); ++i) {
      if (!names[i].is_null()) text += names[i].string() + "\n";
      std::string joined;
      for (const io::Tree& paragraph : sections[i].items()) joined += (joined.empty() ? "" : " ") + paragraph.string();
      text += joined + "\n";
    }
  } catch (const Error& e) {
    throw BadRecord(e.what());
  }
  const size_t begin = text.find_first_not_of(" \t\n"), end = text.find_last_not_of(" \t\n");
  return begin == std::string::npos ? "" : text.substr(begin, end - begin + 1);
}

Pair pair_of(const io::Tree& object, const LocoPairs& pairs, const std::string& where) {
  const io::Tree* document = object.find(pairs.document);
  if (document == nullptr) bad_record(where, ": has no field \"", pairs.document, "\"");
  Pair pair;
  pair.query = string_member(object, pairs.query, where);
  if (document->is_null()) pair.has_document = false;
  else pair.document = document->is_map() ? full_text(*document, where) : string_member(object, pairs.document, where);
  return pair;
}

// The documents of a file of pairs. The numbers in the ids count all records.
class PairDocuments : public DocumentSource {
 public:
  PairDocuments(LocoPairs pairs, bool skip_bad) : pairs_(std::move(pairs)), lines_(pairs_.file, skip_bad) {}

  bool next(Document& document) override {
    for (bool taken = false; !taken;) {
      const bool there = lines_.next([&](const io::Tree& object) {
        const uint64_t number = count_++;
        Pair pair = pair_of(object, pairs_, lines_.where());
        if (!pair.has_document) return;
        document = {"Passage_" + std::to_string(number), "", std::move(pair.document)};
        taken = true;
      });
      if (!there) return false;
    }
    return true;
  }
  const SkippedRecords& skipped() const override { return lines_.skipped(); }

 private:
  LocoPairs pairs_;
  Objects lines_;
  uint64_t count_ = 0;
};

struct KnownSource {
  const char *name, *document, *query;
};
constexpr KnownSource kSources[] = {{"summ_screen_fd", "input", "output"},
                                    {"gov_report", "input", "output"},
                                    {"qmsum", "input", "output"},
                                    {"qasper_title", "full_text", "title"},
                                    {"qasper_abstract", "full_text", "abstract"},
                                    {"multifieldqa_en", "context", "input"},
                                    {"2wikimqa", "context", "input"},
                                    {"passage_retrieval_en", "context", "input"},
                                    {"courtlistener_HTML", "Document_HTML", "Query"},
                                    {"courtlistener_Plain_Text", "Document_Plain_Text", "Query"},
                                    {"stackoverflow", "passage", "query"}};

std::string json_line(const io::Tree& object) { return io::to_json(object) + "\n"; }

}  // namespace

std::vector<RetrievalSet> read_loco(const fs::path& queries, const fs::path& documents, bool skip_bad) {
  const auto empty = empty_passages(documents);
  std::vector<std::string> names;
  std::map<std::string, JudgedQueries> judged;
  Objects lines(queries, skip_bad);
  while (lines.next([&](const io::Tree& object) {
    const std::string set = string_member(object, "dataset", lines.where());
    const std::string id = string_member(object, "qid", lines.where(), true);
    const auto answers = answers_of(object, lines.where());
    if (std::ranges::find(names, set) == names.end()) names.push_back(set);
    judged[set].add_query(id, string_member(object, "query", lines.where()), lines.where());
    for (const std::string& answer : answers)
      if (!empty.contains({set, answer})) judged[set].add_judgement(id, {answer, 1}, lines.where());
  })) {
  }
  require(!names.empty(), queries.string(), ": has no queries");
  std::vector<RetrievalSet> sets;
  for (const std::string& name : names) {
    RetrievalSet& set = sets.emplace_back();
    set.name = name;
    set.queries = judged[name].finish();
    set.open_documents = [documents, name, skip_bad] { return std::make_unique<LocoDocuments>(documents, name, skip_bad); };
  }
  std::erase_if(sets, [](const RetrievalSet& set) { return set.queries.empty(); });
  require(!sets.empty(), queries.string(), ": no query has an answer");
  sets.front().skipped = lines.skipped();
  return sets;
}

std::vector<RetrievalSet> find_loco(const fs::path& folder, const std::string& split, bool skip_bad) {
  const auto queries = find_compressed(folder / "queries.jsonl"), documents = find_compressed(folder / "documents.jsonl");
  if (queries && documents) return read_loco(*queries, *documents, skip_bad);
  if (find_compressed(folder / "corpus.jsonl")) return {read_beir(folder, split, skip_bad)};
  std::vector<fs::path> inside;
  std::error_code none;
  for (const auto& entry : fs::directory_iterator(folder, none))
    if (find_compressed(entry.path() / "corpus.jsonl")) inside.push_back(entry.path());
  std::ranges::sort(inside);
  require(!inside.empty(), folder.string(),
          ": has neither LoCoV1's queries.jsonl and documents.jsonl, nor data sets as m2bert data loco makes them");
  std::vector<RetrievalSet> sets;
  for (const fs::path& each : inside) sets.push_back(read_beir(each, split, skip_bad));
  return sets;
}

LocoPairs loco_pairs(const std::string& name, const fs::path& file, const std::string& document, const std::string& query) {
  LocoPairs pairs{name, file, document, query};
  std::string known;
  for (const KnownSource& source : kSources) {
    known += (known.empty() ? "" : ", ") + std::string(source.name);
    if (name != source.name) continue;
    if (document.empty()) pairs.document = source.document;
    if (query.empty()) pairs.query = source.query;
  }
  require(!pairs.document.empty() && !pairs.query.empty(), name,
          ": is no known source; name the fields of documents and queries. Known are ", known);
  return pairs;
}

RetrievalSet read_loco_pairs(const LocoPairs& pairs, bool skip_bad) {
  RetrievalSet set;
  set.name = pairs.name;
  Objects lines(pairs.file, skip_bad);
  uint64_t count = 0;
  while (lines.next([&](const io::Tree& object) {
    const std::string number = std::to_string(count++);
    Pair pair = pair_of(object, pairs, lines.where());
    if (pair.has_document) set.queries.push_back({"Query_" + number, std::move(pair.query), {{"Passage_" + number, 1}}});
  })) {
  }
  require(!set.queries.empty(), pairs.file.string(), ": has no pair of a document and a query");
  set.open_documents = [pairs, skip_bad] { return std::make_unique<PairDocuments>(pairs, skip_bad); };
  return set;
}

WrittenSet write_beir(const RetrievalSet& set, const fs::path& folder, const std::string& split) {
  WrittenSet written;
  io::AtomicFile corpus(folder / "corpus.jsonl"), queries(folder / "queries.jsonl");
  const auto documents = set.open_documents();
  for (Document document; documents->next(document); ++written.documents)
    corpus.write(json_line({{"_id", document.id}, {"title", document.title}, {"text", document.text}}));
  written.skipped = set.skipped;
  written.skipped.add(documents->skipped());
  fs::create_directories(folder / "qrels");
  io::AtomicFile qrels(folder / "qrels" / (split + ".tsv"));
  qrels.write("query-id\tcorpus-id\tscore\n");
  for (const JudgedQuery& query : set.queries) {
    queries.write(json_line({{"_id", query.id}, {"text", query.text}}));
    for (const Judgement& judgement : query.judgements)
      qrels.write(query.id + "\t" + judgement.document + "\t" + std::to_string(judgement.relevance) + "\n");
    written.judgements += query.judgements.size();
  }
  written.queries = set.queries.size();
  corpus.commit();
  queries.commit();
  qrels.commit();
  return written;
}

}  // namespace m2bert::data
