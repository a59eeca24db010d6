#include "m2bert/data/retrieval_folder.h"

#include <algorithm>
#include <charconv>
#include <functional>
#include <optional>
#include <unordered_map>

#include "m2bert/data/loco.h"
#include "m2bert/data/retrieval_set.h"
#include "m2bert/data/source.h"
#include "m2bert/error.h"
#include "m2bert/io/json.h"
#include "m2bert/io/utf8.h"

namespace m2bert::data {
namespace {

namespace fs = std::filesystem;
using io::Tree;

fs::path need_file(const fs::path& folder, const std::string& name) {
  const auto found = find_compressed(folder / name);
  require(found.has_value(), folder.string(), ": has no ", name);
  return *found;
}

// A record of JSON lines or of a table, with its place.
class Record {
 public:
  Record(const Tree& tree, std::string where) : tree_(tree), where_(std::move(where)) {}
  const std::string& where() const { return where_; }

  const Tree& at(const std::string& key) const {
    const Tree* value = tree_.find(key);
    require(value != nullptr, where_, ": has no ", key);
    return *value;
  }
  // An id or a text. Ids may be numbers.
  std::string string(const std::string& key) const { return string_of(at(key), key); }
  std::vector<std::string> strings(const std::string& key) const {
    std::vector<std::string> all;
    if (!at(key).is_list()) return {string(key)};
    for (const auto& item : at(key).items()) all.push_back(string_of(item, key));
    return all;
  }
  std::string string_of(const Tree& value, const std::string& key) const {
    if (value.is_integer()) return std::to_string(value.integer());
    require(value.is_string(), where_, ": ", key, " wants a string, got ", value.shown());
    return value.string();
  }
  double number(const std::string& key) const {
    if (at(key).is_number()) return at(key).number();
    const std::string text = string(key);
    double value = 0;
    const auto [stop, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
    require(problem == std::errc() && stop == text.data() + text.size() && value == value, where_, ": column ", key,
            " wants a number, got \"", io::printable(text, 40), "\"");
    return value;
  }
  size_t size() const { return tree_.size(); }
  const Tree& tree() const { return tree_; }

 private:
  const Tree& tree_;
  std::string where_;
};

void for_each_record(const fs::path& file, SourceOptions how, const std::function<void(const Record&)>& use) {
  how.records = true;
  const auto source = open_source(file, how);
  for (std::string none; source->next(none);) use(Record(source->kept(), source->where()));
}

SourceOptions json_lines() { return {.format = Format::jsonl}; }
SourceOptions plain_table(bool header) { return {.format = Format::tsv, .header = header, .quotes = false}; }

struct IdSample {
  std::string query;
  std::vector<std::string> passages;
  std::string where;
};

// Samples as ids, then the texts of the ids that they need.
class Collection {
 public:
  Collection(RetrievalData& data, bool all_passages) : data_(data), all_passages_(all_passages) {}

  void add(IdSample sample) {
    queries_.emplace(sample.query, std::nullopt);
    for (const auto& id : sample.passages) passages_.emplace(id, std::nullopt);
    samples_.push_back(std::move(sample));
  }

  void add_query(const std::string& id, const std::string& text, const std::string& where) { set(queries_, id, text, where, "query"); }

  void add_passage(const std::string& id, const std::string& text, const std::string& where) {
    if (all_passages_) passages_.emplace(id, std::nullopt);
    set(passages_, id, text, where, "passage");
    if (all_passages_) data_.add_passage(text);
  }

  void finish(const std::string& name) {
    require(!samples_.empty(), name, ": has no query with a relevant passage");
    for (const auto& sample : samples_) {
      RetrievalSample found{number_of(queries_, sample.query, sample.where, "query"), {}, {}};
      for (const auto& id : sample.passages) found.passages.push_back(number_of(passages_, id, sample.where, "passage"));
      data_.add(std::move(found));
    }
  }

 private:
  using Numbers = std::unordered_map<std::string, std::optional<uint32_t>>;

  void set(Numbers& numbers, const std::string& id, const std::string& text, const std::string& where, const char* what) {
    const auto found = numbers.find(id);
    if (found == numbers.end()) return;
    require(!found->second, where, ": there is a second ", what, " with the id ", io::printable(id, 60));
    require(!text.empty(), where, ": the ", what, " ", io::printable(id, 60), " has no text");
    found->second = data_.add_text(text);
  }

  static uint32_t number_of(const Numbers& numbers, const std::string& id, const std::string& where, const char* what) {
    const auto& number = numbers.at(id);
    require(number.has_value(), where, ": there is no ", what, " with the id ", io::printable(id, 60));
    return *number;
  }

  RetrievalData& data_;
  bool all_passages_;
  Numbers queries_, passages_;
  std::vector<IdSample> samples_;
};

std::string with_title(const Document& document) {
  return document.title.empty() || document.text.empty() ? document.title + document.text : document.title + " " + document.text;
}

void read_set(const RetrievalSet& set, const std::string& name, const RetrievalFolderOptions& options, RetrievalData& data) {
  Collection collection(data, options.all_passages);
  for (const auto& query : set.queries) {
    const auto where = name + ": the judgements of query " + query.id;
    for (const auto& judgement : query.judgements)
      if (judgement.relevance > 0) collection.add({query.id, {judgement.document}, where});
    collection.add_query(query.id, query.text, where);
  }
  const auto documents = set.open_documents();
  for (Document document; documents->next(document);)
    collection.add_passage(document.id, with_title(document), name + ": document " + document.id);
  collection.finish(name);
}

bool is_hard_negatives(const std::string& name) { return name.find("hard-negatives") != std::string::npos; }
bool is_triples(const std::string& name) { return name.starts_with("qidpidtriples"); }

// The file that says which passages belong to which query.
fs::path find_triples(const fs::path& folder, const std::string& split) {
  std::vector<fs::path> found;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const auto name = entry.path().filename().string();
    if (is_triples(name) || is_hard_negatives(name)) found.push_back(entry.path());
  }
  if (found.empty()) return need_file(folder, "qrels." + split + ".tsv");
  std::ranges::sort(found);
  require(found.size() == 1, folder.string(), ": has several files of triples, ", found.front().filename().string(), " and ",
          found.back().filename().string(), "; say which one");
  return found[0];
}

// A list of ids, or the lists of several systems.
std::vector<std::string> negative_ids(const Record& record) {
  const Tree* negatives = record.tree().find("neg");
  if (!negatives || negatives->is_null()) return {};
  if (!negatives->is_map()) return record.strings("neg");
  std::vector<std::string> all;
  for (const auto& system : negatives->members())
    for (const auto& id : system.value.items())
      if (const auto text = record.string_of(id, "neg"); std::ranges::find(all, text) == all.end()) all.push_back(text);
  return all;
}

void add_hard_negatives(const Record& record, Collection& collection) {
  const auto negatives = negative_ids(record);
  for (const auto& positive : record.strings("pos")) {
    std::vector<std::string> passages{positive};
    passages.insert(passages.end(), negatives.begin(), negatives.end());
    collection.add({record.string("qid"), passages, record.where()});
  }
}

void read_msmarco(const fs::path& folder, const RetrievalFolderOptions& options, Collection& collection) {
  const auto triples = options.triples.empty() ? find_triples(folder, options.split) : options.triples;
  const auto name = triples.filename().string();
  if (is_hard_negatives(name)) {
    for_each_record(triples, json_lines(), [&](const Record& r) { add_hard_negatives(r, collection); });
  } else if (is_triples(name)) {
    for_each_record(triples, plain_table(false),
                    [&](const Record& r) { collection.add({r.string("1"), {r.string("2"), r.string("3")}, r.where()}); });
  } else {
    for_each_record(triples, plain_table(false), [&](const Record& r) {
      if (r.number("4") > 0) collection.add({r.string("1"), {r.string("3")}, r.where()});
    });
  }
  const auto own = find_compressed(folder / ("queries." + options.split + ".tsv"));
  for_each_record(own ? *own : need_file(folder, "queries.tsv"), plain_table(false),
                  [&](const Record& r) { collection.add_query(r.string("1"), r.string("2"), r.where()); });
  for_each_record(need_file(folder, "collection.tsv"), plain_table(false),
                  [&](const Record& r) { collection.add_passage(r.string("1"), r.string("2"), r.where()); });
}

}  // namespace

RetrievalLayout layout_of(const fs::path& folder) {
  if (find_compressed(folder / "corpus.jsonl")) return RetrievalLayout::beir;
  if (find_compressed(folder / "documents.jsonl")) return RetrievalLayout::loco;
  if (find_compressed(folder / "collection.tsv")) return RetrievalLayout::msmarco;
  fail(folder.string(),
       ": is no folder of retrieval data; it wants corpus.jsonl, queries.jsonl and qrels (BEIR), documents.jsonl and queries.jsonl (LoCo), "
       "or "
       "collection.tsv, queries.tsv and triples (MS MARCO)");
}

void read_retrieval_folder(const fs::path& folder, const RetrievalFolderOptions& options, RetrievalData& data) {
  const auto name = folder.string();
  switch (layout_of(folder)) {
    case RetrievalLayout::beir: read_set(read_beir(folder, options.split), name, options, data); break;
    case RetrievalLayout::loco:
      for (const auto& set : find_loco(folder, options.split)) read_set(set, name + ", " + set.name, options, data);
      break;
    case RetrievalLayout::msmarco: {
      Collection collection(data, options.all_passages);
      read_msmarco(folder, options, collection);
      collection.finish(name);
    }
  }
}

}  // namespace m2bert::data
