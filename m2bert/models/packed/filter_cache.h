#pragma once
// The filters of a layer for the last lengths, so that inference computes them once a length.
#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "m2bert/mx.h"

namespace m2bert::models::packed {

// What filters depend on besides the weights.
struct FilterKey {
  int length;       // positions
  mx::Dtype dtype;  // of the sequences
  bool operator==(const FilterKey&) const = default;
};

// Least recently used first out. Small filters are always cached. Large ones pay only from the second consecutive batch of a length on: one
// long sequence does without the memory for them. Not thread-safe.
template <class Value>
class FilterCache {
 public:
  static constexpr size_t kSmall = size_t(16) << 20;  // bytes

  // limit: filters of more bytes are never cached.
  explicit FilterCache(size_t limit) : limit_(limit) {}

  // The cached filters, or null. Valid until the next call of add or make_room.
  const Value* find(const FilterKey& key) {
    const auto found = std::find_if(entries_.begin(), entries_.end(), [&](const Entry& e) { return e.key == key; });
    if (found == entries_.end()) return nullptr;
    last_ = key;
    std::rotate(found, found + 1, entries_.end());
    return &entries_.back().value;
  }

  // Whether filters of this size, which are not in the cache, should be added; remembers that they were asked for.
  bool admits(const FilterKey& key, size_t bytes) {
    const bool again = last_ && last_->length == key.length;
    last_ = key;
    return bytes <= limit_ && (bytes <= kSmall || again);
  }

  // Drops the oldest entries until `bytes` more are small, so that they are gone before new filters are computed.
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
  std::vector<Entry> entries_;  // the last used one is the last
  std::optional<FilterKey> last_;
};

}  // namespace m2bert::models::packed
