#pragma once
// The order of an epoch's samples. It depends on the data, the seed and the epoch only, not on batch size or number of processes.
//
// To shuffle, the shards are put in random order and cut into blocks of whole shards with at least `block` samples; the samples are then
// shuffled within each block. So memory is that of one block whatever the size of the data set, and any position of the order can be
// reached directly.
#include <cstddef>
#include <cstdint>
#include <vector>

namespace m2bert::data {

struct StreamSamples {
  std::vector<uint64_t> shards;  // samples of each shard
  uint64_t chosen = 0;           // samples per epoch: floor(chosen / sum of shards) full passes, the remainder sampled at random
};

struct SamplerOptions {
  bool shuffle = false;
  uint64_t seed = 0;
  uint64_t block = uint64_t{1} << 18;  // samples that are shuffled together; UINT64_MAX: the whole epoch
};

struct SampleRef {
  uint32_t shard;  // numbered over all streams
  uint32_t sample;
  bool operator==(const SampleRef&) const = default;
};

class EpochSampler {
 public:
  // Throws if there are more than 2^32 - 1 shards, or if the data is repeated so often that the order does not fit into memory.
  EpochSampler(const std::vector<StreamSamples>& streams, const SamplerOptions& options, uint64_t epoch);

  uint64_t samples() const { return begins_.back(); }
  size_t blocks() const { return begins_.size() - 1; }
  uint64_t begin(size_t block) const { return begins_[block]; }  // position of the block's first sample; begin(blocks()) is the end
  size_t block_of(uint64_t position) const;
  std::vector<uint32_t> shards(size_t block) const;  // without repeats, in order of use
  std::vector<SampleRef> refs(size_t block) const;   // the block's samples in order

 private:
  struct ShardPass {  // one pass over a shard or a part of it
    uint32_t shard;
    uint32_t samples;  // how many of it
  };
  void add_stream(const StreamSamples& stream, uint64_t number);
  void cut_into_blocks();
  void append(const ShardPass& pass, std::vector<SampleRef>& refs) const;

  SamplerOptions options_;
  uint64_t epoch_;
  std::vector<uint32_t> shard_samples_;
  std::vector<ShardPass> passes_;
  std::vector<size_t> first_pass_;  // of each block, and the end
  std::vector<uint64_t> begins_;
};

}  // namespace m2bert::data
