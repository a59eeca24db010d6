#pragma once
// Metrics of language models, as running sums: add() the sums of a batch; value() is the metric of all batches so far.
#include <cstdint>

namespace m2bert::metrics {

// Mean cross entropy per predicted token, in nats.
class LanguageCrossEntropy {
 public:
  // sum: of the cross entropies of `tokens` tokens.
  void add(double sum, int64_t tokens);
  // NaN without tokens.
  double value() const;
  int64_t tokens() const { return tokens_; }

 private:
  double sum_ = 0;
  int64_t tokens_ = 0;
};

// Fraction of the predicted tokens whose most likely prediction is right.
class MaskedAccuracy {
 public:
  void add(int64_t right, int64_t tokens);
  // NaN without tokens.
  double value() const;

 private:
  int64_t right_ = 0, tokens_ = 0;
};

// exp of a mean cross entropy; infinity on overflow.
double perplexity(double cross_entropy);

}  // namespace m2bert::metrics
