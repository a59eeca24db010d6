#pragma once
// Which documents are kept for validation: in each stretch of the documents one, picked at random.
#include <cstdint>

namespace m2bert::data {

class ValidationChoice {
 public:
  ValidationChoice() = default;  // none
  // About that share of any number of documents, 0 <= fraction <= 0.5. Error for others.
  static ValidationChoice by_fraction(double fraction, uint64_t seed);
  // Exactly count of total. Error: count > total.
  static ValidationChoice by_count(uint64_t count, uint64_t total, uint64_t seed);

  // Whether document n (from 0) is one. Depends on n alone.
  bool operator()(uint64_t n) const;

 private:
  uint64_t begin(uint64_t stretch) const;
  uint64_t count_ = 0, total_ = 0;  // of by_count
  double width_ = 0;                // documents of a stretch; of by_fraction
  uint64_t seed_ = 0;
};

}  // namespace m2bert::data
