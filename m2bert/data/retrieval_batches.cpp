#include "m2bert/data/retrieval_batches.h"

#include <algorithm>
#include <list>
#include <numeric>
#include <unordered_set>

#include "m2bert/error.h"
#include "m2bert/io/number_text.h"
#include "m2bert/random.h"

namespace m2bert::data {
namespace {

std::vector<tokenize::Encoding> encode(const TextRows& rows, std::span<const std::string_view> texts, const std::string& prompt,
                                       size_t max_length) {
  std::vector<std::string> with_prompt;
  for (const auto text : texts) with_prompt.push_back(prompt + std::string(text));
  return rows.tokenizer.encode_batch(with_prompt, {.max_length = max_length}, rows.threads);
}

void append(Batch& batch, const std::vector<tokenize::Encoding>& encodings, int32_t pad_id) {
  const auto length = size_t(batch.length);
  for (const auto& e : encodings) {
    batch.input_ids.insert(batch.input_ids.end(), e.ids.begin(), e.ids.end());
    batch.attention_mask.insert(batch.attention_mask.end(), e.ids.size(), 1);
    batch.input_ids.insert(batch.input_ids.end(), length - e.ids.size(), pad_id);
    batch.attention_mask.insert(batch.attention_mask.end(), length - e.ids.size(), 0);
  }
}

size_t longest(const std::vector<tokenize::Encoding>& encodings) {
  size_t length = 0;
  for (const auto& e : encodings) length = std::max(length, e.ids.size());
  return length;
}

}  // namespace

Batch TextRows::rows(std::span<const std::string_view> queries, std::span<const std::string_view> passages) const {
  const auto q = encode(*this, queries, query_prompt, std::min(max_query_length, max_length));
  const auto p = encode(*this, passages, passage_prompt, max_length);
  Batch batch;
  batch.rows = int(q.size() + p.size());
  batch.length = int(pad_to_max ? max_length : std::max(longest(q), longest(p)));
  append(batch, q, tokenizer.pad_id());
  append(batch, p, tokenizer.pad_id());
  return batch;
}

RetrievalBatches::RetrievalBatches(const RetrievalData& data, std::string name, TextRows rows, const RetrievalBatchOptions& options,
                                   const BatchShape& shape)
    : data_(data), name_(std::move(name)), rows_(std::move(rows)), options_(options), shape_(shape) {
  const auto found = shape_of(data, name_);
  require(found.negatives >= options.negatives, name_, ": a sample has ", io::counted(found.negatives, "negative"), ", this run wants ",
          options.negatives);
  require(data.samples().size() >= size_t(shape.global_batch), name_, ": has ", io::counted(data.samples().size(), "sample"),
          ", too few for a batch of ", shape.global_batch);
  require(shape.global_batch % shape.ranks == 0, name_, ": a batch of ", shape.global_batch, " samples cannot be shared evenly by ",
          shape.ranks, " processes");
}

void RetrievalBatches::seek(const DataPosition& position) {
  if (order_.empty() || position.epoch != epoch_) {
    epoch_ = position.epoch;
    order_ = epoch_order();
  }
  position_ = position.samples;
}

std::vector<size_t> RetrievalBatches::epoch_order() const {
  std::vector<size_t> order(data_.samples().size());
  std::iota(order.begin(), order.end(), 0);
  if (options_.shuffle) {
    Random random{options_.seed, epoch_};
    shuffle(order, random);
  }
  return options_.no_duplicates ? without_duplicates(order) : order;
}

std::vector<size_t> RetrievalBatches::without_duplicates(const std::vector<size_t>& order) const {
  std::list<size_t> left(order.begin(), order.end());
  std::vector<size_t> found;
  std::unordered_set<uint32_t> texts;
  auto take = [&](size_t sample) {
    auto own = passages_of(sample);
    if (!options_.distinct_negatives) own.resize(1);
    own.push_back(data_.samples()[sample].query);
    if (std::ranges::any_of(own, [&](uint32_t text) { return texts.contains(text); })) return false;
    texts.insert(own.begin(), own.end());
    found.push_back(sample);
    return true;
  };
  while (found.size() < order.size()) {
    texts.clear();
    const size_t end = std::min(found.size() + size_t(shape_.global_batch), order.size());
    for (auto it = left.begin(); it != left.end() && found.size() < end;) it = take(*it) ? left.erase(it) : std::next(it);
    for (size_t i = 0; i < order.size() && found.size() < end; ++i) take(order[i]);
    require(found.size() == end, name_, ": no ", shape_.global_batch,
            " samples without a common text are left for a batch; lower the batch size, or set no_duplicates: false");
  }
  return found;
}

// The positive and this epoch's negatives.
std::vector<uint32_t> RetrievalBatches::passages_of(size_t sample) const {
  const auto& all = data_.samples()[sample].passages;
  std::vector<uint32_t> passages(all.begin(), all.begin() + std::ptrdiff_t(std::min(all.size(), options_.negatives + 1)));
  if (all.size() <= options_.negatives + 1 || !options_.shuffle) return passages;
  std::vector<uint32_t> negatives(all.begin() + 1, all.end());
  Random random{options_.seed, epoch_, sample};
  shuffle(negatives, random);
  std::copy_n(negatives.begin(), options_.negatives, passages.begin() + 1);
  return passages;
}

Batch RetrievalBatches::batch_of(std::span<const size_t> samples) const {
  std::vector<uint32_t> numbers;
  std::vector<std::vector<uint32_t>> passages;
  for (const size_t sample : samples) {
    numbers.push_back(data_.samples()[sample].query);
    passages.push_back(passages_of(sample));
  }
  std::vector<float> targets(samples.size(), 0);
  for (size_t column = 0; column <= options_.negatives; ++column) {
    for (size_t i = 0; i < samples.size(); ++i) {
      require(column < passages[i].size(), name_, ": sample ", samples[i] + 1, " has ", passages[i].size() - 1,
              " negatives, this run wants ", options_.negatives);
      const auto& sample = data_.samples()[samples[i]];
      const uint32_t text = passages[i][column];
      numbers.push_back(text);
      if (sample.scores.empty()) continue;
      const auto place = std::ranges::find(sample.passages, text) - sample.passages.begin();
      targets.push_back(sample.scores[sample.scores.size() == 1 ? 0 : size_t(place)]);
    }
  }
  std::vector<std::string_view> texts;
  for (const uint32_t number : numbers) texts.push_back(data_.text(number));
  const auto all = std::span(texts);
  Batch batch = rows_.rows(all.first(samples.size()), all.subspan(samples.size()));
  batch.labels.assign(numbers.begin(), numbers.end());
  if (targets.size() == numbers.size()) batch.targets = std::move(targets);
  return batch;
}

std::optional<Batch> RetrievalBatches::next() {
  if (order_.empty()) seek({});
  if (position_ >= order_.size()) return std::nullopt;
  const size_t all = std::min(size_t(shape_.global_batch), order_.size() - position_);
  const size_t share = size_t(shape_.global_batch / shape_.ranks), begin = std::min(share * size_t(shape_.rank), all);
  const auto own = std::span(order_).subspan(position_ + begin, std::min(share, all - begin));
  position_ += all;
  return batch_of(own);
}

TextBatches::TextBatches(std::vector<std::string> queries, std::vector<std::string> passages, TextRows rows, const BatchShape& shape)
    : queries_(std::move(queries)), passages_(std::move(passages)), rows_(std::move(rows)), shape_(shape) {}

void TextBatches::seek(const DataPosition& position) { position_ = position.samples; }

std::optional<Batch> TextBatches::next() {
  const size_t all = queries_.size() + passages_.size();
  if (position_ >= all) return std::nullopt;
  const size_t share = size_t(std::max(shape_.global_batch / shape_.ranks, 1));
  const size_t begin = std::min(position_ + share * size_t(shape_.rank), all), end = std::min(begin + share, all);
  position_ += share * size_t(shape_.ranks);
  std::vector<std::string_view> queries, passages;
  for (size_t i = begin; i < end; ++i) {
    if (i < queries_.size()) queries.push_back(queries_[i]);
    else passages.push_back(passages_[i - queries_.size()]);
  }
  Batch batch = rows_.rows(queries, passages);
  for (size_t i = begin; i < end; ++i) batch.labels.push_back(int32_t(i));
  return batch;
}

}  // namespace m2bert::data
