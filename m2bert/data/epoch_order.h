#pragma once
// The order of an epoch's samples. It follows from the data, the seed and the epoch alone: batch size and number of processes do not count.
//
// Shuffled, the shards come in random order; blocks of as many whole shards as hold `block` samples are mixed sample by sample. So a data
// set of any size needs the memory of one block, and a position in the order is found without going through what lies before it.
#include <cstddef>
#include <cstdint>
#include <vector>

namespace m2bert::data {

struct StreamSamples {
  std::vector<uint64_t> shards;  // samples of each shard
  uint64_t chosen = 0;           // samples of an epoch: each this often as chosen / sum of shards says, the rest picked at random
};

struct OrderOptions {
  bool shuffle = false;
  uint64_t seed = 0;
  uint64_t block = uint64_t{1} << 18;  // samples; UINT64_MAX: the whole epoch
};

struct SampleRef {
  uint32_t shard;  // counted over all streams
  uint32_t sample;
  bool operator==(const SampleRef&) const = default;
};

class EpochOrder {
 public:
  // Error: more than 2^32 - 1 shards, or data repeated so often that its order cannot be held.
  EpochOrder(const std::vector<StreamSamples>& streams, const OrderOptions& options, uint64_t epoch);

  uint64_t samples() const { return begins_.back(); }
  size_t blocks() const { return begins_.size() - 1; }
  uint64_t begin(size_t block) const { return begins_[block]; }  // position of its first sample; of blocks(): the end
  size_t block_of(uint64_t position) const;
  std::vector<uint32_t> shards(size_t block) const;  // each once, in the order in which they come
  std::vector<SampleRef> refs(size_t block) const;   // its samples in order

 private:
  struct Unit {  // one pass over a shard or over a part of it
    uint32_t shard;
    uint32_t samples;  // taken
  };
  void add_stream(const StreamSamples& stream, uint64_t number);
  void cut_into_blocks();
  void append(const Unit& unit, std::vector<SampleRef>& refs) const;

  OrderOptions options_;
  uint64_t epoch_;
  std::vector<uint32_t> shard_samples_;
  std::vector<Unit> units_;
  std::vector<size_t> first_unit_;  // of each block, and the end
  std::vector<uint64_t> begins_;
};

}  // namespace m2bert::data
