#pragma once
// Caches the filters of a layer by sequence length, so that inference computes them once per length.
#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "m2bert/mx.h"

namespace m2bert::models::packed {

// What filters depend on, apart from the weights.
struct FilterKey {
  int length;       // positions
  mx::Dtype dtype;  // of the sequences
  bool operator==(const FilterKey&) const = default;
};

// An LRU cache. Small filters are always cached. Large ones are cached only from the second consecutive batch of a length on, so that a
// single long sequence does not need the memory. Not thread-safe.
template <class Value>
class FilterCache {
 public:
  static constexpr size_t kSmall = size_t(16) << 20;  // bytes

  // limit: larger filters are never cached, in bytes.
  explicit FilterCache(size_t limit) : limit_(limit) {}

  // The cached filters, or null. The pointer is valid until the next call of add or make_room.
  const Value* find(const FilterKey& key) {
    const auto found = std::find_if(entries_.begin(), entries_.end(), [&](const Entry& e) { return e.key == key; });
    if (found == entries_.end()) return nullptr;
    last_ = key;
    std::rotate(found, found + 1, entries_.end());
    return &entries_.back().value;
  }

  // Whether filters of this size, which are not in the cache, should be added. Remembers the request.
  bool admits(const FilterKey& key, size_t bytes) {
    const bool again = last_ && last_->length == key.length;
    last_ = key;
    return bytes <= limit_ && (bytes <= kSmall || again);
  }

  // Evicts the oldest entries until `bytes` more fit into kSmall. Called before new filters are computed.
  void make_room(size_t bytes) {
    while (!entries_.empty() && size() + bytes > kSmall) entries_.erase(entries_.begin());
  }
  const Value& add(const FilterKey& key, size_t bytes, Value value) {
    entries_.push_back({key, bytes, std::move(value)});
    return entries_.back().value;
  }

  size_t size() const {  // bytes
    size_t sum = 0;
    for (const Entry& e : entries_) sum += e.bytes;
    return sum;
  }

 private:
  struct Entry {
    FilterKey key;
    size_t bytes;
    Value value;
  };

  size_t limit_;
  std::vector<Entry> entries_;  // most recently used last
  std::optional<FilterKey> last_;
};

}  // namespace m2bert::models::packed
