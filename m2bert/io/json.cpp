#include "m2bert/io/json.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <span>

#include "m2bert/io/file.h"
#include "m2bert/io/utf8.h"

namespace m2bert::io {
namespace {

using Json = nlohmann::json;

// Counts the characters that the parser consumed, so that events know their line.
struct Counted {
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  const char* at = nullptr;
  size_t* taken = nullptr;

  reference operator*() const { return *at; }
  Counted& operator++() {
    ++at;
    ++*taken;
    return *this;
  }
  Counted operator++(int) {
    Counted old = *this;
    ++*this;
    return old;
  }
  bool operator==(const Counted& other) const { return at == other.at; }
  bool operator!=(const Counted& other) const { return at != other.at; }
};

// Line and column of increasing positions.
class Lines {
 public:
  explicit Lines(std::string_view text) : text_(text) {}
  void advance(size_t position) {
    position = std::min(position, text_.size());
    while (at_ < position) {
      const void* end = std::memchr(text_.data() + at_, '\n', position - at_);
      if (!end) break;
      at_ = static_cast<size_t>(static_cast<const char*>(end) - text_.data()) + 1;
      begin_ = at_;
      ++line_;
    }
    at_ = std::max(at_, position);
  }
  int line() const { return line_; }
  int column() const { return static_cast<int>(at_ - begin_) + 1; }

 private:
  std::string_view text_;
  size_t at_ = 0, begin_ = 0;
  int line_ = 1;
};

// "[json.exception.x] parse error at line 1, column 5: what" -> "what"; our own prefix has the position.
std::string bare_message(const std::string& message) {
  std::string out = message;
  if (const size_t end = out.find("] "); !out.empty() && out.front() == '[' && end != std::string::npos) out.erase(0, end + 2);
  if (out.rfind("parse error", 0) == 0) {
    if (const size_t colon = out.find(": "); colon != std::string::npos) out.erase(0, colon + 2);
  }
  return out;
}

// Where a path continues behind a key or a number of a list that it has at `at`; npos if it has another one there. The end of the path is
// its size. A part is written as "part", or as "[part]" behind another one.
size_t path_after(std::string_view path, size_t at, std::string_view key) {
  if (at >= path.size()) return std::string_view::npos;
  std::string_view rest = path.substr(at);
  if (rest.front() == '[' && rest.substr(1).starts_with(key) && rest.substr(1 + key.size()).starts_with(']')) {
    rest.remove_prefix(key.size() + 2);
  } else if (rest.starts_with(key)) {
    rest.remove_prefix(key.size());
  } else {
    return std::string_view::npos;
  }
  if (rest.empty()) return path.size();
  if (rest.front() != '.' && rest.front() != '[') return std::string_view::npos;
  at = path.size() - rest.size() + (rest.front() == '.' ? 1 : 0);
  return at < path.size() ? at : std::string_view::npos;
}

const Tree* find_from(const Tree& tree, std::string_view path, size_t at) {
  if (at == path.size()) return &tree;
  if (tree.is_list()) {
    for (size_t i = 0; i < tree.size(); ++i)
      if (const size_t next = path_after(path, at, std::to_string(i)); next != std::string_view::npos)
        return find_from(tree.items()[i], path, next);
    return nullptr;
  }
  if (!tree.is_map()) return nullptr;
  std::vector<std::pair<size_t, const Tree*>> fitting;
  for (const Tree::Member& member : tree.members())
    if (const size_t next = path_after(path, at, member.key); next != std::string_view::npos) fitting.emplace_back(next, &member.value);
  std::sort(fitting.begin(), fitting.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
  for (const auto& [next, value] : fitting)
    if (const Tree* found = find_from(*value, path, next)) return found;
  return nullptr;
}

// What is wrong with text that is no JSON, where other programs write it none the less; empty if it is nothing of the kind.
std::string known_mistake(std::string_view rest, const std::string& message) {
  if (message.find("surrogate U+") != std::string::npos)
    return "an escape is half of a surrogate pair (\\ud800 to \\udfff), which is no character; write both halves, or none";
  for (const std::string_view word : {"NaN", "Infinity", "-Infinity", "nan", "inf", "-inf"})
    if (rest.starts_with(word)) return std::string(word) + " is no JSON; write null";
  return "";
}

// What both handlers share: position, limits, errors.
class Handler {
 public:
  Handler(std::string_view text, const JsonLimits& limits, const size_t& taken)
      : text_(text), limits_(limits), taken_(taken), lines_(text) {}
  virtual ~Handler() = default;

  // The library treats a NUL byte as the end of the text.
  void refuse_nul() {
    const size_t at = text_.find('\0');
    if (at == std::string_view::npos) return;
    lines_.advance(at);
    refuse("has a NUL byte");
  }
  bool binary(Json::binary_t&) { return false; }
  bool parse_error(size_t, const std::string&, const Json::exception& error) {
    const std::string message = bare_message(error.what());
    // The parser has consumed the offending character, unless that is the end.
    const bool at_end = message.find("unexpected end of input") != std::string::npos;
    const size_t at = taken_ > 0 && !at_end ? taken_ - 1 : taken_;
    lines_.advance(at);
    const size_t begin = at > 0 && at < text_.size() && text_[at - 1] == '-' ? at - 1 : at;
    const std::string mistake = known_mistake(text_.substr(std::min(begin, text_.size())), message);
    refuse(mistake.empty() ? printable(message, 1000) : mistake);  // the message quotes the offending text
  }

 protected:
  virtual std::string prefix() const = 0;
  [[noreturn]] void refuse(const std::string& what) const { fail(prefix(), what); }
  void count_value() {
    if (++values_ > limits_.values) refuse("has more than " + std::to_string(limits_.values) + " values");
  }
  void enter() {
    if (++depth_ > limits_.depth) refuse("is nested more than " + std::to_string(limits_.depth) + " deep");
  }
  void leave() { --depth_; }
  // Moves to the end of the token just consumed. The parser sees the end of a number one character later.
  void locate(bool number = false) {
    size_t end = std::min(taken_, text_.size());
    if (number) {
      while (end > 0 && std::strchr("0123456789", text_[end - 1]) == nullptr) --end;
    }
    lines_.advance(end > 0 ? end - 1 : 0);
  }

  std::string_view text_;
  const JsonLimits& limits_;
  const size_t& taken_;
  Lines lines_;
  int depth_ = 0;

 private:
  size_t values_ = 0;
};

class TreeHandler : public Handler {
 public:
  TreeHandler(std::string_view text, const std::string& name, const JsonLimits& limits, const size_t& taken)
      : Handler(text, limits, taken), source_(std::make_shared<const std::string>(name)) {}

  bool null() { return value(nullptr); }
  bool boolean(bool v) { return value(v); }
  bool number_integer(Json::number_integer_t v) { return value(v, true); }
  bool number_unsigned(Json::number_unsigned_t v) {
    return v <= static_cast<uint64_t>(INT64_MAX) ? value(static_cast<int64_t>(v), true) : value(static_cast<double>(v), true);
  }
  bool number_float(Json::number_float_t v, const std::string&) { return value(v, true); }
  bool string(std::string& v) { return value(std::move(v)); }
  bool start_object(size_t) { return open(Tree::map()); }
  bool start_array(size_t) { return open(Tree::list()); }
  bool end_object() { return close(); }
  bool end_array() { return close(); }
  bool key(std::string& v) {
    locate();
    if (stack_.back().as_map().find(v)) refuse("has the key " + Tree(v).shown() + " twice in one map");
    keys_.back() = std::move(v);
    return true;
  }
  Tree take() { return std::move(root_); }

 private:
  std::string prefix() const override {
    return *source_ + ":" + std::to_string(lines_.line()) + ":" + std::to_string(lines_.column()) + ": ";
  }
  std::shared_ptr<const Place> place() const {
    auto place = std::make_shared<Place>();
    place->source = source_;
    place->line = lines_.line();
    place->column = lines_.column();
    if (!stack_.empty()) {
      place->parent = stack_.back().place();
      place->key = stack_.back().is_list() ? list_key(stack_.back().size()) : keys_.back();
    }
    return place;
  }
  void put(Tree tree) {
    if (stack_.empty()) root_ = std::move(tree);
    else if (stack_.back().is_list()) stack_.back().push_back(std::move(tree));
    else stack_.back().as_map().add(std::move(keys_.back()), std::move(tree));
  }
  bool value(Tree tree, bool number = false) {
    locate(number);
    count_value();
    tree.set_place(place());
    put(std::move(tree));
    return true;
  }
  bool open(Tree tree) {
    locate();
    count_value();
    enter();
    tree.set_place(place());
    stack_.push_back(std::move(tree));
    keys_.emplace_back();
    return true;
  }
  bool close() {
    leave();
    Tree tree = std::move(stack_.back());
    stack_.pop_back();
    keys_.pop_back();
    put(std::move(tree));
    return true;
  }

  std::shared_ptr<const std::string> source_;
  std::vector<Tree> stack_;
  std::vector<std::string> keys_;
  Tree root_;
};

// Keeps one string and skips the rest.
class FieldHandler : public Handler {
 public:
  FieldHandler(std::string_view text, std::string_view path, const std::string& where, const JsonLimits& limits, const size_t& taken)
      : Handler(text, limits, taken), path_(path), where_(where) {}

  bool null() { return other("null"); }
  bool boolean(bool v) { return other(v ? "true" : "false"); }
  bool number_integer(Json::number_integer_t v) { return other(std::to_string(v)); }
  bool number_unsigned(Json::number_unsigned_t v) { return other(std::to_string(v)); }
  bool number_float(Json::number_float_t, const std::string& text) { return other(text); }
  bool string(std::string& v) {
    if (begin_value() == path_.size() && is_best()) found_ = {route(), "", std::move(v)};
    end_value();
    return true;
  }
  bool start_object(size_t) { return open(false, "a map"); }
  bool start_array(size_t) { return open(true, "a list"); }
  bool end_object() { return close(); }
  bool end_array() { return close(); }
  bool key(std::string& v) {
    Level& level = levels_.back();
    level.next = level.at == kOff ? kOff : path_after(path_, level.at, v);
    if (level.next == kOff) return true;
    if (std::find(level.seen.begin(), level.seen.end(), level.next) != level.seen.end()) refuse("has the field \"" + v + "\" twice");
    level.seen.push_back(level.next);
    return true;
  }
  std::string take() {
    if (found_.route.empty()) refuse("has no field \"" + std::string(path_) + "\"" + keys_there());
    if (!found_.other.empty()) refuse("the field \"" + std::string(path_) + "\" wants a string, got " + found_.other);
    return std::move(found_.text);
  }

 private:
  static constexpr size_t kOff = std::string_view::npos;  // not on the path
  // A map or list that is being read. Positions are places in the path.
  struct Level {
    bool list;
    size_t at, next = kOff;  // of this level; of the value that comes next
    size_t index = 0;
    std::vector<size_t> seen;
  };
  // A value at the path's end. Its route are the positions behind each key: the best route has the longest key first.
  struct Found {
    std::vector<size_t> route;
    std::string other, text;  // what it is, unless a string
  };
  std::string prefix() const override { return where_ + ": "; }
  // The position in the path behind the value that starts here.
  size_t begin_value() {
    count_value();
    if (levels_.empty()) return 0;
    Level& level = levels_.back();
    if (level.list) level.next = level.at == kOff ? kOff : path_after(path_, level.at, std::to_string(level.index));
    return level.next;
  }
  void end_value() {
    if (levels_.empty()) return;
    levels_.back().next = kOff;
    ++levels_.back().index;
  }
  std::vector<size_t> route() const {
    std::vector<size_t> route;
    for (const Level& level : levels_) route.push_back(level.next);
    return route;
  }
  bool is_best() const { return !levels_.empty() && route() > found_.route; }
  bool other(const std::string& what) {
    if (begin_value() == path_.size() && is_best()) found_ = {route(), what, ""};
    end_value();
    return true;
  }
  bool open(bool list, const char* what) {
    enter();
    const size_t at = begin_value();
    if (at == path_.size() && is_best()) found_ = {route(), what, ""};
    levels_.push_back({list, at});
    return true;
  }
  bool close() {
    leave();
    levels_.pop_back();
    end_value();
    return true;
  }
  // "; it has id, title": the keys of the document.
  std::string keys_there() const {
    Tree tree;
    try {
      tree = parse_json(text_, where_, limits_);
    } catch (const Error&) {  // a key that is there twice
    }
    if (!tree.is_map() || tree.size() == 0) return "";
    std::string keys;
    for (size_t i = 0; i < std::min<size_t>(tree.size(), 12); ++i) keys += (i ? ", " : "") + printable(tree.members()[i].key, 60);
    return "; it has " + keys + (tree.size() > 12 ? ", ..." : "");
  }

  std::string_view path_;
  const std::string& where_;
  std::vector<Level> levels_;
  Found found_;
};

template <class H>
void run(std::string_view text, H& handler, size_t& taken) {
  handler.refuse_nul();
  const std::span characters(text);
  const Counted begin{characters.data(), &taken}, end{characters.data() + characters.size(), &taken};
  Json::sax_parse(begin, end, &handler);
}

template <class T>
void append_number(std::string& out, T value) {
  require(std::isfinite(value), "JSON cannot hold the number ", value);
  char text[40];
  const auto result = std::to_chars(text, text + sizeof text, value);
  const std::string_view digits(text, static_cast<size_t>(result.ptr - text));
  out += digits;
  if (digits.find_first_of(".e") == std::string_view::npos) out += ".0";
}

void write(std::string& out, const Tree& tree, int indent, int depth) {
  auto line = [&](int level) {
    if (indent >= 0) out.append(1, '\n').append(static_cast<size_t>(indent) * static_cast<size_t>(level), ' ');
  };
  switch (tree.kind()) {
    case Tree::Kind::null: out += "null"; return;
    case Tree::Kind::boolean: out += tree.boolean() ? "true" : "false"; return;
    case Tree::Kind::integer: out += std::to_string(tree.integer()); return;
    case Tree::Kind::number: append_json_number(out, tree.number()); return;
    case Tree::Kind::string: append_json_string(out, tree.string()); return;
    case Tree::Kind::missing: out += "\"???\""; return;
    case Tree::Kind::list: {
      out += '[';
      bool first = true;
      for (const Tree& item : tree.items()) {
        if (!first) out += ',';
        first = false;
        line(depth + 1);
        write(out, item, indent, depth + 1);
      }
      if (!first) line(depth);
      out += ']';
      return;
    }
    case Tree::Kind::map: {
      out += '{';
      bool first = true;
      for (const Tree::Member& member : tree.members()) {
        if (!first) out += ',';
        first = false;
        line(depth + 1);
        append_json_string(out, member.key);
        out += indent >= 0 ? ": " : ":";
        write(out, member.value, indent, depth + 1);
      }
      if (!first) line(depth);
      out += '}';
      return;
    }
  }
}

}  // namespace

Tree parse_json(std::string_view text, const std::string& name, const JsonLimits& limits) {
  size_t taken = 0;
  TreeHandler handler(text, name, limits, taken);
  run(text, handler, taken);
  return handler.take();
}

Tree read_json(const std::filesystem::path& file, const JsonLimits& limits) { return parse_json(read_file(file), file.string(), limits); }

const Tree* find_json(const Tree& tree, std::string_view path) { return find_from(tree, path, 0); }

std::string json_string_at(std::string_view text, std::string_view path, const std::string& where, const JsonLimits& limits) {
  size_t taken = 0;
  FieldHandler handler(text, path, where, limits, taken);
  run(text, handler, taken);
  return handler.take();
}

std::string to_json(const Tree& tree, int indent) {
  std::string out;
  write(out, tree, indent, 0);
  return out;
}

void append_json_string(std::string& out, std::string_view text) {
  static constexpr char kHex[] = "0123456789abcdef";
  out += '"';
  for (size_t i = 0; i < text.size();) {
    const auto c = static_cast<unsigned char>(text[i]);
    if (c >= 0x80) {
      const size_t n = utf8_sequence(text.substr(i));
      if (n) out.append(text, i, n);
      else out += "\xEF\xBF\xBD";
      i += n ? n : 1;
      continue;
    }
    ++i;
    switch (c) {
      case '"': out += "\\\""; break;
      case '\\': out += "\\\\"; break;
      case '\n': out += "\\n"; break;
      case '\r': out += "\\r"; break;
      case '\t': out += "\\t"; break;
      case '\b': out += "\\b"; break;
      case '\f': out += "\\f"; break;
      default:
        if (c < 0x20 || c == 0x7F) (out += "\\u00").append({kHex[c >> 4], kHex[c & 15]});
        else out += static_cast<char>(c);
    }
  }
  out += '"';
}

void append_json_number(std::string& out, double value) { append_number(out, value); }
void append_json_number(std::string& out, float value) { append_number(out, value); }

}  // namespace m2bert::io
