#include "m2bert/tokenize/vocabulary.h"

#include "m2bert/error.h"

#include <algorithm>

namespace m2bert::tokenize {

Vocabulary::Vocabulary(const std::vector<std::pair<std::string_view, int32_t>>& tokens, const std::string& name) {
  Sorted sorted = tokens;
  std::stable_sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  Sorted unique;
  unique.reserve(sorted.size());
  for (const auto& entry : sorted) {
    if (!unique.empty() && unique.back().first == entry.first) unique.back() = entry;
    else unique.push_back(entry);
  }
  for (const auto& [token, id] : unique) {
    require(id >= 0 && id <= max_id, name, ": token '", token, "' has id ", id, ", wants 0 to ", max_id);
    if (static_cast<size_t>(id) >= tokens_.size()) tokens_.resize(static_cast<size_t>(id) + 1);
    Place& place = tokens_[static_cast<size_t>(id)];
    require(place.begin == none, name, ": tokens '", this->token(id), "' and '", token, "' have the same id ", id);
    place = {text_.size(), token.size()};
    text_ += token;
  }
  build(unique);
}

std::string_view Vocabulary::token(int32_t id) const {
  const Place& place = tokens_[static_cast<size_t>(id)];
  return place.begin == none ? std::string_view() : std::string_view(text_).substr(place.begin, place.size);
}

Vocabulary::Node Vocabulary::walk(std::string_view bytes) const {
  Node node = root;
  for (char byte : bytes) {
    node = child(node, static_cast<uint8_t>(byte));
    if (node == dead) return dead;
  }
  return node;
}

int32_t Vocabulary::id(std::string_view token) const {
  const Node node = walk(token);
  return node == dead ? -1 : value(node);
}

// Breadth first, so that the first characters of all words lie close together.
void Vocabulary::build(const Sorted& sorted) {
  cells_.resize(256);
  cells_[root].parent = dead - 1;  // taken, and nobody's child
  std::vector<Range> level{{0, sorted.size(), 0, root}}, next;
  while (!level.empty()) {
    next.clear();
    for (const Range& range : level) place_children(range, sorted, next);
    level.swap(next);
  }
}

// range: the sorted tokens that share the node's prefix of `depth` bytes.
void Vocabulary::place_children(const Range& range, const Sorted& sorted, std::vector<Range>& todo) {
  size_t begin = range.begin;
  if (begin < range.end && sorted[begin].first.size() == range.depth) cells_[range.node].id = sorted[begin++].second;
  std::vector<uint8_t> bytes;
  const size_t first = todo.size();
  while (begin < range.end) {
    const char byte = sorted[begin].first[range.depth];
    size_t end = begin + 1;
    while (end < range.end && sorted[end].first[range.depth] == byte) ++end;
    bytes.push_back(static_cast<uint8_t>(byte));
    todo.push_back({begin, end, range.depth + 1, 0});
    begin = end;
  }
  if (bytes.empty()) return;
  const Node base = find_base(bytes);
  cells_[range.node].base = base;
  for (size_t i = 0; i < bytes.size(); ++i) {
    const Node child = base ^ bytes[i];
    cells_[child].parent = range.node;
    todo[first + i].node = child;
  }
}

// A base whose cells for all bytes are free: a few free cells are tried, then a new block of 256 is taken.
Vocabulary::Node Vocabulary::find_base(const std::vector<uint8_t>& bytes) {
  constexpr int max_tries = 64;
  const auto is_free = [&](Node cell) { return cells_[cell].parent == dead; };
  while (first_free_ < cells_.size() && !is_free(first_free_)) ++first_free_;
  Node cell = first_free_;
  for (int tries = 0; tries < max_tries && cell < cells_.size(); ++cell) {
    if (!is_free(cell)) continue;
    const Node base = cell ^ bytes[0];
    if (std::all_of(bytes.begin(), bytes.end(), [&](uint8_t byte) { return is_free(base ^ byte); })) return base;
    ++tries;
  }
  const Node base = static_cast<Node>(cells_.size());
  cells_.resize(cells_.size() + 256);
  first_free_ = cell;  // the cells tried are left empty
  return base;
}

}  // namespace m2bert::tokenize
