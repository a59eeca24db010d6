#include "m2bert/data/text_data.h"

#include <algorithm>
#include <atomic>
#include <deque>
#include <mutex>
#include <numeric>
#include <span>
#include <thread>

#include "m2bert/data/epoch_sampler.h"
#include "m2bert/data/ordered_workers.h"
#include "m2bert/data/shard_pool.h"
#include "m2bert/data/text_row.h"
#include "m2bert/error.h"
#include "m2bert/io/interrupt.h"
#include "m2bert/io/log.h"

namespace m2bert::data {
namespace {

constexpr int kPrefetchThreads = 2;  // threads that open shards ahead
constexpr size_t kMaxBlocks = 64;    // blocks whose shards are open

// A shuffle block. Keeps its shards open while a batch may still need them.
class ShuffleBlock {
 public:
  ShuffleBlock(std::shared_ptr<ShardPool> pool, const EpochSampler& sampler, size_t number)
      : pool_(std::move(pool)),
        shards_(sampler.shards(number)),
        number_(number),
        begin_(sampler.begin(number)),
        end_(sampler.begin(number + 1)) {
    pool_->acquire(shards_);
  }
  ~ShuffleBlock() { pool_->release(shards_); }
  ShuffleBlock(const ShuffleBlock&) = delete;
  ShuffleBlock& operator=(const ShuffleBlock&) = delete;

  uint64_t begin() const { return begin_; }
  uint64_t end() const { return end_; }
  // The block's samples in order, computed at the first call.
  const std::vector<SampleRef>& refs(const EpochSampler& sampler) {
    if (refs_.empty()) refs_ = sampler.refs(number_);
    return refs_;
  }

 private:
  std::shared_ptr<ShardPool> pool_;
  std::vector<uint32_t> shards_;
  size_t number_;
  uint64_t begin_, end_;
  std::vector<SampleRef> refs_;
};

// This rank's rows of one global batch.
struct BatchJob {
  uint64_t epoch = 0, first = 0;  // position of the first row in the epoch
  std::vector<SampleRef> refs;
  std::vector<std::shared_ptr<ShuffleBlock>> blocks;
};

// Divides an epoch into global batches and gives this rank its part of each. Not thread-safe.
class DistributedBatchSampler {
 public:
  DistributedBatchSampler(EpochSampler sampler, std::shared_ptr<ShardPool> pool, const BatchShape& shape, const TextDataConfig& config,
                          const DataPosition& position)
      : sampler_(std::move(sampler)),
        pool_(std::move(pool)),
        shape_(shape),
        drop_last_(config.drop_last),
        predownload_(config.predownload),
        position_(position) {}

  std::optional<BatchJob> next() {
    const uint64_t left = sampler_.samples() - position_.samples, wanted = static_cast<uint64_t>(shape_.global_batch);
    if (left == 0 || (drop_last_ && left < wanted)) return std::nullopt;
    const uint64_t rows = std::min(left, wanted), rank = static_cast<uint64_t>(shape_.rank), ranks = static_cast<uint64_t>(shape_.ranks);
    BatchJob job{.epoch = position_.epoch, .first = position_.samples + rows * rank / ranks};
    const uint64_t end = position_.samples + rows * (rank + 1) / ranks;
    while (job.first + job.refs.size() < end) add_rows(job, end);
    position_.samples += rows;
    return job;
  }

 private:
  void add_rows(BatchJob& job, uint64_t end) {
    const uint64_t at = job.first + job.refs.size();
    const std::shared_ptr<ShuffleBlock> block = block_at(at);
    const auto& refs = block->refs(sampler_);
    const auto first = refs.begin() + static_cast<std::ptrdiff_t>(at - block->begin());
    const auto last = refs.begin() + static_cast<std::ptrdiff_t>(std::min(end, block->end()) - block->begin());
    job.refs.insert(job.refs.end(), first, last);
    job.blocks.push_back(block);
  }

  // The block that has the sample at this position. Also opens the shards of the blocks that follow within `predownload` samples.
  std::shared_ptr<ShuffleBlock> block_at(uint64_t at) {
    while (!blocks_.empty() && blocks_.front()->end() <= at) blocks_.pop_front();
    if (blocks_.empty()) next_block_ = sampler_.block_of(at);
    while (blocks_.empty() || prefetches_next(at)) blocks_.push_back(std::make_shared<ShuffleBlock>(pool_, sampler_, next_block_++));
    return blocks_.front();
  }

  bool prefetches_next(uint64_t at) const {
    return next_block_ < sampler_.blocks() && blocks_.size() < kMaxBlocks && sampler_.begin(next_block_) - at < predownload_;
  }

  EpochSampler sampler_;
  std::shared_ptr<ShardPool> pool_;
  BatchShape shape_;
  bool drop_last_;
  uint64_t predownload_;
  DataPosition position_;
  std::deque<std::shared_ptr<ShuffleBlock>> blocks_;
  size_t next_block_ = 0;
};

// Collates samples into batches. Thread-safe, shared by all workers.
class Collator {
 public:
  Collator(const TextDataConfig& config, const tokenize::WordPiece& tokenizer, std::shared_ptr<ShardPool> pool)
      : config_(config),
        reader_(tokenizer, static_cast<size_t>(config.max_seq_len), config.masking == Masking::given),
        pool_(std::move(pool)) {
    require(tokenizer.pad_id() >= 0, "the vocabulary has no [PAD] token, which batches need");
    if (config.mlm_probability && config.masking != Masking::given) masker_.emplace(tokenizer, config.masking, *config.mlm_probability);
  }

  void check(const MdsStream& stream) const {
    if (!stream.index().shards.empty()) reader_.check(stream.index().shards.front(), (stream.folder() / kMdsIndex).string());
  }

  Batch make(const BatchJob& job) {
    Batch batch{.length = config_.max_seq_len};
    const size_t values = job.refs.size() * static_cast<size_t>(config_.max_seq_len);
    for (auto* rows : {&batch.input_ids, &batch.attention_mask, &batch.labels}) rows->reserve(values);
    for (size_t i = 0; i < job.refs.size(); ++i) {
      try {
        append(batch, reader_.read(*pool_->get(job.refs[i].shard), job.refs[i].sample), job.epoch, job.first + i);
      } catch (const Error& e) {
        if (!config_.skip_bad) throw;
        skip(e);
      }
    }
    return batch;
  }

  uint64_t skipped() const { return skipped_; }

  // Whether any sample can be read, looking from the first shard on. why: the error of the last one that cannot.
  bool any_readable(const std::vector<StreamSamples>& streams, std::string& why) const {
    uint32_t shard = 0;
    for (const StreamSamples& stream : streams)
      for (const uint64_t samples : stream.shards)
        if (any_readable(shard++, stream.chosen > 0 ? samples : 0, why)) return true;
    return false;
  }

 private:
  bool any_readable(uint32_t shard, uint64_t samples, std::string& why) const {
    std::shared_ptr<const MdsShard> opened;
    for (uint64_t sample = 0; sample < samples; ++sample) {
      io::throw_if_interrupted();
      try {
        if (!opened) opened = pool_->get(shard);
        reader_.read(*opened, sample);
        return true;
      } catch (const Error& e) {
        why = e.what();
        if (!opened) return false;
      }
    }
    return false;
  }

  void append(Batch& batch, const TextRow& row, uint64_t epoch, uint64_t place) {
    const size_t length = static_cast<size_t>(config_.max_seq_len), tokens = row.ids.size(), padding = length - tokens;
    if (row.from_tokens && tokens <= length / 2 && !warned_short_.exchange(true))
      io::warn("data: samples have ", tokens, " tokens and are padded to max_seq_len ", length, "; a smaller max_seq_len would save time");
    const size_t begin = batch.input_ids.size();
    batch.input_ids.insert(batch.input_ids.end(), row.ids.begin(), row.ids.end());
    batch.input_ids.insert(batch.input_ids.end(), padding, reader_.tokenizer().pad_id());
    batch.attention_mask.insert(batch.attention_mask.end(), tokens, 1);
    batch.attention_mask.insert(batch.attention_mask.end(), padding, 0);
    batch.labels.resize(batch.input_ids.size(), kNoLabel);
    const std::span<int32_t> ids(&batch.input_ids[begin], length), labels(&batch.labels[begin], length);
    append_sequence(batch, ids);  // by the ids as they are before masking
    if (!row.labels.empty()) std::copy(row.labels.begin(), row.labels.end(), labels.begin());
    else if (masker_)
      masker_->mask(ids.first(tokens), labels.first(tokens), Random{config_.mask_seed.value_or(config_.shuffle_seed), epoch, place});
    else std::replace_copy(ids.begin(), ids.end(), labels.begin(), reader_.tokenizer().pad_id(), kNoLabel);
    ++batch.rows;
  }

  // A new sequence begins after each eos_token_id, or at each bos_token_id.
  void append_sequence(Batch& batch, std::span<const int32_t> ids) const {
    if (!config_.eos_token_id && !config_.bos_token_id) return;
    int32_t sequence = 0;
    for (const int32_t id : ids) {
      if (id == config_.bos_token_id) ++sequence;
      batch.sequence_ids.push_back(sequence);
      if (id == config_.eos_token_id) ++sequence;
    }
  }

  void skip(const Error& why) {
    const uint64_t before = skipped_++;
    if (before == 0) io::warn("data: a sample that cannot be read is left out: ", why.what(), " (skip_bad; further ones are counted)");
    else if (before == 999) io::warn("data: 1000 samples were left out so far, the last one because of: ", why.what());
  }

  TextDataConfig config_;
  TextRowReader reader_;
  std::shared_ptr<ShardPool> pool_;
  std::optional<TokenMasker> masker_;
  std::atomic<uint64_t> skipped_{0};
  std::atomic<bool> warned_short_{false};
};

class TextData : public BatchSource {
 public:
  TextData(const TextDataConfig& config, const tokenize::WordPiece& tokenizer, const BatchShape& shape) : config_(config), shape_(shape) {
    require(shape.global_batch >= 1 && shape.ranks >= 1 && shape.rank >= 0 && shape.rank < shape.ranks, "batches of ", shape.global_batch,
            " samples for rank ", shape.rank, " of ", shape.ranks, ": wants at least 1 sample and a rank from 0 to ranks - 1");
    auto streams = std::make_shared<std::vector<MdsStream>>();
    for (TextStream stream : config.streams) {
      stream.data.fetch.stopped = [stop = stop_] { return stop->load(); };
      streams->emplace_back(std::move(stream.data));
    }
    describe(*streams);
    pool_ = std::make_shared<ShardPool>(streams, kPrefetchThreads);
    collator_ = std::make_shared<Collator>(config, tokenizer, pool_);
    for (const MdsStream& stream : *streams) collator_->check(stream);
    begin({});
  }
  ~TextData() override { *stop_ = true; }
  TextData(const TextData&) = delete;
  TextData& operator=(const TextData&) = delete;

  std::optional<Batch> next() override {
    auto batch = prepared();
    if (batch && batch->rows > 0) any_rows_ = true;
    const uint64_t rows = std::min(left_, static_cast<uint64_t>(shape_.global_batch));
    left_ -= rows;
    if (batch && !any_rows_ && share_of(rows) > 0) require_readable();
    return batch;
  }

  void seek(const DataPosition& position) override { begin(position); }

  uint64_t samples_per_epoch() const override { return samples_per_epoch_; }
  uint64_t skipped() const override { return collator_->skipped(); }

 private:
  // This rank's share of the rows of a global batch.
  uint64_t share_of(uint64_t rows) const {
    const uint64_t rank = static_cast<uint64_t>(shape_.rank), ranks = static_cast<uint64_t>(shape_.ranks);
    return rows * (rank + 1) / ranks - rows * rank / ranks;
  }

  std::optional<Batch> prepared() {
    if (workers_) return workers_->next(config_.timeout);
    const auto job = batch_sampler_->next();
    return job ? std::optional(collator_->make(*job)) : std::nullopt;
  }

  // If every sample is skipped, training would never end. But a rank must continue with the others if only its own share is damaged, so
  // this looks at the whole data, at most once in a pass.
  void require_readable() {
    std::string why, names;
    any_rows_ = collator_->any_readable(samples_, why);
    if (any_rows_) return;
    uint64_t samples = 0;
    for (size_t i = 0; i < samples_.size(); ++i) {
      if (samples_[i].chosen == 0) continue;
      samples = std::accumulate(samples_[i].shards.begin(), samples_[i].shards.end(), samples);
      names += (names.empty() ? "" : ", ") + folders_[i];
    }
    fail(names, ": no sample can be read, all ", samples, " were left out (skip_bad); the last one: ", why);
  }

  void begin(const DataPosition& position) {
    EpochSampler sampler(samples_, {config_.shuffle, config_.shuffle_seed, config_.shuffle_block_size}, position.epoch);
    require(position.samples <= sampler.samples(), "the data has ", sampler.samples(), " samples an epoch, cannot go on after ",
            position.samples, "; is it the data that the run began with?");
    workers_.reset();
    left_ = sampler.samples() - position.samples;
    any_rows_ = false;
    batch_sampler_ = std::make_shared<DistributedBatchSampler>(std::move(sampler), pool_, shape_, config_, position);
    if (config_.num_workers == 0) return;
    const int threads = std::min(config_.num_workers, std::max(1, static_cast<int>(std::thread::hardware_concurrency())));
    workers_ = std::make_unique<OrderedWorkers<BatchJob, Batch>>(
        threads, static_cast<size_t>(threads) * static_cast<size_t>(std::max(1, config_.prefetch_factor)),
        [sampler = batch_sampler_] { return sampler->next(); },
        [collator = collator_](const BatchJob& job) { return collator->make(job); });
  }

  void describe(const std::vector<MdsStream>& streams) {
    std::vector<StreamWeight> weights;
    std::vector<uint64_t> sizes;
    for (size_t i = 0; i < streams.size(); ++i) {
      weights.push_back(config_.streams[i].weight);
      sizes.push_back(streams[i].index().samples());
      folders_.push_back(streams[i].folder().string());
    }
    const auto chosen = samples_to_choose(weights, sizes, config_.samples_per_epoch);
    for (size_t i = 0; i < streams.size(); ++i) {
      StreamSamples samples{.chosen = chosen[i]};
      for (const MdsShardInfo& shard : streams[i].index().shards) samples.shards.push_back(shard.samples);
      samples_.push_back(std::move(samples));
      samples_per_epoch_ += chosen[i];
    }
  }

  TextDataConfig config_;
  BatchShape shape_;
  std::vector<StreamSamples> samples_;
  std::vector<std::string> folders_;  // of the streams
  uint64_t samples_per_epoch_ = 0;
  uint64_t left_ = 0;      // samples of the pass that were not returned yet
  bool any_rows_ = false;  // a row of the pass could be read
  std::shared_ptr<std::atomic<bool>> stop_ = std::make_shared<std::atomic<bool>>(false);
  std::shared_ptr<ShardPool> pool_;
  std::shared_ptr<Collator> collator_;
  std::shared_ptr<DistributedBatchSampler> batch_sampler_;
  std::unique_ptr<OrderedWorkers<BatchJob, Batch>> workers_;
};

}  // namespace

std::unique_ptr<BatchSource> open_text_data(const TextDataConfig& config, const tokenize::WordPiece& tokenizer, const BatchShape& shape) {
  return std::make_unique<TextData>(config, tokenizer, shape);
}

}  // namespace m2bert::data
