#include "m2bert/data/epoch_order.h"

#include <algorithm>
#include <unordered_set>

#include "m2bert/data/random.h"
#include "m2bert/error.h"

namespace m2bert::data {
namespace {

__extension__ using Wide = unsigned __int128;

constexpr size_t kMostUnits = size_t{1} << 27;

// What a random number is for.
enum Purpose : uint64_t { units, block, partial, allotment };

// How many of `chosen` samples fall to each shard: in proportion to its size, the rounding shifted at random.
std::vector<uint64_t> allotted(const std::vector<uint64_t>& shards, uint64_t sum, uint64_t chosen, Random random) {
  const Wide shift = random.below(sum);
  std::vector<uint64_t> counts;
  Wide before = 0, end = 0;
  for (const uint64_t samples : shards) {
    end += samples;
    const Wide upto = (end * chosen + shift) / sum;
    counts.push_back(static_cast<uint64_t>(upto - before));
    before = upto;
  }
  return counts;
}

}  // namespace

EpochOrder::EpochOrder(const std::vector<StreamSamples>& streams, const OrderOptions& options, uint64_t epoch)
    : options_(options), epoch_(options.shuffle ? epoch : 0) {
  for (size_t i = 0; i < streams.size(); ++i) add_stream(streams[i], i);
  if (options_.shuffle) {
    Random random{options_.seed, epoch_, Purpose::units};
    shuffle(units_, random);
  }
  cut_into_blocks();
}

void EpochOrder::add_stream(const StreamSamples& stream, uint64_t number) {
  uint64_t sum = 0;
  for (const uint64_t samples : stream.shards) sum += samples;
  if (sum == 0) require(stream.chosen == 0, "samples are wanted from a stream without any");
  const uint64_t passes = sum == 0 ? 0 : stream.chosen / sum, rest = sum == 0 ? 0 : stream.chosen % sum;
  const auto part = rest == 0 ? std::vector<uint64_t>(stream.shards.size(), 0)
                              : allotted(stream.shards, sum, rest, Random{options_.seed, epoch_, Purpose::allotment, number});
  require(passes < kMostUnits && units_.size() + (passes + 1) * stream.shards.size() < kMostUnits, "an epoch with ", passes,
          " passes over ", stream.shards.size(), " shards is too long to be ordered; take more epochs of fewer passes");
  for (size_t i = 0; i < stream.shards.size(); ++i) {
    require(stream.shards[i] <= UINT32_MAX && shard_samples_.size() < UINT32_MAX,
            "a shard has too many samples, or there are too many shards");
    const auto shard = static_cast<uint32_t>(shard_samples_.size());
    const auto samples = static_cast<uint32_t>(stream.shards[i]);
    shard_samples_.push_back(samples);
    for (uint64_t pass = 0; pass < passes && samples > 0; ++pass) units_.push_back({shard, samples});
    if (part[i] > 0) units_.push_back({shard, static_cast<uint32_t>(part[i])});
  }
}

void EpochOrder::cut_into_blocks() {
  begins_ = {0};
  first_unit_ = {0};
  uint64_t samples = 0;
  for (size_t i = 0; i < units_.size(); ++i) {
    samples += units_[i].samples;
    const bool full = samples - begins_.back() >= options_.block;
    if (!full && i + 1 < units_.size()) continue;
    begins_.push_back(samples);
    first_unit_.push_back(i + 1);
  }
}

size_t EpochOrder::block_of(uint64_t position) const {
  require(position < samples(), "the epoch has ", samples(), " samples, there is none at ", position);
  return static_cast<size_t>(std::upper_bound(begins_.begin(), begins_.end(), position) - begins_.begin()) - 1;
}

std::vector<uint32_t> EpochOrder::shards(size_t block) const {
  std::vector<uint32_t> shards;
  std::unordered_set<uint32_t> seen;
  for (size_t i = first_unit_[block]; i < first_unit_[block + 1]; ++i)
    if (seen.insert(units_[i].shard).second) shards.push_back(units_[i].shard);
  return shards;
}

// All samples of the shard, or as many as the unit wants, each set of them equally likely; in the shard's order.
void EpochOrder::append(const Unit& unit, std::vector<SampleRef>& refs) const {
  const uint32_t samples = shard_samples_[unit.shard];
  Random random{options_.seed, epoch_, Purpose::partial, unit.shard};
  uint32_t wanted = unit.samples;
  for (uint32_t sample = 0; wanted > 0; ++sample) {
    const bool taken = wanted == samples - sample || random.below(samples - sample) < wanted;
    if (!taken) continue;
    refs.push_back({unit.shard, sample});
    --wanted;
  }
}

std::vector<SampleRef> EpochOrder::refs(size_t block) const {
  std::vector<SampleRef> refs;
  refs.reserve(begins_[block + 1] - begins_[block]);
  for (size_t i = first_unit_[block]; i < first_unit_[block + 1]; ++i) append(units_[i], refs);
  if (options_.shuffle) {
    Random random{options_.seed, epoch_, Purpose::block, block};
    shuffle(refs, random);
  }
  return refs;
}

}  // namespace m2bert::data
