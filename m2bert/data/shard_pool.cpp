#include "m2bert/data/shard_pool.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <utility>

#include "m2bert/error.h"

namespace m2bert::data {

struct ShardPool::State {
  enum class Stage { wanted, opening, open, failed };
  struct Entry {
    Stage stage = Stage::wanted;
    size_t references = 0;
    std::shared_ptr<const MdsShard> shard;
    std::exception_ptr error;
  };

  std::shared_ptr<const std::vector<MdsStream>> streams;
  std::mutex mutex;
  std::condition_variable changed;
  std::unordered_map<uint32_t, Entry> entries;
  std::deque<uint32_t> queue;
  std::vector<std::thread> threads;
  int running = 0;
  bool stop = false;

  // The shard's stream, and its number in it.
  std::pair<const MdsStream*, size_t> find(uint32_t shard) const {
    size_t left = shard;
    for (const MdsStream& stream : *streams) {
      if (left < stream.index().shards.size()) return {&stream, left};
      left -= stream.index().shards.size();
    }
    fail("there is no shard ", shard);
  }

  // Opens a shard whose entry is `wanted`. The lock is held on entry and on return.
  void open(uint32_t shard, std::unique_lock<std::mutex>& lock) {
    entries.at(shard).stage = Stage::opening;
    lock.unlock();
    std::shared_ptr<const MdsShard> opened;
    std::exception_ptr error;
    try {
      const auto [stream, number] = find(shard);
      opened = stream->open(number);
    } catch (...) {
      error = std::current_exception();
    }
    lock.lock();
    Entry& entry = entries.at(shard);
    entry.stage = error ? Stage::failed : Stage::open;
    entry.shard = std::move(opened);
    entry.error = error;
    evict_if_unused(shard);
    changed.notify_all();
  }

  void evict_if_unused(uint32_t shard) {
    const auto found = entries.find(shard);
    if (found == entries.end() || found->second.references > 0 || found->second.stage == Stage::opening) return;
    entries.erase(found);
    const auto [stream, number] = find(shard);
    stream->release(number);
  }

  static void work(State& state) {
    std::unique_lock lock(state.mutex);
    for (;;) {
      state.changed.wait(lock, [&] { return state.stop || !state.queue.empty(); });
      if (state.stop) break;
      const uint32_t shard = state.queue.front();
      state.queue.pop_front();
      const auto found = state.entries.find(shard);
      if (found != state.entries.end() && found->second.stage == Stage::wanted) state.open(shard, lock);
    }
    --state.running;
    state.changed.notify_all();
  }
};

ShardPool::ShardPool(std::shared_ptr<const std::vector<MdsStream>> streams, int threads) : state_(std::make_shared<State>()) {
  state_->streams = std::move(streams);
  state_->running = threads;
  for (int i = 0; i < threads; ++i) state_->threads.emplace_back([state = state_] { State::work(*state); });
}

// A thread that still waits for a server is detached; it owns what it uses.
ShardPool::~ShardPool() {
  std::unique_lock lock(state_->mutex);
  state_->stop = true;
  state_->changed.notify_all();
  const bool ended = state_->changed.wait_for(lock, std::chrono::seconds(1), [&] { return state_->running == 0; });
  std::vector<std::thread> threads = std::move(state_->threads);
  lock.unlock();
  for (std::thread& thread : threads) ended ? thread.join() : thread.detach();
}

void ShardPool::acquire(const std::vector<uint32_t>& shards) {
  const std::lock_guard lock(state_->mutex);
  for (const uint32_t shard : shards) {
    const auto [entry, added] = state_->entries.try_emplace(shard);
    ++entry->second.references;
    if (added) state_->queue.push_back(shard);
  }
  state_->changed.notify_all();
}

void ShardPool::release(const std::vector<uint32_t>& shards) {
  const std::lock_guard lock(state_->mutex);
  for (const uint32_t shard : shards) {
    const auto found = state_->entries.find(shard);
    if (found == state_->entries.end() || found->second.references == 0) continue;
    if (--found->second.references == 0) state_->evict_if_unused(shard);
  }
}

std::shared_ptr<const MdsShard> ShardPool::get(uint32_t shard) {
  std::unique_lock lock(state_->mutex);
  ++state_->entries[shard].references;
  for (;;) {
    State::Entry& entry = state_->entries.at(shard);
    if (entry.stage == State::Stage::wanted) state_->open(shard, lock);
    else if (entry.stage == State::Stage::opening) state_->changed.wait(lock);
    else break;
  }
  State::Entry& entry = state_->entries.at(shard);
  const auto opened = entry.shard;
  const auto error = entry.error;
  if (--entry.references == 0) state_->evict_if_unused(shard);
  lock.unlock();
  if (error) std::rethrow_exception(error);
  return opened;
}

}  // namespace m2bert::data
