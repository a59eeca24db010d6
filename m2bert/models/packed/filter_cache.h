#pragma once
// Caches the filters of a layer by sequence length, so that inference computes them once per length.
#include <algorithm>
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

// An LRU cache. Small filters are always cached. Large ones are cached only from the second consecutive batch with their length on, so that
// a single long sequence does not need the memory. What one batch needs stays, however much it is. Not thread-safe.
template <class Value>
class FilterCache {
 public:
  static constexpr size_t kSmall = size_t(16) << 20;  // bytes

  // limit: what the filters of a batch may need to be cached, in bytes.
  explicit FilterCache(size_t limit) : limit_(limit) {}

  // Called before filters are looked up, with those that the batch needs.
  void begin_batch(std::vector<FilterKey> keys) { last_batch_ = std::exchange(batch_, std::move(keys)); }

  // The cached filters, or null. The pointer is valid until the next call of add or make_room.
  const Value* find(const FilterKey& key) {
    const auto found = std::find_if(entries_.begin(), entries_.end(), [&](const Entry& e) { return e.key == key; });
    if (found == entries_.end()) return nullptr;
    std::rotate(found, found + 1, entries_.end());
    return &entries_.back().value;
  }

  // Whether filters of this size, which find() did not find, should be added.
  bool admits(const FilterKey& key, size_t bytes) const {
    if (bytes > limit_) return false;
    size_t needed = bytes;
    for (const Entry& e : entries_) needed += contains(batch_, e.key) ? e.bytes : 0;
    return needed <= std::max(limit_, kSmall) && (bytes <= kSmall || contains(last_batch_, key));
  }

  // Evicts the oldest entries until `bytes` more fit into kSmall, but none of this batch. Called before new filters are computed.
  void make_room(size_t bytes) {
    for (auto e = entries_.begin(); e != entries_.end() && size() + bytes > kSmall;) {
      e = contains(batch_, e->key) ? e + 1 : entries_.erase(e);
    }
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
  static bool contains(const std::vector<FilterKey>& keys, const FilterKey& key) {
    return std::find(keys.begin(), keys.end(), key) != keys.end();
  }

  size_t limit_;
  std::vector<Entry> entries_;                 // most recently used last
  std::vector<FilterKey> batch_, last_batch_;  // of this batch, and of the one before
};

}  // namespace m2bert::models::packed
