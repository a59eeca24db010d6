#pragma once
// A reference-counted pool of open shards, with threads that open shards ahead of their use.
#include <cstdint>
#include <memory>
#include <vector>

#include "m2bert/data/mds_shard.h"
#include "m2bert/data/mds_stream.h"

namespace m2bert::data {

// Thread-safe.
class ShardPool {
 public:
  // Shards are numbered over all streams, in order. threads: number of threads that prefetch.
  ShardPool(std::shared_ptr<const std::vector<MdsStream>> streams, int threads);
  ~ShardPool();
  ShardPool(const ShardPool&) = delete;
  ShardPool& operator=(const ShardPool&) = delete;

  // Starts to open the shards in that order, and keeps each until release() was called as often as acquire().
  void acquire(const std::vector<uint32_t>& shards);
  void release(const std::vector<uint32_t>& shards);
  // Waits for the shard. If it could not be opened, every call rethrows the error as long as the shard is acquired.
  std::shared_ptr<const MdsShard> get(uint32_t shard);

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace m2bert::data
