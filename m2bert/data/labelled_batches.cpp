#include "m2bert/data/labelled_batches.h"

#include <algorithm>
#include <numeric>
#include <span>

#include "m2bert/error.h"
#include "m2bert/random.h"

namespace m2bert::data {

namespace {

// Texts are tokenized in groups, so that their encodings never lie in memory all at once.
constexpr size_t kGroup = 4096;

// This rank's share of samples [begin, end) of a global batch.
std::pair<uint64_t, uint64_t> share_of(uint64_t begin, uint64_t end, int rank, int ranks) {
  const uint64_t n = end - begin;
  return {begin + n * uint64_t(rank) / uint64_t(ranks), begin + n * (uint64_t(rank) + 1) / uint64_t(ranks)};
}

}  // namespace

LabelledBatches::LabelledBatches(const LabelledData& data, const tokenize::WordPiece& tokenizer, const LabelledBatchOptions& options)
    : options_(options), pad_id_(tokenizer.pad_id()) {
  require(data.unlabelled == 0, data.name, ": ", data.unlabelled, " texts have no label");
  require(data.size() < UINT32_MAX, data.name, ": has ", data.size(), " texts, at most ", UINT32_MAX - 1, " fit into memory");
  tokenize::EncodeOptions encode;
  encode.max_length = size_t(options.max_seq_len);
  for (size_t first = 0; first < data.size(); first += kGroup) {
    const size_t count = std::min(kGroup, data.size() - first);
    const auto part = [&](const std::vector<std::string>& texts) { return std::span(texts).subspan(first, count); };
    const auto encodings = data.are_pairs() ? tokenizer.encode_pairs(part(data.texts), part(data.pairs), encode, options.threads)
                                            : tokenizer.encode_batch(part(data.texts), encode, options.threads);
    for (const auto& encoding : encodings) add(encoding);
  }
  set_labels(data);
  order_.resize(size());
  seek({0, 0});
}

void LabelledBatches::add(const tokenize::Encoding& encoding) {
  ids_.insert(ids_.end(), encoding.ids.begin(), encoding.ids.end());
  begins_.push_back(ids_.size());
  seconds_.push_back(uint32_t(std::ranges::find(encoding.type_ids, 1) - encoding.type_ids.begin()));
  longest_ = std::max(longest_, int(encoding.ids.size()));
  truncated_ += encoding.truncated ? 1 : 0;
}

void LabelledBatches::set_labels(const LabelledData& data) {
  if (data.kind == LabelKind::single) labels_ = data.labels;
  if (data.kind == LabelKind::number) {
    targets_width_ = 1;
    targets_ = data.values;
  }
  if (data.kind != LabelKind::multi) return;
  targets_width_ = data.label_names.size();
  targets_.assign(data.size() * targets_width_, 0);
  for (size_t i = 0; i < data.size(); ++i) {
    for (const int32_t label : data.label_sets[i]) targets_[i * targets_width_ + size_t(label)] = 1;
  }
}

void LabelledBatches::seek(const DataPosition& position) {
  next_ = position.samples;
  std::iota(order_.begin(), order_.end(), 0U);
  if (!options_.shuffle) return;
  Random random({options_.seed, position.epoch});
  m2bert::shuffle(order_, random);
}

std::optional<Batch> LabelledBatches::next() {
  if (next_ >= size()) return std::nullopt;
  const uint64_t end = std::min(next_ + uint64_t(options_.shape.global_batch), size());
  const auto [first, last] = share_of(next_, end, options_.shape.rank, options_.shape.ranks);
  next_ = end;
  Batch batch;
  batch.length = options_.max_seq_len;
  if (options_.pad_to_longest) {
    batch.length = 1;
    for (uint64_t i = first; i < last; ++i) batch.length = std::max(batch.length, int(begins_[order_[i] + 1] - begins_[order_[i]]));
  }
  for (uint64_t i = first; i < last; ++i) append_row(batch, order_[i]);
  return batch;
}

void LabelledBatches::append_row(Batch& batch, uint32_t text) const {
  ++batch.rows;
  const auto end = size_t(batch.rows) * size_t(batch.length);
  const auto begin = ids_.begin() + std::ptrdiff_t(begins_[text]);
  const size_t tokens = begins_[text + 1] - begins_[text];
  batch.input_ids.insert(batch.input_ids.end(), begin, begin + std::ptrdiff_t(tokens));
  batch.input_ids.resize(end, pad_id_);
  batch.attention_mask.resize(end - size_t(batch.length) + tokens, 1);
  batch.attention_mask.resize(end, 0);
  batch.token_type_ids.resize(end - size_t(batch.length) + seconds_[text], 0);
  batch.token_type_ids.resize(end - size_t(batch.length) + tokens, 1);
  batch.token_type_ids.resize(end, 0);
  if (!labels_.empty()) batch.labels.push_back(labels_[text]);
  const auto target = targets_.begin() + std::ptrdiff_t(text * targets_width_);
  batch.targets.insert(batch.targets.end(), target, target + std::ptrdiff_t(targets_width_));
}

std::vector<uint32_t> gathered_order(uint64_t size, const BatchShape& shape) {
  std::vector<uint32_t> order;
  for (int rank = 0; rank < shape.ranks; ++rank) {
    for (uint64_t begin = 0; begin < size; begin += uint64_t(shape.global_batch)) {
      const auto [first, last] = share_of(begin, std::min(begin + uint64_t(shape.global_batch), size), rank, shape.ranks);
      for (uint64_t i = first; i < last; ++i) order.push_back(uint32_t(i));
    }
  }
  return order;
}

}  // namespace m2bert::data
