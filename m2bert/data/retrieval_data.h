#pragma once
// What a retrieval model is trained on: queries with passages that answer them and passages that do not.
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace m2bert::data {

// Numbers are indices of RetrievalData::texts.
struct RetrievalSample {
  uint32_t query = 0;
  std::vector<uint32_t> passages;  // the positive first, then negatives
  // Nothing; or one number, the label of the pair (1: belong together, 0: do not, or a similarity); or a teacher's score of each passage.
  std::vector<float> scores;
  bool operator==(const RetrievalSample&) const = default;
};

class RetrievalData {
 public:
  // Adds a text if it is new, and returns its number.
  uint32_t add_text(std::string_view text);
  // Adds a sample of these texts.
  void add(std::string_view query, const std::vector<std::string_view>& passages, std::vector<float> scores = {});
  void add(RetrievalSample sample) { samples_.push_back(std::move(sample)); }
  // A passage that negatives can be mined from, whether a sample has it or not.
  void add_passage(std::string_view text) { passages_.push_back(add_text(text)); }

  const std::vector<std::string>& texts() const { return texts_; }
  const std::string& text(uint32_t number) const { return texts_[number]; }
  std::vector<RetrievalSample>& samples() { return samples_; }
  const std::vector<RetrievalSample>& samples() const { return samples_; }

  // All passages that negatives can be mined from, without repeats: those of the samples, and those that were added, in order.
  std::vector<uint32_t> corpus() const;
  // The passages that are positives of a query in any sample, by query.
  std::unordered_map<uint32_t, std::vector<uint32_t>> positives() const;

  // A hash of all texts and samples, by which a run recognises its data.
  std::string fingerprint() const;

 private:
  std::vector<std::string> texts_;
  std::unordered_map<uint64_t, std::vector<uint32_t>> by_hash_;  // a text is stored once
  std::vector<RetrievalSample> samples_;
  std::vector<uint32_t> passages_;
};

// What the samples hold, which must be the same in all of them.
struct RetrievalShape {
  size_t negatives = 0;  // the fewest of a sample
  bool labels = false, scores = false;
};
// Error, which begins with `name`: no samples, or samples with labels, scores or neither side by side.
RetrievalShape shape_of(const RetrievalData& data, const std::string& name);

// Whether a sample is a positive pair, rather than one with a label below 1.
bool is_positive(const RetrievalSample& sample);

// Keeps the samples of the first `queries` queries (0: all), as upstream's query_cap_per_dataset.
void limit_queries(RetrievalData& data, size_t queries);

}  // namespace m2bert::data
