#pragma once
// The door between host data and MLX: batches in, plain numbers out. Only the thread that owns MLX calls these functions.
#include <cstdint>
#include <optional>
#include <vector>

#include "m2bert/data/batch.h"
#include "m2bert/mx.h"

namespace m2bert::models {

// What a model reads of a batch.
struct Inputs {
  mx::array input_ids;                      // [B, L] int32
  mx::array attention_mask;                 // [B, L], 1: a token, 0: padding
  std::optional<mx::array> token_type_ids;  // [B, L] int32; absent: all 0
  // attention_mask on the host, if it is known there.
  std::optional<std::vector<uint8_t>> host_mask = {};

  // The same, read from attention_mask otherwise: that waits for the device, and cannot be done while a graph is built ahead.
  std::vector<uint8_t> mask_values() const;
  // The first `length` positions.
  Inputs cut(int length) const;
};

// Rows [first, first + rows) of a batch as arrays.
Inputs inputs_of(const data::Batch& batch, int first, int rows);
Inputs inputs_of(const data::Batch& batch);

// The labels of these rows, int32 [rows, n]: n labels per row; for masked LM, one per token.
mx::array labels_of(const data::Batch& batch, int first, int rows);

// The targets of these rows, float32 [rows, n].
mx::array targets_of(const data::Batch& batch, int first, int rows);

// Evaluates an array and copies its values out, row-major, as float32.
std::vector<float> to_floats(const mx::array& a);

// The two halves of to_floats(), for an array that is launched before its values are read: a as float32, row-major, and what copies the
// values of such an array out. The latter launches nothing, so it does not wait for what was launched meanwhile.
mx::array as_floats(const mx::array& a);
std::vector<float> read_floats(mx::array floats);

}  // namespace m2bert::models
