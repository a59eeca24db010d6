#pragma once
// The embeddings of the passages of earlier batches, which are further negatives.
#include <vector>

#include "m2bert/nn/module.h"

namespace m2bert::tasks {

// A queue of fixed size. Source: Wang et al. 2020, Cross-Batch Memory for Embedding Learning.
class MemoryBank {
 public:
  // capacity: passages; size: of an embedding.
  MemoryBank(int capacity, int size);

  // Replaces the oldest passages. vectors [n, d], numbers: of their texts.
  void push(const mx::array& vectors, const std::vector<int32_t>& numbers);
  // Those that are in it, in no particular order: [count, d], and the numbers of their texts.
  mx::array vectors() const;
  std::vector<int32_t> numbers() const;
  int count() const;

  // All of its state, as a checkpoint of the run holds it.
  std::vector<nn::NamedArray> state();

 private:
  mx::array vectors_;  // [capacity, d]
  mx::array numbers_;  // [capacity] int32
  mx::array pushed_;   // [1] int32, all passages so far; counts on from capacity once it reaches twice that
};

}  // namespace m2bert::tasks
