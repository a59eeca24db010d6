#pragma once
// The shards that are open: those that will be needed soon are opened by threads of the pool before they are asked for.
#include <cstdint>
#include <memory>
#include <vector>

#include "m2bert/data/mds_shard.h"
#include "m2bert/data/mds_stream.h"

namespace m2bert::data {

// Any thread.
class ShardPool {
 public:
  // Shards are counted over all streams, in order. threads: those that open shards ahead.
  ShardPool(std::shared_ptr<const std::vector<MdsStream>> streams, int threads);
  ~ShardPool();
  ShardPool(const ShardPool&) = delete;
  ShardPool& operator=(const ShardPool&) = delete;

  // Opens the shards ahead, in that order, and keeps them until as many drop() calls have named them.
  void hold(const std::vector<uint32_t>& shards);
  void drop(const std::vector<uint32_t>& shards);
  // The shard, waiting until it is open. Rethrows what opening it threw, every time while it is held.
  std::shared_ptr<const MdsShard> get(uint32_t shard);

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace m2bert::data
