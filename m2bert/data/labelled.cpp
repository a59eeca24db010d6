#include "m2bert/data/labelled.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <unordered_map>
#include <unordered_set>

#include "m2bert/data/bad_record.h"
#include "m2bert/data/text_head.h"
#include "m2bert/error.h"
#include "m2bert/io/json.h"
#include "m2bert/io/utf8.h"

namespace m2bert::data {
namespace {

using io::Tree;

std::optional<double> number_in(std::string_view text) {
  double value = 0;
  const char* end = text.data() + text.size();
  if (text.starts_with('+')) text.remove_prefix(1);
  const auto [stop, problem] = std::from_chars(text.data(), end, value);
  return problem == std::errc() && stop == end && !text.empty() ? std::optional(value) : std::nullopt;
}

std::string listed(const std::vector<std::string>& names) {
  std::string out;
  for (size_t i = 0; i < std::min<size_t>(names.size(), 20); ++i) out += (i ? ", " : "") + io::printable(names[i], 60);
  return names.size() > 20 ? out + ", ..." : out;
}

// What one record says.
struct Example {
  std::string text, pair, where;
  Tree label;
  uint64_t record = 0;
};

// The columns of a file, found in its first record.
class Columns {
 public:
  Columns(const LabelledOptions& options, const Tree& first, const std::string& name, bool table)
      : text_(options.text), pair_(options.text_pair), label_(options.label), name_(name) {
    if (table) number_columns(first);
    if (text_.empty()) choose_texts(first);
    if (label_.empty()) choose_label(first, options.allow_unlabelled);
    for (const std::string& column : {text_, pair_, label_}) require_column(first, column);
  }

  bool are_pairs() const { return !pair_.empty(); }
  bool has_labels() const { return !label_.empty(); }
  const std::string& label() const { return label_; }

  Example example(const Tree& record, const std::string& where) const {
    Example example;
    example.where = where;
    example.text = text_at(record, text_, where);
    if (are_pairs()) example.pair = text_at(record, pair_, where);
    if (!has_labels()) return example;
    const Tree* label = io::find_json(record, label_);
    if (label == nullptr) bad_record(where, ": has no \"", label_, "\", which holds the label");
    example.label = *label;
    return example;
  }

 private:
  static bool has(const Tree& record, const std::string& column) { return io::find_json(record, column) != nullptr; }

  void choose_texts(const Tree& first) {
    for (const auto& [a, b] : default_columns().pairs) {
      if (!pair_.empty() || !has(first, a) || !has(first, b)) continue;
      text_ = a;
      pair_ = b;
      return;
    }
    for (const std::string& column : default_columns().texts) {
      if (column == pair_ || !has(first, column)) continue;
      text_ = column;
      return;
    }
    fail(name_, ": has no column of texts that is known by its name, such as text, sentence, or sentence1 and sentence2; it has ",
         columns_of(first), "; name the one that holds the text (text_column, --text-column)");
  }

  void choose_label(const Tree& first, bool may_lack) {
    for (const std::string& column : default_columns().labels) {
      if (!has(first, column)) continue;
      label_ = column;
      return;
    }
    require(may_lack, name_, ": has no column label, labels or score; it has ", columns_of(first),
            "; name the one that holds the label (label_column, --label-column)");
  }

  void require_column(const Tree& first, const std::string& column) const {
    require(column.empty() || has(first, column), name_, ": has no column \"", column, "\"; it has ", columns_of(first));
  }

  static std::string columns_of(const Tree& first) {
    std::vector<std::string> names;
    for (const Tree::Member& member : first.members()) names.push_back(member.key);
    return names.empty() ? "none" : listed(names);
  }

  // Columns that are given by their number from 1.
  void number_columns(const Tree& first) {
    for (std::string* column : {&text_, &pair_, &label_}) {
      size_t number = 0;
      const auto [stop, problem] = std::from_chars(column->data(), column->data() + column->size(), number);
      const bool is_number = !column->empty() && problem == std::errc() && stop == column->data() + column->size() && number > 0;
      if (!is_number || first.as_map().find(*column) != nullptr) continue;
      require(number <= first.size(), name_, ": there is no column ", *column, "; it has ", first.size());
      *column = first.members()[number - 1].key;
    }
  }

  static std::string text_at(const Tree& record, const std::string& column, const std::string& where) {
    const Tree* text = io::find_json(record, column);
    if (text == nullptr) bad_record(where, ": has no \"", column, "\", which holds the text");
    if (!text->is_string()) bad_record(where, ": \"", column, "\" wants a text, got ", text->shown());
    check_text(text->string(), where);
    return text->string();
  }

  std::string text_, pair_, label_, name_;
};

// The names that labels have, and the index of each.
class LabelNames {
 public:
  explicit LabelNames(std::vector<std::string> names) : names_(std::move(names)) {
    for (size_t i = 0; i < names_.size(); ++i)
      require(index_.emplace(names_[i], static_cast<int32_t>(i)).second, "the label \"", names_[i], "\" is named twice");
  }
  std::optional<int32_t> find(const std::string& name) const {
    const auto found = index_.find(name);
    return found == index_.end() ? std::nullopt : std::optional(found->second);
  }
  const std::vector<std::string>& names() const { return names_; }

 private:
  std::vector<std::string> names_;
  std::unordered_map<std::string, int32_t> index_;
};

// A label as text: a string, an integer, true or false, a number. nullopt for a value that is none.
std::optional<std::string> label_text(const Tree& value) {
  switch (value.kind()) {
    case Tree::Kind::string: return value.string();
    case Tree::Kind::integer: return std::to_string(value.integer());
    case Tree::Kind::boolean: return value.boolean() ? "true" : "false";
    case Tree::Kind::number: return std::isfinite(value.number()) ? io::to_json(value) : std::isnan(value.number()) ? "nan" : "inf";
    default: return std::nullopt;
  }
}

bool is_missing(const Tree& label) { return label.is_null() || (label.is_string() && label.string().empty()); }

// -1 as GLUE's test sets have it.
bool is_minus_one(const Tree& label) {
  return (label.is_number() && label.number() == -1) || (label.is_string() && number_in(label.string()) == -1.0);
}

// Turns the labels of a file into those of LabelledData.
class Labels {
 public:
  Labels(const LabelledOptions& options, const Columns& columns, std::vector<Example>& examples)
      : options_(options), columns_(columns), examples_(examples), kind_(options.kind.value_or(guessed_kind())), names_({}) {
    if (kind_ == LabelKind::number) return;
    names_ = LabelNames(options.label_names.empty() ? names_in_file() : options.label_names);
  }

  LabelKind kind() const { return kind_; }
  const std::vector<std::string>& names() const { return names_.names(); }

  // Appends the label of an example. BadRecord if it cannot be used.
  void add(const Example& example, LabelledData& data) const {
    const bool without = !columns_.has_labels() || is_unlabelled(example.label);
    switch (kind_) {
      case LabelKind::single: data.labels.push_back(without ? -1 : index_of(example.label, example)); break;
      case LabelKind::multi: data.label_sets.push_back(without ? std::vector<int32_t>() : set_of(example)); break;
      case LabelKind::number: data.values.push_back(without ? std::numeric_limits<float>::quiet_NaN() : number_of(example)); break;
    }
    data.unlabelled += without;
  }

 private:
  // Throws BadRecord for a label that is missing and must be there.
  bool is_unlabelled(const Tree& label) const {
    if (!options_.allow_unlabelled) return false;
    const bool minus_one = is_minus_one(label) && kind_ != LabelKind::multi && !names_.find("-1");
    return is_missing(label) || minus_one;
  }

  [[noreturn]] void refuse(const Example& example, const std::string& why) const {
    bad_record(example.where, ": \"", columns_.label(), "\" ", why);
  }

  LabelKind guessed_kind() const {
    if (options_.label_names.empty() && columns_.label() == "score") return LabelKind::number;
    bool all_numbers = true, fraction = false;
    for (const Example& example : examples_) {
      const Tree& label = example.label;
      if (label.is_list()) return LabelKind::multi;
      if (is_missing(label)) continue;
      const bool is_text = label.is_string();
      all_numbers &= label.is_number() || (is_text && number_in(label.string()).has_value());
      fraction |= label.kind() == Tree::Kind::number || (is_text && label.string().find_first_of(".eE") != std::string::npos);
    }
    return all_numbers && fraction && options_.label_names.empty() ? LabelKind::number : LabelKind::single;
  }

  std::vector<std::string> names_in_file() const {
    std::unordered_set<std::string> found;
    for (const Example& example : examples_)
      for (const Tree& label : parts_of(example.label))
        if (const auto text = label_text(label); text && !text->empty()) found.insert(*text);
    if (options_.allow_unlabelled) found.erase("-1");
    const bool numbers = std::all_of(found.begin(), found.end(), [](const std::string& name) { return number_in(name).has_value(); });
    if (numbers) std::erase_if(found, [](const std::string& name) { return std::isnan(*number_in(name)); });
    std::vector<std::string> names(found.begin(), found.end());
    std::sort(names.begin(), names.end(), [numbers](const std::string& a, const std::string& b) {
      if (numbers && *number_in(a) != *number_in(b)) return *number_in(a) < *number_in(b);
      return a < b;
    });
    return names;
  }

  // The labels of a value: itself, the items of a list, or the parts of a string.
  std::vector<Tree> parts_of(const Tree& label) const {
    if (kind_ != LabelKind::multi) return {label};
    if (label.is_list()) return label.items();
    if (!label.is_string() || options_.separator.empty()) return {label};
    std::vector<Tree> parts;
    const std::string& text = label.string();
    for (size_t at = 0; at < text.size();) {
      const size_t end = std::min(text.find(options_.separator, at), text.size());
      parts.emplace_back(trimmed(text.substr(at, end - at)));
      at = end + options_.separator.size();
    }
    return parts;
  }

  static std::string trimmed(const std::string& text) {
    const size_t begin = text.find_first_not_of(" \t"), end = text.find_last_not_of(" \t");
    return begin == std::string::npos ? "" : text.substr(begin, end - begin + 1);
  }

  int32_t index_of(const Tree& label, const Example& example) const {
    if (is_missing(label)) refuse(example, "holds no label");
    const auto text = label_text(label);
    if (!text) refuse(example, "wants a label, got " + label.shown());
    if (const auto index = names_.find(*text)) return *index;
    if (std::isnan(number_in(*text).value_or(0))) refuse(example, "is NaN, which is no label");
    const auto count = static_cast<int64_t>(names_.names().size());
    if (options_.integers_are_indices && label.is_integer() && label.integer() >= 0 && label.integer() < count)
      return static_cast<int32_t>(label.integer());
    refuse(example, "is " + label.shown() + ", which is not among the labels " + listed(names_.names()));
  }

  std::vector<int32_t> set_of(const Example& example) const {
    if (example.label.is_null()) refuse(example, "holds no label; an empty list says that none applies");
    std::vector<int32_t> set;
    for (const Tree& part : parts_of(example.label)) set.push_back(index_of(part, example));
    std::sort(set.begin(), set.end());
    set.erase(std::unique(set.begin(), set.end()), set.end());
    return set;
  }

  float number_of(const Example& example) const {
    const Tree& label = example.label;
    if (is_missing(label)) refuse(example, "holds no number");
    const auto number = label.is_number() ? std::optional(label.number()) : label.is_string() ? number_in(label.string()) : std::nullopt;
    if (!number) refuse(example, "wants a number, got " + label.shown());
    const auto value = static_cast<float>(*number);
    if (!std::isfinite(value)) refuse(example, std::isnan(value) ? "is NaN" : "is infinite");
    return value;
  }

  const LabelledOptions& options_;
  const Columns& columns_;
  const std::vector<Example>& examples_;
  LabelKind kind_;
  LabelNames names_;
};

void skip(LabelledData& data, const Error& why) {
  if (data.skipped++ == 0) data.first_skipped = why.what();
}

// Reads all records. columns: found in the first one.
std::vector<Example> read_examples(Source& source, const LabelledOptions& options, bool table, std::optional<Columns>& columns,
                                   LabelledData& data) {
  std::vector<Example> examples;
  for (std::string none; source.next(none);) {
    if (!columns) columns.emplace(options, source.kept(), source.name(), table);
    try {
      examples.push_back(columns->example(source.kept(), source.where()));
      examples.back().record = source.position().record - 1;
    } catch (const BadRecord& e) {
      if (!options.source.skip_bad) throw;
      skip(data, e);
    }
  }
  if (data.skipped == 0) data.first_skipped = source.first_skipped();
  data.skipped += source.skipped();
  require(!examples.empty(), source.name(), ": has no examples",
          data.skipped > 0 ? " that can be used; the first record: " + data.first_skipped : std::string());
  return examples;
}

}  // namespace

const DefaultColumns& default_columns() {
  static const DefaultColumns columns = {{{"text", "text_pair"},
                                          {"text1", "text2"},
                                          {"text_a", "text_b"},
                                          {"sentence1", "sentence2"},
                                          {"question1", "question2"},
                                          {"premise", "hypothesis"},
                                          {"question", "sentence"},
                                          {"query", "passage"}},
                                         {"text", "sentence"},
                                         {"label", "labels", "score"}};
  return columns;
}

LabelledData read_labelled(const std::filesystem::path& path, const LabelledOptions& options) {
  SourceOptions how = options.source;
  how.records = true;
  const Format format = format_of(path, how.format);
  const auto source = open_source(path, how);
  LabelledData data;
  data.name = source->name();
  std::optional<Columns> columns;
  std::vector<Example> examples = read_examples(*source, options, format == Format::csv || format == Format::tsv, columns, data);
  const Labels labels(options, *columns, examples);
  data.kind = labels.kind();
  data.label_names = labels.names();
  for (Example& example : examples) {
    try {
      labels.add(example, data);
    } catch (const BadRecord& e) {
      if (!options.source.skip_bad) throw;
      skip(data, e);
      continue;
    }
    data.texts.push_back(std::move(example.text));
    if (columns->are_pairs()) data.pairs.push_back(std::move(example.pair));
    data.records.push_back(example.record);
  }
  require(data.size() > 0, data.name, ": has no examples that can be used; the first record: ", data.first_skipped);
  require(options.allow_unlabelled || data.kind == LabelKind::number || !data.label_names.empty(), data.name, ": no text has a label");
  return data;
}

std::vector<uint64_t> label_counts(const LabelledData& data) {
  std::vector<uint64_t> counts(data.label_names.size());
  for (const int32_t label : data.labels)
    if (label >= 0) ++counts[static_cast<size_t>(label)];
  for (const auto& set : data.label_sets)
    for (const int32_t label : set) ++counts[static_cast<size_t>(label)];
  return counts;
}

void require_every_label(const LabelledData& data) {
  if (data.kind == LabelKind::number) {
    const bool constant = std::all_of(data.values.begin(), data.values.end(), [&](float value) { return value == data.values.front(); });
    require(!constant || data.size() < 2, data.name, ": every text has the number ", data.values.front(),
            "; nothing can be learned from it");
    return;
  }
  const std::vector<uint64_t> counts = label_counts(data);
  std::vector<std::string> absent;
  for (size_t i = 0; i < counts.size(); ++i)
    if (counts[i] == 0) absent.push_back(data.label_names[i]);
  require(absent.empty(), data.name, ": no text has the label", absent.size() > 1 ? "s " : " ", listed(absent));
  require(data.kind == LabelKind::multi || counts.size() > 1, data.name, ": every text has the label ", listed(data.label_names),
          "; a classifier needs two labels or more");
}

}  // namespace m2bert::data
