#pragma once
// The order of hits, and the best k so far of one query. Internal to the folder.
#include <algorithm>
#include <vector>

#include "m2bert/search/top_k.h"

namespace m2bert::search {

// Descending scores; equal ones in the order of the documents.
inline bool better(const Hit& a, const Hit& b) { return a.score != b.score ? a.score > b.score : a.index < b.index; }

// A heap with the worst hit at the front.
class TopHits {
 public:
  explicit TopHits(size_t k) : k_(k) {}
  void offer(Hit hit) {
    if (hits_.size() < k_) {
      hits_.push_back(hit);
      std::push_heap(hits_.begin(), hits_.end(), better);
    } else if (k_ > 0 && better(hit, hits_.front())) {
      std::pop_heap(hits_.begin(), hits_.end(), better);
      hits_.back() = hit;
      std::push_heap(hits_.begin(), hits_.end(), better);
    }
  }
  // Room for that many hits, which grows geometrically.
  void reserve(size_t hits) {
    const size_t wanted = std::min(k_, hits);
    if (wanted > hits_.capacity()) hits_.reserve(std::max(wanted, std::min(k_, 2 * hits_.capacity())));
  }
  const std::vector<Hit>& hits() const { return hits_; }
  std::vector<Hit> sorted() {
    std::sort_heap(hits_.begin(), hits_.end(), better);
    return std::move(hits_);
  }

 private:
  size_t k_;
  std::vector<Hit> hits_;
};

}  // namespace m2bert::search
