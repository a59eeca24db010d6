#include "m2bert/data/epoch_sampler.h"

#include <algorithm>
#include <unordered_set>

#include "m2bert/error.h"
#include "m2bert/random.h"

namespace m2bert::data {
namespace {

__extension__ using Wide = unsigned __int128;

constexpr size_t kMaxPasses = size_t{1} << 27;

// Keeps the random streams of different uses apart.
enum Purpose : uint64_t { pass_order, block_order, partial_pass, apportionment };

// Distributes `chosen` samples over the shards in proportion to their sizes, with a random offset of the rounding.
std::vector<uint64_t> apportion(const std::vector<uint64_t>& shards, uint64_t sum, uint64_t chosen, Random random) {
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

EpochSampler::EpochSampler(const std::vector<StreamSamples>& streams, const SamplerOptions& options, uint64_t epoch)
    : options_(options), epoch_(options.shuffle ? epoch : 0) {
  for (size_t i = 0; i < streams.size(); ++i) add_stream(streams[i], i);
  if (options_.shuffle) {
    Random random{options_.seed, epoch_, Purpose::pass_order};
    shuffle(passes_, random);
  }
  cut_into_blocks();
}

void EpochSampler::add_stream(const StreamSamples& stream, uint64_t number) {
  uint64_t sum = 0;
  for (const uint64_t samples : stream.shards) sum += samples;
  if (sum == 0) require(stream.chosen == 0, "samples are wanted from a stream without any");
  const uint64_t passes = sum == 0 ? 0 : stream.chosen / sum, rest = sum == 0 ? 0 : stream.chosen % sum;
  const auto part = rest == 0 ? std::vector<uint64_t>(stream.shards.size(), 0)
                              : apportion(stream.shards, sum, rest, Random{options_.seed, epoch_, Purpose::apportionment, number});
  require(passes < kMaxPasses && passes_.size() + (passes + 1) * stream.shards.size() < kMaxPasses, "an epoch with ", passes,
          " passes over ", stream.shards.size(), " shards is too long to be ordered; take more epochs of fewer passes");
  for (size_t i = 0; i < stream.shards.size(); ++i) {
    require(stream.shards[i] <= UINT32_MAX && shard_samples_.size() < UINT32_MAX,
            "a shard has too many samples, or there are too many shards");
    const auto shard = static_cast<uint32_t>(shard_samples_.size());
    const auto samples = static_cast<uint32_t>(stream.shards[i]);
    shard_samples_.push_back(samples);
    for (uint64_t pass = 0; pass < passes && samples > 0; ++pass) passes_.push_back({shard, samples});
    if (part[i] > 0) passes_.push_back({shard, static_cast<uint32_t>(part[i])});
  }
}

void EpochSampler::cut_into_blocks() {
  begins_ = {0};
  first_pass_ = {0};
  uint64_t samples = 0;
  for (size_t i = 0; i < passes_.size(); ++i) {
    samples += passes_[i].samples;
    const bool full = samples - begins_.back() >= options_.block;
    if (!full && i + 1 < passes_.size()) continue;
    begins_.push_back(samples);
    first_pass_.push_back(i + 1);
  }
}

size_t EpochSampler::block_of(uint64_t position) const {
  require(position < samples(), "the epoch has ", samples(), " samples, there is none at ", position);
  return static_cast<size_t>(std::upper_bound(begins_.begin(), begins_.end(), position) - begins_.begin()) - 1;
}

std::vector<uint32_t> EpochSampler::shards(size_t block) const {
  std::vector<uint32_t> shards;
  std::unordered_set<uint32_t> seen;
  for (size_t i = first_pass_[block]; i < first_pass_[block + 1]; ++i)
    if (seen.insert(passes_[i].shard).second) shards.push_back(passes_[i].shard);
  return shards;
}

// Selection sampling: a uniformly random subset of the shard's samples, in the shard's order; all of them for a full pass.
void EpochSampler::append(const ShardPass& pass, std::vector<SampleRef>& refs) const {
  const uint32_t samples = shard_samples_[pass.shard];
  Random random{options_.seed, epoch_, Purpose::partial_pass, pass.shard};
  uint32_t wanted = pass.samples;
  for (uint32_t sample = 0; wanted > 0; ++sample) {
    const bool taken = wanted == samples - sample || random.below(samples - sample) < wanted;
    if (!taken) continue;
    refs.push_back({pass.shard, sample});
    --wanted;
  }
}

std::vector<SampleRef> EpochSampler::refs(size_t block) const {
  std::vector<SampleRef> refs;
  refs.reserve(begins_[block + 1] - begins_[block]);
  for (size_t i = first_pass_[block]; i < first_pass_[block + 1]; ++i) append(passes_[i], refs);
  if (options_.shuffle) {
    Random random{options_.seed, epoch_, Purpose::block_order, block};
    shuffle(refs, random);
  }
  return refs;
}

}  // namespace m2bert::data
