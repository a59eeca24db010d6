#include "m2bert/metrics/language.h"

#include <cmath>
#include <limits>

namespace m2bert::metrics {

namespace {
double ratio(double a, int64_t b) { return b == 0 ? std::numeric_limits<double>::quiet_NaN() : a / double(b); }
}  // namespace

void LanguageCrossEntropy::add(double sum, int64_t tokens) {
  sum_ += sum;
  tokens_ += tokens;
}

double LanguageCrossEntropy::value() const { return ratio(sum_, tokens_); }

void MaskedAccuracy::add(int64_t right, int64_t tokens) {
  right_ += right;
  tokens_ += tokens;
}

double MaskedAccuracy::value() const { return ratio(double(right_), tokens_); }

double perplexity(double cross_entropy) { return std::exp(cross_entropy); }

}  // namespace m2bert::metrics
