#include "m2bert/train/retrieval_source.h"

#include <algorithm>
#include <bit>
#include <iterator>
#include <sstream>

#include "m2bert/error.h"
#include "m2bert/io/file.h"
#include "m2bert/io/interrupt.h"
#include "m2bert/io/log.h"
#include "m2bert/models/inputs.h"
#include "m2bert/search/bm25.h"
#include "m2bert/search/top_k.h"
#include "m2bert/threads.h"

namespace m2bert::train {

namespace fs = std::filesystem;

namespace {

std::vector<uint32_t> distinct_queries(const data::RetrievalData& data) {
  std::vector<uint32_t> queries;
  std::vector<bool> seen(data.texts().size());
  for (const auto& sample : data.samples()) {
    if (!seen[sample.query]) queries.push_back(sample.query);
    seen[sample.query] = true;
  }
  return queries;
}

std::vector<std::string_view> texts_of(const data::RetrievalData& data, const std::vector<uint32_t>& numbers) {
  std::vector<std::string_view> texts;
  for (const uint32_t number : numbers) texts.push_back(data.text(number));
  return texts;
}

// Passages that a search has to return: those that may be chosen, and all positives of a query.
size_t depth_of(const data::RetrievalData& data, const data::NegativeOptions& options) {
  size_t most = 0;
  for (const auto& [query, positives] : data.positives()) most = std::max(most, positives.size());
  return options.last_rank + most;
}

using Hits = std::vector<std::vector<search::Hit>>;

// hits: of each distinct query, as places in the corpus. score_of: of a query's place and a passage's place.
void choose_from(data::RetrievalData& data, const data::NegativeOptions& options, const std::vector<uint32_t>& queries,
                 const std::vector<uint32_t>& corpus, const Hits& hits,
                 const std::function<std::optional<float>(size_t, size_t)>& score_of) {
  std::unordered_map<uint32_t, size_t> query_place, passage_place;
  for (size_t i = 0; i < queries.size(); ++i) query_place[queries[i]] = i;
  for (size_t i = 0; i < corpus.size(); ++i) passage_place[corpus[i]] = i;
  const auto missing = data::mine_negatives(data, options, [&](uint32_t query) {
    const size_t place = query_place.at(query);
    data::Ranking ranking;
    for (const auto& hit : hits[place]) ranking.passages.push_back({corpus[hit.index], hit.score});
    ranking.score_of = [&, place](uint32_t passage) { return score_of(place, passage_place.at(passage)); };
    return ranking;
  });
  if (missing > 0) io::info("hard negatives: ", missing, " are random, because too few passages were left");
  data::complete_negatives(data, options);
}

}  // namespace

void mine_with_bm25(data::RetrievalData& data, const data::NegativeOptions& options) {
  const auto queries = distinct_queries(data), corpus = data.corpus();
  search::Bm25 bm25;
  std::vector<std::string> texts;
  for (const auto text : texts_of(data, corpus)) texts.emplace_back(text);
  bm25.add(texts, threads());
  bm25.build();
  texts.clear();
  for (const auto text : texts_of(data, queries)) texts.emplace_back(text);
  const auto hits = bm25.search(texts, depth_of(data, options), threads());
  choose_from(data, options, queries, corpus, hits, [&](size_t query, size_t passage) -> std::optional<float> {
    const auto found = std::ranges::find(hits[query], passage, &search::Hit::index);
    return found == hits[query].end() ? std::nullopt : std::optional(found->score);
  });
}

namespace {

constexpr size_t kQueriesAtOnce = 256;  // of a search

// Divides `count` pieces of work among the processes: in each round, every process does one, and `take` gets the results of all in order.
// So none waits for longer than a piece takes. False if a signal to one of the processes cut it short.
template <class T, class Work, class Take>
bool in_rounds(size_t count, const Processes& processes, Work&& work, Take&& take) {
  for (size_t first = 0; first < count; first += size_t(processes.size())) {
    if (processes.any(io::interrupted())) return false;
    const size_t own = first + size_t(processes.rank());
    take(processes.gather(own < count ? work(own) : std::vector<T>()));
  }
  return true;
}

size_t pieces_of(size_t count, size_t piece) { return (count + piece - 1) / piece; }

// The vectors of texts [n, d], in every process.
bool embed_texts(const std::vector<std::string_view>& texts, bool are_queries, models::Model& model, const tasks::BatchLoss& task,
                 const data::TextRows& rows, size_t batch, const Processes& processes, std::vector<float>& vectors) {
  const auto embed = [&](size_t piece) {
    const auto part = std::span(texts).subspan(piece * batch, std::min(batch, texts.size() - piece * batch));
    const auto inputs = are_queries ? rows.rows(part, {}) : rows.rows({}, part);
    auto pass = nn::Pass::without_padding();
    return models::to_floats(task.embed(model, inputs, 0, inputs.rows, pass));
  };
  return in_rounds<float>(pieces_of(texts.size(), batch), processes, embed,
                          [&](const std::vector<float>& found) { vectors.insert(vectors.end(), found.begin(), found.end()); });
}

// A hit as one number, for Processes::gather.
int64_t number_of(const search::Hit& hit) { return int64_t(uint64_t(hit.index) << 32 | std::bit_cast<uint32_t>(hit.score)); }

search::Hit hit_of(int64_t number) { return {size_t(uint64_t(number) >> 32), std::bit_cast<float>(uint32_t(uint64_t(number)))}; }

// The nearest passages of each query, in every process.
bool search_all(std::span<const float> queries, std::span<const float> passages, size_t dim, size_t depth, const Processes& processes,
                Hits& hits) {
  const size_t count = queries.size() / dim, each = std::min(depth, passages.size() / dim);
  const auto search = [&](size_t piece) {
    const size_t first = piece * kQueriesAtOnce, n = std::min(kQueriesAtOnce, count - first);
    std::vector<int64_t> numbers;
    for (const auto& found : search::top_k(queries.subspan(first * dim, n * dim), passages, dim, {.k = depth, .threads = threads()}))
      std::ranges::transform(found, std::back_inserter(numbers), number_of);
    return numbers;
  };
  return in_rounds<int64_t>(pieces_of(count, kQueriesAtOnce), processes, search, [&](const std::vector<int64_t>& numbers) {
    for (size_t i = 0; i < numbers.size(); ++i) {
      if (i % each == 0) hits.emplace_back();
      hits.back().push_back(hit_of(numbers[i]));
    }
  });
}

}  // namespace

bool mine_with_model(data::RetrievalData& data, const data::NegativeOptions& options, models::Model& model, const tasks::BatchLoss& task,
                     const data::TextRows& rows, int batch, const Processes& processes) {
  const auto queries = distinct_queries(data), corpus = data.corpus();
  std::vector<float> q, p;
  {
    const models::PackedScope packed(model);
    if (!embed_texts(texts_of(data, queries), true, model, task, rows, size_t(batch), processes, q)) return false;
    if (!embed_texts(texts_of(data, corpus), false, model, task, rows, size_t(batch), processes, p)) return false;
  }
  const size_t dim = q.size() / queries.size();
  Hits hits;
  if (!search_all(q, p, dim, depth_of(data, options), processes, hits)) return false;
  choose_from(data, options, queries, corpus, hits, [&](size_t query, size_t passage) {
    return std::optional(search::pairwise(std::span(q).subspan(query * dim, dim), std::span(p).subspan(passage * dim, dim), dim)[0]);
  });
  return true;
}

std::string negatives_text(const data::RetrievalData& data) {
  std::string text;
  for (const auto& sample : data.samples()) {
    for (size_t i = 1; i < sample.passages.size(); ++i) text += (i > 1 ? " " : "") + std::to_string(sample.passages[i]);
    text += '\n';
  }
  return text;
}

void set_negatives(data::RetrievalData& data, const std::string& text, const std::string& name) {
  std::istringstream lines(text);
  std::string line;
  for (auto& sample : data.samples()) {
    require(bool(std::getline(lines, line)), name, ": has the negatives of fewer than ", data.samples().size(), " samples");
    sample.passages.resize(1);
    std::istringstream numbers(line);
    for (uint64_t number = 0; numbers >> number;) {
      require(number < data.texts().size(), name, ": there is no text ", number);
      sample.passages.push_back(uint32_t(number));
    }
  }
  require(!std::getline(lines, line), name, ": has the negatives of more than ", data.samples().size(), " samples");
}

MiningSource::MiningSource(data::RetrievalBatches& source, data::RetrievalData& data, HardNegatives hard, data::TextRows rows,
                           const data::BatchShape& shape, int batch)
    : source_(source),
      data_(data),
      hard_(std::move(hard)),
      rows_(std::move(rows)),
      shape_(shape),
      batch_(batch),
      batches_per_epoch_(int64_t((source.samples_per_epoch() + uint64_t(shape.global_batch) - 1) / uint64_t(shape.global_batch))) {}

int64_t MiningSource::batch_number() const {
  return int64_t(position_.epoch) * batches_per_epoch_ + int64_t(position_.samples) / shape_.global_batch;
}

void MiningSource::seek(const data::DataPosition& position) {
  position_ = position;
  source_.seek(position);
}

std::optional<data::Batch> MiningSource::next() {
  const int64_t number = batch_number();
  const int64_t wanted = hard_.every > 0 ? number / hard_.every * hard_.every : 0;
  if (mined_at_ != wanted && !refresh(wanted)) return data::Batch();  // after a signal: the step that follows stops the run
  auto batch = source_.next();
  position_.samples += uint64_t(shape_.global_batch);
  return batch;
}

fs::path MiningSource::file_of(int64_t batch) const { return context_.folder / "negatives" / ("ba" + std::to_string(batch) + ".txt"); }

// The negatives of a run that resumes between two searches are those of the last search, which other weights found. Only the first process
// sees the folder. False after a signal.
bool MiningSource::refresh(int64_t wanted) {
  require(context_.model && context_.task && context_.processes, "[MiningSource] there is no model yet");
  const auto file = file_of(wanted);
  const bool first = context_.processes->first(), is_due = batch_number() == wanted;
  std::string text;
  if (context_.processes->any(first && !is_due && fs::exists(file))) {
    if (first) text = io::read_file(file);
  } else {
    if (!is_due) io::warn(file.string(), ": is gone; the negatives are searched with the weights of now");
    if (!mine(text)) return false;
    if (first) {
      fs::create_directories(file.parent_path());
      io::write_file(file, text);
    }
  }
  set_negatives(data_, context_.processes->broadcast(text), file.string());
  mined_at_ = wanted;
  return true;
}

bool MiningSource::mine(std::string& text) {
  io::info("searching hard negatives before batch ", batch_number() + 1);
  if (!mine_with_model(data_, hard_.options, *context_.model, *context_.task, rows_, batch_, *context_.processes)) return false;
  text = negatives_text(data_);
  return true;
}

}  // namespace m2bert::train
