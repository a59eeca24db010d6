#include "m2bert/io/tree.h"

#include <algorithm>
#include <cmath>

#include "m2bert/io/json.h"

namespace m2bert::io {
namespace {

constexpr size_t kSmallMap = 16;  // up to this size a scan is faster than a hash table

std::string quoted_text(std::string_view text) {
  constexpr size_t kShown = 80;
  std::string out;
  if (text.size() <= kShown) {
    append_json_string(out, text);
    return out;
  }
  size_t cut = kShown;
  while (cut > 0 && (static_cast<unsigned char>(text[cut]) & 0xC0) == 0x80) --cut;  // not inside a character
  append_json_string(out, text.substr(0, cut));
  return out + "... (" + std::to_string(text.size()) + " bytes)";
}

}  // namespace

Tree::Map::Map() = default;
Tree::Map::~Map() = default;
Tree::Map::Map(const Map& other) = default;
Tree::Map::Map(Map&& other) noexcept = default;
Tree::Map& Tree::Map::operator=(const Map& other) = default;
Tree::Map& Tree::Map::operator=(Map&& other) noexcept = default;

std::optional<size_t> Tree::Map::index(std::string_view key) const {
  if (members_.size() > kSmallMap) {
    auto found = index_.find(std::string(key));
    return found == index_.end() ? std::nullopt : std::optional(found->second);
  }
  for (size_t i = 0; i < members_.size(); ++i) {
    if (members_[i].key == key) return i;
  }
  return std::nullopt;
}

const Tree* Tree::Map::find(std::string_view key) const {
  auto i = index(key);
  return i ? &members_[*i].value : nullptr;
}

Tree* Tree::Map::find(std::string_view key) {
  auto i = index(key);
  return i ? &members_[*i].value : nullptr;
}

bool Tree::Map::add(std::string key, Tree value) {
  if (index(key)) return false;
  members_.push_back({std::move(key), std::move(value)});
  if (members_.size() == kSmallMap + 1) {
    for (size_t i = 0; i < members_.size(); ++i) index_.emplace(members_[i].key, i);
  } else if (members_.size() > kSmallMap) {
    index_.emplace(members_.back().key, members_.size() - 1);
  }
  return true;
}

void Tree::Map::set(std::string key, Tree value) {
  if (auto i = index(key)) members_[*i].value = std::move(value);
  else add(std::move(key), std::move(value));
}

bool Tree::Map::erase(std::string_view key) {
  auto i = index(key);
  if (!i) return false;
  members_.erase(members_.begin() + static_cast<std::ptrdiff_t>(*i));
  index_.clear();
  if (members_.size() > kSmallMap) {
    for (size_t at = 0; at < members_.size(); ++at) index_.emplace(members_[at].key, at);
  }
  return true;
}

Tree::Tree(std::initializer_list<std::pair<const char*, Tree>> members) : value_(Map()) {
  for (const auto& [key, value] : members) require(as_map().add(key, value), "a map has the key \"", key, "\" twice");
}

Tree Tree::list(std::vector<Tree> items) {
  Tree tree;
  tree.value_ = std::move(items);
  return tree;
}

Tree Tree::map() {
  Tree tree;
  tree.value_ = Map();
  return tree;
}

bool Tree::boolean() const {
  if (const bool* value = std::get_if<bool>(&value_)) return *value;
  wants("true or false");
}

int64_t Tree::integer() const {
  if (const int64_t* value = std::get_if<int64_t>(&value_)) return *value;
  if (const double* value = std::get_if<double>(&value_)) {
    constexpr double kExact = 9007199254740992.0;  // 2^53: above it doubles skip integers
    if (std::abs(*value) <= kExact && *value == std::floor(*value)) return static_cast<int64_t>(*value);
  }
  wants("an integer");
}

int64_t Tree::integer(int64_t low, int64_t high) const {
  int64_t value = 0;
  bool ok = is_number();
  if (ok) value = integer();
  if (ok && low <= value && value <= high) return value;
  constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
  if (high == kMax) wants("an integer of at least " + std::to_string(low));
  wants("an integer from " + std::to_string(low) + " to " + std::to_string(high));
}

double Tree::number() const {
  if (const double* value = std::get_if<double>(&value_)) return *value;
  if (const int64_t* value = std::get_if<int64_t>(&value_)) return static_cast<double>(*value);
  wants("a number");
}

const std::string& Tree::string() const {
  if (const std::string* value = std::get_if<std::string>(&value_)) return *value;
  wants("a string");
}

const std::vector<Tree>& Tree::items() const {
  if (const auto* value = std::get_if<std::vector<Tree>>(&value_)) return *value;
  wants("a list");
}

std::vector<Tree>& Tree::items() { return const_cast<std::vector<Tree>&>(std::as_const(*this).items()); }

const Tree::Map& Tree::as_map() const {
  if (const Map* value = std::get_if<Map>(&value_)) return *value;
  wants("a map of keys and values");
}

Tree::Map& Tree::as_map() { return const_cast<Map&>(std::as_const(*this).as_map()); }

const std::vector<Tree::Member>& Tree::members() const { return as_map().members(); }

size_t Tree::size() const {
  if (is_list()) return items().size();
  if (is_map()) return members().size();
  return 0;
}

const Tree* Tree::find(std::string_view key) const {
  const Map* map = std::get_if<Map>(&value_);
  return map ? map->find(key) : nullptr;
}

const Tree* Tree::find_path(std::string_view path) const {
  const Tree* tree = this;
  for (const std::string& part : split_path(path)) {
    if (tree->is_list()) {
      const bool digits = part.size() <= 9 && std::all_of(part.begin(), part.end(), [](char c) { return c >= '0' && c <= '9'; });
      const size_t i = digits ? std::stoul(part) : tree->size();
      tree = i < tree->size() ? &tree->items()[i] : nullptr;
    } else {
      tree = tree->find(part);
    }
    if (!tree) return nullptr;
  }
  return tree;
}

const Tree& Tree::at(std::string_view key) const {
  const Map& map = as_map();
  if (const Tree* member = map.find(key)) return *member;
  std::string there;
  for (size_t i = 0; i < std::min<size_t>(map.members().size(), 12); ++i) there += (i ? ", " : "") + map.members()[i].key;
  if (map.members().size() > 12) there += ", ...";
  fail(where(), "has no key \"", key, "\"; it has ", there.empty() ? "none" : there);
}

void Tree::set(std::string key, Tree value) {
  if (is_null()) value_ = Map();
  as_map().set(std::move(key), std::move(value));
}

void Tree::push_back(Tree value) {
  if (is_null()) value_ = std::vector<Tree>();
  items().push_back(std::move(value));
}

std::vector<const Tree::Member*> Tree::unknown(const std::vector<std::string>& known) const {
  std::vector<const Member*> out;
  for (const Member& member : members()) {
    if (std::find(known.begin(), known.end(), member.key) == known.end()) out.push_back(&member);
  }
  return out;
}

std::string Tree::location() const {
  if (!place_ || !place_->source) return "";
  return place_->line ? *place_->source + ":" + std::to_string(place_->line) : *place_->source;
}

std::string Tree::path() const {
  std::vector<const std::string*> parts;
  for (const Place* place = place_.get(); place && !place->key.empty(); place = place->parent.get()) parts.push_back(&place->key);
  std::string out;
  for (auto part = parts.rbegin(); part != parts.rend(); ++part) {
    if (!out.empty() && (*part)->front() != '[') out += '.';
    out += **part;
  }
  return out;
}

std::string Tree::where() const {
  std::string out = location();
  if (!out.empty()) out += ": ";
  const std::string keys = path();
  return keys.empty() ? out : out + keys + ": ";
}

std::string Tree::shown() const {
  switch (kind()) {
    case Kind::string: return quoted_text(std::get<std::string>(value_));
    case Kind::list: return "a list of " + std::to_string(size()) + " items";
    case Kind::map: return "a map of " + std::to_string(size()) + " keys";
    case Kind::missing: return "a value that is not set";
    case Kind::number:
      if (const double value = std::get<double>(value_); !std::isfinite(value))
        return std::isnan(value) ? "nan" : value < 0 ? "-inf" : "inf";
      [[fallthrough]];
    default: return to_json(*this);
  }
}

void Tree::wants(std::string_view what) const {
  if (const Missing* missing = std::get_if<Missing>(&value_)) fail(where(), "wants ", what, ", but ", missing->reason);
  fail(where(), "wants ", what, ", got ", shown());
}

bool Tree::operator==(const Tree& other) const {
  if (kind() != other.kind()) return is_number() && other.is_number() && number() == other.number();
  switch (kind()) {
    case Kind::null:
    case Kind::missing: return true;
    case Kind::boolean: return boolean() == other.boolean();
    case Kind::integer: return integer() == other.integer();
    case Kind::number: return number() == other.number();
    case Kind::string: return string() == other.string();
    case Kind::list: return items() == other.items();
    case Kind::map: return members() == other.members();
  }
  return false;
}

std::string list_key(size_t index) {
  std::string out = std::to_string(index);
  out.insert(out.begin(), '[');
  out += ']';
  return out;
}

std::vector<std::string> split_path(std::string_view path) {
  std::vector<std::string> parts(1);
  bool closed = false;  // right after a ']'
  for (size_t i = 0; i < path.size(); ++i) {
    const char c = path[i];
    if (c == '.' || (c == '[' && !(parts.size() == 1 && parts[0].empty()))) {
      require(closed || !parts.back().empty(), "the key path \"", path, "\" has an empty part");
      parts.emplace_back();
      closed = false;
      if (c == '.') continue;
    }
    if (c == '[') {
      const size_t end = path.find(']', i);
      require(end != std::string_view::npos && end > i + 1, "the key path \"", path, "\" has a '[' without a number and ']'");
      parts.back() = path.substr(i + 1, end - i - 1);
      i = end;
      closed = true;
      continue;
    }
    require(!closed, "the key path \"", path, "\" wants '.' or '[' after ']'");
    parts.back() += c;
  }
  require(!parts.back().empty(), "the key path \"", path, "\" has an empty part");
  return parts;
}

}  // namespace m2bert::io
