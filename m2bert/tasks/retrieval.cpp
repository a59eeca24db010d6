#include "m2bert/tasks/retrieval.h"

#include <algorithm>
#include <limits>

#include "m2bert/error.h"
#include "m2bert/metrics/ranking.h"
#include "m2bert/metrics/regression.h"
#include "m2bert/search/top_k.h"

namespace m2bert::tasks {

namespace {

// Rows of several processes, each column by column, as columns over all samples: [processes * k * n, ...] -> k arrays [processes * n, ...].
std::vector<mx::array> columns_of(const mx::array& rows, int processes, int per_sample) {
  const int n = rows.shape(0) / processes / per_sample, width = rows.shape(1);
  const auto split = mx::transpose(mx::reshape(rows, {processes, per_sample, n, width}), {1, 0, 2, 3});
  std::vector<mx::array> columns;
  for (int i = 0; i < per_sample; ++i)
    columns.push_back(mx::reshape(mx::slice(split, {i, 0, 0, 0}, {i + 1, processes, n, width}), {processes * n, width}));
  return columns;
}

// The same order for numbers on the host.
std::vector<int32_t> by_column(const std::vector<int32_t>& rows, int processes, int per_sample) {
  const size_t share = rows.size() / size_t(processes), n = share / size_t(per_sample);
  std::vector<int32_t> sorted;
  for (size_t column = 0; column < size_t(per_sample); ++column)
    for (size_t process = 0; process < size_t(processes); ++process) {
      const auto begin = rows.begin() + std::ptrdiff_t(process * share + column * n);
      sorted.insert(sorted.end(), begin, begin + std::ptrdiff_t(n));
    }
  return sorted;
}

mx::array int_array(const std::vector<int32_t>& values) { return mx::array(values.begin(), {int(values.size())}, mx::int32); }

// The inputs of rows without the columns that are padding in all of them.
models::Inputs trimmed(const data::Batch& batch, int first, int rows) {
  int length = 1;
  for (int row = first; row < first + rows; ++row) {
    const auto* mask = batch.attention_mask.data() + size_t(row) * size_t(batch.length);
    for (int i = batch.length; i > length; --i)
      if (mask[i - 1]) length = i;
  }
  return models::inputs_of(batch, first, rows).cut(length);
}

// The vectors of an evaluation in order. predictions: the place of a text in two halves, and its vector.
constexpr int kPlaceValues = 2, kHalf = 1 << 16;

std::vector<float> vectors_of(const MetricSums& sums, size_t texts) {
  const size_t width = texts == 0 ? 0 : sums.predictions.size() / texts;
  require(width > kPlaceValues && sums.predictions.size() == width * texts, "[Retrieval] the evaluation has ", sums.predictions.size(),
          " values for ", texts, " texts");
  const size_t dim = width - kPlaceValues;
  std::vector<float> vectors(texts * dim);
  for (auto at = sums.predictions.begin(); at != sums.predictions.end(); at += std::ptrdiff_t(width)) {
    const size_t place = size_t(at[0]) * kHalf + size_t(at[1]);
    require(place < texts, "[Retrieval] there is no text ", place, " in the evaluation");
    std::copy_n(at + kPlaceValues, dim, vectors.begin() + std::ptrdiff_t(place * dim));
  }
  return vectors;
}

std::vector<Metric> label_metrics(const RetrievalEvaluation& evaluation, std::span<const float> queries, std::span<const float> passages,
                                  size_t dim) {
  const auto cosines = search::pairwise(queries, passages, dim);
  const std::vector<double> x(cosines.begin(), cosines.end()), y(evaluation.labels.begin(), evaluation.labels.end());
  return {{"CosineSpearman", metrics::spearmanr(x, y)}, {"CosinePearson", metrics::pearsonr(x, y)}};
}

std::vector<Metric> ranking_metrics(const RetrievalEvaluation& evaluation, std::span<const float> queries, std::span<const float> passages,
                                    size_t dim) {
  const auto hits = search::top_k(queries, passages, dim, {.k = evaluation.k});
  double ndcg = 0, reciprocal = 0, recall = 0;
  for (size_t i = 0; i < evaluation.queries; ++i) {
    const auto& relevant = evaluation.relevant[i];
    std::vector<int32_t> ranked;
    for (const auto& hit : hits[i]) ranked.push_back(std::ranges::find(relevant, uint32_t(hit.index)) != relevant.end());
    const std::vector<int32_t> judged(relevant.size(), 1);
    ndcg += metrics::ndcg(ranked, judged, evaluation.k);
    reciprocal += metrics::reciprocal_rank(ranked, evaluation.k);
    recall += metrics::recall(ranked, judged, evaluation.k);
  }
  const auto n = double(evaluation.queries);
  const std::string at = "@" + std::to_string(evaluation.k);
  return {{"nDCG" + at, ndcg / n}, {"MRR" + at, reciprocal / n}, {"Recall" + at, recall / n}};
}

// Their names without values.
std::vector<Metric> unknown_metrics(const RetrievalEvaluation& evaluation) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  if (!evaluation.labels.empty()) return {{"CosineSpearman", nan}, {"CosinePearson", nan}};
  const std::string at = "@" + std::to_string(evaluation.k);
  return {{"nDCG" + at, nan}, {"MRR" + at, nan}, {"Recall" + at, nan}};
}

}  // namespace

Retrieval::Retrieval(models::Config config, RetrievalSettings settings, MemoryBank* bank)
    : config_(std::move(config)), settings_(std::move(settings)), bank_(bank) {
  require(!bank || settings_.objective.loss == RetrievalLoss::multiple_negatives_ranking, "[Retrieval] a memory bank is for the loss ",
          name_of(RetrievalLoss::multiple_negatives_ranking));
}

mx::array Retrieval::embed(const models::Model& model, const data::Batch& batch, int first, int rows, nn::Pass& pass) const {
  const auto inputs = config_.padding_is_masked() ? trimmed(batch, first, rows) : models::inputs_of(batch, first, rows);
  const auto hidden = model.hidden_states(inputs, pass);
  std::vector<mx::array> parts;
  for (const auto pooling : settings_.pooling) parts.push_back(model.pool(hidden, inputs.attention_mask, pooling));
  const auto vectors = mx::astype(parts.size() == 1 ? parts[0] : mx::concatenate(parts, 1), mx::float32);
  return settings_.normalize ? models::l2_normalize(vectors) : vectors;
}

mx::array Retrieval::loss(const models::Model& model, const data::Batch& batch, int first, int rows, nn::Pass& pass) const {
  require(first == 0 && rows == batch.rows, "[Retrieval] the loss is one of a whole batch, not of rows ", first, " to ", first + rows);
  return batch_loss(embed(model, batch, 0, rows, pass), batch, 1);
}

int64_t Retrieval::weight(const data::Batch&, int, int rows) const { return rows / settings_.rows_per_sample; }

mx::array Retrieval::batch_loss(const mx::array& embeddings, const data::Batch& all, int processes) const {
  const int k = settings_.rows_per_sample;
  require(embeddings.shape(0) == all.rows && all.rows % (k * processes) == 0 && all.labels.size() == size_t(all.rows), "[Retrieval] ",
          embeddings.shape(0), " embeddings and ", all.labels.size(), " labels for ", all.rows, " rows of ", k, " a sample");
  RetrievalEmbeddings e{.columns = columns_of(embeddings, processes, k)};
  const auto numbers = int_array(all.labels);
  auto rows_in = [&](const mx::array& table) { return columns_of(mx::take(table, numbers, 0), processes, k); };
  if (settings_.teacher) e.teacher = rows_in(*settings_.teacher);
  if (settings_.guide) e.guide = rows_in(*settings_.guide);
  if (!all.targets.empty()) {
    const auto targets = columns_of(mx::array(all.targets.begin(), {all.rows, 1}), processes, k);
    const std::vector<mx::array> passages(targets.begin() + 1, targets.end());
    if (takes_scores(settings_.objective.loss)) e.scores = mx::concatenate(passages, 1);
    else e.labels = mx::squeeze(passages[0], 1);
  }
  if (settings_.objective.loss == RetrievalLoss::multiple_negatives_ranking) {
    auto passages = by_column(all.labels, processes, k);
    if (bank_ && bank_->count() > 0) {
      e.extra = bank_->vectors();
      const auto extra = bank_->numbers();
      if (settings_.guide) e.guide_extra = mx::take(*settings_.guide, int_array(extra), 0);
      passages.insert(passages.end(), extra.begin(), extra.end());
    }
    e.excluded = excluded(passages, all.rows / k);
  }
  return retrieval_loss(settings_.objective, e);
}

// numbers: of the queries, then of the passages. Marks each query's known positives, but not its own one.
std::optional<mx::array> Retrieval::excluded(const std::vector<int32_t>& numbers, int samples) const {
  if (settings_.positives.empty()) return std::nullopt;
  const auto n = size_t(samples), m = numbers.size() - n;
  std::unordered_map<uint32_t, std::vector<size_t>> places;
  for (size_t j = 0; j < m; ++j) places[uint32_t(numbers[n + j])].push_back(j);
  std::vector<uint8_t> mask(n * m, 0);
  bool any = false;
  for (size_t i = 0; i < n; ++i) {
    const auto positives = settings_.positives.find(uint32_t(numbers[i]));
    if (positives == settings_.positives.end()) continue;
    for (const uint32_t positive : positives->second) {
      const auto found = places.find(positive);
      if (found == places.end()) continue;
      for (const size_t j : found->second) any |= (mask[i * m + j] = j != i);
    }
  }
  if (!any) return std::nullopt;
  return mx::astype(mx::array(mask.begin(), {samples, int(m)}, mx::uint8), mx::bool_);
}

void Retrieval::after_gradient(const mx::array& embeddings, const data::Batch& all, int processes) const {
  if (!bank_) return;
  const int k = settings_.rows_per_sample, samples = all.rows / k;
  const auto columns = columns_of(embeddings, processes, k);
  const auto numbers = by_column(all.labels, processes, k);
  const std::vector<mx::array> passages(columns.begin() + 1, columns.end());
  bank_->push(mx::stop_gradient(mx::concatenate(passages, 0)), {numbers.begin() + samples, numbers.end()});
}

std::vector<Metric> Retrieval::train_metrics(double) const { return {}; }

std::vector<Metric> Retrieval::eval_metrics(const MetricSums& sums) const {
  const auto& evaluation = settings_.evaluation;
  const size_t texts = evaluation.queries + evaluation.passages;
  if (texts == 0 || sums.counts[0] != int64_t(texts)) return unknown_metrics(evaluation);  // a signal cut the evaluation short
  const auto vectors = vectors_of(sums, texts);
  const size_t dim = vectors.size() / texts;
  const auto queries = std::span(vectors).first(evaluation.queries * dim), passages = std::span(vectors).subspan(evaluation.queries * dim);
  return evaluation.labels.empty() ? ranking_metrics(evaluation, queries, passages, dim)
                                   : label_metrics(evaluation, queries, passages, dim);
}

void Retrieval::add_sums(MetricSums& sums, const models::Model& model, const data::Batch& batch, int first, int rows) const {
  auto pass = nn::Pass::without_padding();
  const auto vectors = models::to_floats(embed(model, batch, first, rows, pass));
  const size_t dim = vectors.size() / size_t(rows);
  sums.counts[0] += rows;
  for (int row = 0; row < rows; ++row) {
    const int32_t place = batch.labels[size_t(first + row)];
    sums.predictions.push_back(float(place / kHalf));
    sums.predictions.push_back(float(place % kHalf));
    sums.predictions.insert(sums.predictions.end(), vectors.begin() + std::ptrdiff_t(size_t(row) * dim),
                            vectors.begin() + std::ptrdiff_t(size_t(row + 1) * dim));
  }
}

data::Batch Retrieval::dummy_batch(int rows, int length) const {
  data::Batch batch{rows, length};
  const auto size = size_t(rows) * size_t(length);
  for (size_t i = 0; i < size; ++i) batch.input_ids.push_back(int32_t(i * 7919 % size_t(config_.vocab_size)));
  batch.attention_mask.assign(size, 1);
  batch.labels.assign(size_t(rows), 0);
  return batch;
}

}  // namespace m2bert::tasks
