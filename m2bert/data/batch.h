#pragma once
// The batch that a model is trained or run on, as plain vectors.
#include <cstdint>
#include <vector>

namespace m2bert::data {

// Rows of the same length, one after another. The names are Hugging Face's.
struct Batch {
  int rows = 0, length = 0;
  std::vector<int32_t> input_ids;       // [rows, length]
  std::vector<int32_t> attention_mask;  // [rows, length], 1: a token, 0: padding
  std::vector<int32_t> token_type_ids;  // [rows, length]; empty: all 0
  std::vector<int32_t> labels;        // as the task reads them: [rows, length] for masked LM, -100 is ignored; [rows] classes; empty: none
  std::vector<float> targets;         // [rows, n] numbers to predict: regression, several labels (0 or 1); empty: none
  std::vector<int32_t> sequence_ids;  // [rows, length], which of the sequences packed into a row a token belongs to; empty: unknown
};

}  // namespace m2bert::data
