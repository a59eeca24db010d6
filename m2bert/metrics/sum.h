#pragma once
// A sum whose error does not grow with the number of its terms (Neumaier, 1974).
#include <cmath>
#include <cstddef>

namespace m2bert::metrics {

// The sum of term(0) to term(n - 1).
template <class Term>
double compensated_sum(size_t n, Term term) {
  double sum = 0, lost = 0;
  for (size_t i = 0; i < n; ++i) {
    const double x = term(i), next = sum + x;
    lost += std::abs(sum) >= std::abs(x) ? (sum - next) + x : (x - next) + sum;
    sum = next;
  }
  return std::isfinite(lost) ? sum + lost : sum;
}

// Their mean; NaN if n is 0.
template <class Term>
double compensated_mean(size_t n, Term term) {
  return compensated_sum(n, term) / static_cast<double>(n);
}

}  // namespace m2bert::metrics
