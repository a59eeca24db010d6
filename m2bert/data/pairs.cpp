#include "m2bert/data/pairs.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>

#include "m2bert/data/bad_record.h"
#include "m2bert/data/text_head.h"
#include "m2bert/error.h"
#include "m2bert/io/json.h"
#include "m2bert/io/utf8.h"

namespace m2bert::data {
namespace {

using io::Tree;
using Names = std::vector<std::string>;

const Names kQueries{"anchor", "query", "question", "sentence1", "text1", "premise"};
const Names kPositives{"positive", "pos", "passage", "document", "answer", "sentence2", "text2", "hypothesis"};
const Names kNegatives{"negative", "negatives", "neg"};
const Names kScores{"label", "score", "scores", "similarity"};

std::string listed(const Names& names) {
  std::string out;
  for (const auto& name : names) out += (out.empty() ? "" : ", ") + io::printable(name, 60);
  return out.empty() ? "none" : out;
}

Names columns_of(const Tree& record) {
  Names names;
  for (const auto& member : record.members()) names.push_back(member.key);
  return names;
}

// The columns of a file, found in its first record.
struct Columns {
  std::string query, positive, score;  // score: empty without one
  Names negatives;

  Columns(const PairOptions& options, const Tree& first, const std::string& file, bool by_number) {
    const auto& given = options.columns;
    if (by_number) {
      from_numbers(given, first, file);
      return;
    }
    query = required(given.query, kQueries, first, file, "queries");
    positive = required(given.positive, kPositives, first, file, "the positive passages");
    if (!given.negative.empty()) negatives = {required(given.negative, {}, first, file, "negatives")};
    else find_negatives(first);
    if (!given.score.empty()) score = required(given.score, {}, first, file, "labels or scores");
    else if (options.reads_scores) score = first_of(kScores, first);
  }

 private:
  // A table without a header: query, positive, negatives.
  void from_numbers(const PairColumns& given, const Tree& first, const std::string& file) {
    const Names all = columns_of(first);
    query = given.query.empty() ? "1" : given.query;
    positive = given.positive.empty() ? "2" : given.positive;
    score = given.score;
    for (const auto& name : {query, positive}) require_in(first, name, file);
    if (!score.empty()) require_in(first, score, file);
    for (const auto& name : all) {
      const bool chosen = given.negative.empty() ? name != query && name != positive && name != score : name == given.negative;
      if (chosen) negatives.push_back(name);
    }
  }

  static void require_in(const Tree& first, const std::string& name, const std::string& file) {
    require(io::find_json(first, name) != nullptr, file, ": has no column \"", name, "\"; it has ", listed(columns_of(first)));
  }

  static std::string first_of(const Names& names, const Tree& record) {
    for (const auto& name : names)
      if (io::find_json(record, name)) return name;
    return "";
  }

  static std::string required(const std::string& given, const Names& known, const Tree& first, const std::string& file, const char* what) {
    if (!given.empty()) {
      require_in(first, given, file);
      return given;
    }
    const auto found = first_of(known, first);
    require(!found.empty(), file, ": has no column of ", what, " that is known by its name (", listed(known), "); it has ",
            listed(columns_of(first)), "; name it in columns");
    return found;
  }

  void find_negatives(const Tree& first) {
    const auto one = first_of(kNegatives, first);
    if (!one.empty()) negatives.push_back(one);
    for (const auto& member : first.members())
      if (member.key.starts_with("negative_") || member.key.starts_with("neg_")) negatives.push_back(member.key);
  }
};

class Record {
 public:
  Record(const Tree& tree, const Columns& columns, const std::string& where) : tree_(tree), columns_(columns), where_(where) {}

  void add_to(RetrievalData& data) const {
    const auto query = text(at(columns_.query), columns_.query);
    const auto positives = texts(columns_.positive);
    if (positives.empty()) bad_record(where_, ": \"", columns_.positive, "\" is an empty list; a query wants at least one positive");
    std::vector<std::string_view> negatives;
    for (const auto& column : columns_.negatives)
      for (const auto negative : texts(column)) negatives.push_back(negative);
    for (const auto positive : positives) {
      std::vector<std::string_view> passages{positive};
      passages.insert(passages.end(), negatives.begin(), negatives.end());
      data.add(query, passages, scores(passages.size()));
    }
  }

 private:
  const Tree& at(const std::string& column) const {
    const Tree* value = io::find_json(tree_, column);
    if (!value) bad_record(where_, ": has no \"", column, "\"");
    return *value;
  }

  std::string_view text(const Tree& value, const std::string& column) const {
    if (!value.is_string()) bad_record(where_, ": \"", column, "\" wants a text, got ", value.shown());
    check_text(value.string(), where_);
    if (value.string().empty()) bad_record(where_, ": \"", column, "\" is empty");
    return value.string();
  }

  std::vector<std::string_view> texts(const std::string& column) const {
    const Tree& value = at(column);
    if (!value.is_list()) return {text(value, column)};
    std::vector<std::string_view> all;
    for (const auto& item : value.items()) all.push_back(text(item, column));
    return all;
  }

  std::vector<float> scores(size_t passages) const {
    if (columns_.score.empty()) return {};
    const Tree& value = at(columns_.score);
    if (!value.is_list()) {
      if (passages > 1)
        bad_record(where_, ": \"", columns_.score, "\" is one number, and there are ", passages, " passages; wants a list of their scores");
      return {number(value)};
    }
    if (value.size() != passages || passages < 2)
      bad_record(where_, ": \"", columns_.score, "\" has ", value.size(), " scores for ", passages,
                 " passages; wants one of the positive and one of each negative");
    std::vector<float> all;
    for (const auto& item : value.items()) all.push_back(number(item));
    return all;
  }

  float number(const Tree& value) const {
    std::optional<double> number;
    if (value.is_number()) number = value.number();
    if (value.is_string()) number = parsed(value.string());
    if (!number || !std::isfinite(float(*number)))
      bad_record(where_, ": \"", columns_.score, "\" wants a finite number, got ", value.shown());
    return float(*number);
  }

  static std::optional<double> parsed(const std::string& text) {
    double value = 0;
    const char* end = text.data() + text.size();
    const auto [stop, problem] = std::from_chars(text.data(), end, value);
    return problem == std::errc() && stop == end && !text.empty() ? std::optional(value) : std::nullopt;
  }

  const Tree& tree_;
  const Columns& columns_;
  const std::string& where_;
};

}  // namespace

PairReport read_pairs(const std::filesystem::path& path, const PairOptions& options, RetrievalData& data) {
  SourceOptions how = options.source;
  how.records = true;
  const Format format = format_of(path, how.format);
  require(format != Format::text, path.string(),
          ": is read as text; queries and passages come from JSON lines, CSV or TSV (.jsonl, .csv, .tsv), or say which format it has");
  const auto source = open_source(path, how);
  const bool by_number = !how.header && format != Format::jsonl;
  std::optional<Columns> columns;
  PairReport report;
  uint64_t added = 0;
  for (std::string none; source->next(none);) {
    if (!columns) columns.emplace(options, source->kept(), source->name(), by_number);
    try {
      Record(source->kept(), *columns, source->where()).add_to(data);
      ++added;
    } catch (const BadRecord& error) {
      if (!how.skip_bad) throw;
      if (report.skipped++ == 0) report.first_skipped = error.what();
    }
  }
  if (report.skipped == 0) report.first_skipped = source->first_skipped();
  report.skipped += source->skipped();
  require(added > 0, source->name(), ": has no records",
          report.skipped ? " that can be used; the first one: " + report.first_skipped : std::string());
  return report;
}

}  // namespace m2bert::data
