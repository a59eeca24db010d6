#pragma once
#include <algorithm>
#include <functional>
#include <utility>
#include <vector>

#include "m2bert/mx.h"

namespace m2bert::nn {

// Whether one of them is traced by a gradient.
bool any_traced(const std::vector<mx::array>& arrays);

// Something that depends on weights (and a length) alone: made once and kept until one of the weights is another. Weights are told apart
// by their handles' ids; the handles are held, so that no id is used again. Inside a gradient's trace, where weights have no values,
// nothing is kept. Of several lengths the last ones are kept, as long as together they cost no more than `most`.
template <class Value>
class Kept {
 public:
  // `make` gives a value that is evaluated already. cost: what counts towards `most`.
  Value get(int length, const std::vector<mx::array>& weights, const std::function<Value()>& make, size_t cost = 0, size_t most = 0) {
    if (any_traced(weights)) return make();
    if (!same(weights)) {
      entries_.clear();  // the old values go before the new one is made
      weights_ = weights;
    }
    auto found = std::find_if(entries_.begin(), entries_.end(), [&](const Entry& e) { return e.length == length; });
    if (found != entries_.end()) {
      std::rotate(found, found + 1, entries_.end());
      return entries_.back().value;
    }
    while (!entries_.empty() && this->cost() + cost > most) entries_.erase(entries_.begin());
    entries_.push_back({length, cost, make()});
    return entries_.back().value;
  }

  bool holds(int length, const std::vector<mx::array>& weights) const {
    return same(weights) && std::any_of(entries_.begin(), entries_.end(), [&](const Entry& e) { return e.length == length; });
  }

 private:
  struct Entry {
    int length;
    size_t cost;
    Value value;
  };

  bool same(const std::vector<mx::array>& weights) const {
    return std::equal(weights.begin(), weights.end(), weights_.begin(), weights_.end(),
                      [](const mx::array& a, const mx::array& b) { return a.id() == b.id(); });
  }
  size_t cost() const {
    size_t sum = 0;
    for (const Entry& e : entries_) sum += e.cost;
    return sum;
  }

  std::vector<mx::array> weights_;
  std::vector<Entry> entries_;  // the last used one is the last
};

}  // namespace m2bert::nn
