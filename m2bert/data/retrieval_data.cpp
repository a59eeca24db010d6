#include "m2bert/data/retrieval_data.h"

#include <algorithm>
#include <unordered_set>

#include "m2bert/error.h"
#include "m2bert/io/hash.h"

namespace m2bert::data {

uint32_t RetrievalData::add_text(std::string_view text) {
  auto& same_hash = by_hash_[io::hash64(text)];
  for (const uint32_t number : same_hash)
    if (texts_[number] == text) return number;
  require(texts_.size() < UINT32_MAX, "there are more than ", UINT32_MAX, " texts");
  const auto number = static_cast<uint32_t>(texts_.size());
  texts_.emplace_back(text);
  same_hash.push_back(number);
  return number;
}

void RetrievalData::add(std::string_view query, const std::vector<std::string_view>& passages, std::vector<float> scores) {
  RetrievalSample sample{add_text(query), {}, std::move(scores)};
  for (const auto passage : passages) sample.passages.push_back(add_text(passage));
  samples_.push_back(std::move(sample));
}

std::vector<uint32_t> RetrievalData::corpus() const {
  std::vector<uint32_t> all;
  std::vector<bool> seen(texts_.size());
  auto add = [&](uint32_t number) {
    if (!seen[number]) all.push_back(number);
    seen[number] = true;
  };
  for (const auto& sample : samples_)
    for (const uint32_t passage : sample.passages) add(passage);
  for (const uint32_t passage : passages_) add(passage);
  return all;
}

bool is_positive(const RetrievalSample& sample) { return sample.scores.size() != 1 || sample.scores[0] >= 1; }

std::unordered_map<uint32_t, std::vector<uint32_t>> RetrievalData::positives() const {
  std::unordered_map<uint32_t, std::vector<uint32_t>> all;
  for (const auto& sample : samples_) {
    auto& of_query = all[sample.query];
    if (is_positive(sample) && std::ranges::find(of_query, sample.passages[0]) == of_query.end()) of_query.push_back(sample.passages[0]);
  }
  return all;
}

std::string RetrievalData::fingerprint() const {
  io::Hasher hasher;
  auto add_number = [&](uint64_t n) { hasher.update({reinterpret_cast<const char*>(&n), sizeof n}); };
  for (const auto& text : texts_) {
    add_number(text.size());
    hasher.update(text);
  }
  for (const auto& sample : samples_) {
    add_number(sample.query);
    add_number(sample.passages.size());
    for (const uint32_t passage : sample.passages) add_number(passage);
    hasher.update({reinterpret_cast<const char*>(sample.scores.data()), sample.scores.size() * sizeof(float)});
  }
  return hasher.hash128();
}

RetrievalShape shape_of(const RetrievalData& data, const std::string& name) {
  require(!data.samples().empty(), name, ": there are no samples to train on");
  RetrievalShape shape{SIZE_MAX};
  size_t labelled = 0, scored = 0;
  for (const auto& sample : data.samples()) {
    shape.negatives = std::min(shape.negatives, sample.passages.size() - 1);
    labelled += sample.scores.size() == 1;
    scored += sample.scores.size() > 1;
  }
  const size_t all = data.samples().size();
  require((labelled == 0 || labelled == all) && (scored == 0 || scored == all), name, ": of ", all, " samples ", labelled,
          " have a label and ", scored, " a score of each passage; all samples of a run are of one kind");
  shape.labels = labelled > 0;
  shape.scores = scored > 0;
  return shape;
}

void limit_queries(RetrievalData& data, size_t queries) {
  if (queries == 0) return;
  std::unordered_set<uint32_t> kept;
  std::erase_if(data.samples(), [&](const RetrievalSample& sample) {
    if (kept.contains(sample.query)) return false;
    if (kept.size() == queries) return true;
    kept.insert(sample.query);
    return false;
  });
}

}  // namespace m2bert::data
