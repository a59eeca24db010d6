#pragma once
// Selects the documents that are held out for validation: the documents are divided into equal strata, and one of each is drawn at random.
#include <cstdint>

namespace m2bert::data {

class ValidationSampler {
 public:
  ValidationSampler() = default;  // selects none
  // That fraction of any number of documents. Throws unless 0 <= fraction <= 0.5.
  static ValidationSampler by_fraction(double fraction, uint64_t seed);
  // Exactly count of total documents. Throws if count > total.
  static ValidationSampler by_count(uint64_t count, uint64_t total, uint64_t seed);

  // Whether document n (from 0) is selected. Stateless.
  bool operator()(uint64_t n) const;

 private:
  uint64_t begin(uint64_t stratum) const;
  uint64_t count_ = 0, total_ = 0;  // of by_count
  double width_ = 0;                // documents of a stratum; of by_fraction
  uint64_t seed_ = 0;
};

}  // namespace m2bert::data
