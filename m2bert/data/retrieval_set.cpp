#include "m2bert/data/retrieval_set.h"

#include <algorithm>
#include <charconv>

#include "m2bert/error.h"
#include "m2bert/io/hash.h"
#include "m2bert/io/number_text.h"
#include "m2bert/io/utf8.h"

namespace m2bert::data {

namespace fs = std::filesystem;

namespace {

// "_id" as BEIR has it, or "id" as MTEB's newer sets do.
std::string id_of(const io::Tree& object, const std::string& where) {
  std::string id = string_member(object, !object.contains("_id") && object.contains("id") ? "id" : "_id", where, true);
  if (id.empty() || id.find_first_of(" \t\n\r") != std::string::npos)
    bad_record(where, ": the id ", io::printable("\"" + id + "\"", 60),
               " is empty or has white space, which files of judgements and runs cannot hold");
  return id;
}

std::string title_of(const io::Tree& object, const std::string& where) {
  const io::Tree* title = object.find("title");
  return title == nullptr || title->is_null() ? std::string() : string_member(object, "title", where);
}

class BeirDocuments : public DocumentSource {
 public:
  BeirDocuments(const fs::path& file, bool skip_bad) : lines_(file, skip_bad) {}

  bool next(Document& document) override {
    return lines_.next([&](const io::Tree& object) {
      document = {id_of(object, lines_.where()), title_of(object, lines_.where()), string_member(object, "text", lines_.where())};
      if (!seen_.insert(io::hash64(document.id)).second) bad_record(lines_.where(), ": the id ", document.id, " occurs twice");
    });
  }
  const SkippedRecords& skipped() const override { return lines_.skipped(); }

 private:
  JsonLines lines_;
  std::unordered_set<uint64_t> seen_;  // hashes of the ids: a corpus has millions
};

fs::path need_file(const fs::path& folder, const char* name) {
  const auto file = find_compressed(folder / name);
  require(file.has_value(), folder.string(), ": has no ", name,
          "; a data set in BEIR's layout is corpus.jsonl, queries.jsonl and qrels/SPLIT.tsv");
  return *file;
}

void read_queries(const fs::path& file, bool skip_bad, JudgedQueries& queries, SkippedRecords& skipped) {
  JsonLines lines(file, skip_bad);
  while (lines.next([&](const io::Tree& object) {
    queries.add_query(id_of(object, lines.where()), string_member(object, "text", lines.where()), lines.where());
  })) {
  }
  skipped.add(lines.skipped());
}

std::vector<std::string> split_tabs(const std::string& line) {
  std::vector<std::string> columns(1);
  for (const char c : line) {
    if (c == '\t') columns.emplace_back();
    else columns.back() += c;
  }
  return columns;
}

std::optional<int32_t> whole_number(const std::string& text) {
  int32_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

constexpr const char* kTsvColumns = "query-id, corpus-id and score, divided by tabs";

void read_tsv_line(const std::string& line, const std::string& where, JudgedQueries& queries) {
  const auto columns = split_tabs(line);
  if (columns.size() != 3) bad_record(where, ": has ", io::counted(columns.size(), "column"), ", wants 3: ", kTsvColumns);
  const auto relevance = whole_number(columns[2]);
  if (!relevance) bad_record(where, ": the relevance is ", io::printable("\"" + columns[2] + "\"", 40), ", and must be a whole number");
  queries.add_judgement(columns[0], {columns[1], *relevance}, where);
}

void check_header(const std::string& line, const std::string& where) {
  const auto columns = split_tabs(line);
  require(columns.size() == 3 && !whole_number(columns[2]), where, ": wants a header, the three columns ", kTsvColumns, ", got ",
          io::printable("\"" + line + "\"", 80));
}

void read_tsv(const fs::path& file, bool skip_bad, JudgedQueries& queries, SkippedRecords& skipped) {
  LineReader lines(file, size_t{1} << 20);
  std::string line;
  require(lines.next(line), file.string(), ": is empty; it wants a header, then a judgement a line: ", kTsvColumns);
  check_header(line, lines.where());
  while (lines.next(line)) {
    if (line.empty()) continue;
    try {
      read_tsv_line(line, lines.where(), queries);
    } catch (const BadRecord& e) {
      skipped.add(e, skip_bad);
    }
  }
}

int32_t relevance_of(const io::Tree& object, const std::string& where) {
  const io::Tree* score = object.find("score");
  if (score == nullptr) bad_record(where, ": has no field \"score\"");
  try {
    return score->as<int32_t>();
  } catch (const Error&) {
    bad_record(where, ": the relevance is ", score->shown(), ", and must be a whole number");
  }
}

void read_jsonl(const fs::path& file, bool skip_bad, JudgedQueries& queries, SkippedRecords& skipped) {
  JsonLines lines(file, skip_bad);
  while (lines.next([&](const io::Tree& object) {
    queries.add_judgement(string_member(object, "query-id", lines.where(), true),
                          {string_member(object, "corpus-id", lines.where(), true), relevance_of(object, lines.where())}, lines.where());
  })) {
  }
  skipped.add(lines.skipped());
}

// "test, train": the splits that a folder has.
std::string splits_of(const fs::path& qrels) {
  std::vector<std::string> names;
  std::error_code none;
  for (const auto& entry : fs::directory_iterator(qrels, none)) {
    const std::string name = entry.path().filename().string();
    if (const size_t end = std::min(name.find(".tsv"), name.find(".jsonl")); end != std::string::npos) names.push_back(name.substr(0, end));
  }
  std::ranges::sort(names);
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

void read_judgements(const fs::path& folder, const std::string& split, bool skip_bad, JudgedQueries& queries, SkippedRecords& skipped) {
  const fs::path qrels = folder / "qrels";
  if (const auto tsv = find_compressed(qrels / (split + ".tsv"))) return read_tsv(*tsv, skip_bad, queries, skipped);
  if (const auto jsonl = find_compressed(qrels / (split + ".jsonl"))) return read_jsonl(*jsonl, skip_bad, queries, skipped);
  const std::string splits = splits_of(qrels);
  fail(folder.string(), ": has no qrels/", split, ".tsv", splits.empty() ? "" : "; its splits are " + splits + " (see --split)");
}

// "scifact" of "data/scifact/".
std::string name_of(const fs::path& folder) {
  const fs::path clean = fs::absolute(folder).lexically_normal();
  return clean.has_filename() ? clean.filename().string() : clean.parent_path().filename().string();
}

}  // namespace

std::optional<fs::path> find_compressed(const fs::path& file) {
  std::error_code none;
  for (const char* ending : {"", ".gz", ".zst"})
    if (const fs::path found = file.string() + ending; fs::exists(found, none)) return found;
  return std::nullopt;
}

void JudgedQueries::add_query(std::string id, std::string text, const std::string& where) {
  if (!index_.try_emplace(id, queries_.size()).second) bad_record(where, ": the id ", id, " occurs twice");
  queries_.push_back({std::move(id), std::move(text), {}});
}

void JudgedQueries::add_judgement(const std::string& query, Judgement judgement, const std::string& where) {
  const auto found = index_.find(query);
  if (found == index_.end()) bad_record(where, ": there is no query with the id ", io::printable("\"" + query + "\"", 60));
  if (!judged_[found->second].insert(judgement.document).second)
    bad_record(where, ": the query ", query, " has a second judgement of the document ", judgement.document);
  queries_[found->second].judgements.push_back(std::move(judgement));
}

std::vector<JudgedQuery> JudgedQueries::finish() {
  std::erase_if(queries_, [](const JudgedQuery& query) { return query.judgements.empty(); });
  return std::move(queries_);
}

RetrievalSet read_beir(const fs::path& folder, const std::string& split, bool skip_bad) {
  std::error_code none;
  require(fs::is_directory(folder, none), folder.string(), ": is no folder");
  const fs::path corpus = need_file(folder, "corpus.jsonl");
  RetrievalSet set;
  set.name = name_of(folder);
  JudgedQueries queries;
  read_queries(need_file(folder, "queries.jsonl"), skip_bad, queries, set.skipped);
  read_judgements(folder, split, skip_bad, queries, set.skipped);
  set.queries = queries.finish();
  require(!set.queries.empty(), folder.string(), ": its split ", split, " has no judgements");
  set.open_documents = [corpus, skip_bad] { return std::make_unique<BeirDocuments>(corpus, skip_bad); };
  return set;
}

}  // namespace m2bert::data
