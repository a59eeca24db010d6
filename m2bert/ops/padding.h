#pragma once
// Converts between padded batches [B, S, ...] and rows without padding [nnz, ...]. Source: upstream's bert_padding and ops/bert_padding.
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "m2bert/mx.h"
#include "m2bert/ops/cu_seqlens.h"

namespace m2bert::ops {

// Rows as kernels take them that work on several sequences at once: the longest sequence is first, each one begins at a multiple of some
// number of rows, and the rows behind it are unused.
struct AlignedRows {
  CuSeqlens sequences;     // in the order of the rows
  std::vector<int> first;  // [B]: the first row of each sequence of the batch
  mx::array indices;       // [rows] int32, positions in the flattened [B * S]; an unused row repeats the last one of its sequence
  mx::array places;        // [rows] int32, the same positions; of an unused row B * S
};

// Where the rows without padding are in a padded batch.
struct Unpadding {
  mx::array indices;            // [nnz] int32, positions in the flattened [B * S], ascending
  std::vector<int> cu_seqlens;  // [B + 1] cumulative row counts
  int max_seqlen;               // rows of the longest sequence
  int seqlen;                   // S
  bool contiguous;              // no sequence has a hole between its rows
  bool begins_with_tokens;      // position 0 of every sequence is a row
  // If present, unpad_input gives these rows and pad_input takes them.
  std::optional<AlignedRows> aligned = {};
};

// Whether each value of a mask is not 0, row-major. Waits for the device, unless the values are on the host already. Throws Error if mask
// is traced.
std::vector<uint8_t> read_mask(const mx::array& mask);

// Reads the mask [B, S] (any dtype; non-zero: a real token) on the host. Holes and empty sequences are allowed. Evaluates mask; throws
// Error if it is traced or has another shape.
Unpadding unpadding(const mx::array& mask);
// The same of a mask on the host, row-major. alignment above 1: with aligned rows, unless a sequence has a hole.
Unpadding unpadding(const std::vector<uint8_t>& mask, int B, int S, int alignment = 1);

// x[indices] along the first axis: x [n, ...], indices [m] of an integer dtype -> [m, ...]. Differentiable in x: the gradients of a
// repeated index are added (upstream keeps one of them, whichever it writes last). The gradient of an x that is neither floating point nor
// complex throws Error. Indices must be in [0, n); this is not checked, because a check would stall the device.
mx::array index_first_axis(const mx::array& x, const mx::array& indices, mx::StreamOrDevice s = {});

// Zeros [first_axis_dim, ...] with the rows of v [m, ...] at indices [m]: the inverse of index_first_axis if no index is repeated (of a
// repeated index, one of the rows remains). Differentiable in v. Indices must be in [0, first_axis_dim); this is not checked.
mx::array index_put_first_axis(const mx::array& v, const mx::array& indices, int first_axis_dim, mx::StreamOrDevice s = {});

// [B, S, ...] -> [nnz, ...], or aligned rows, given an unpadding of the same B and S. Differentiable in x.
mx::array unpad_input(const mx::array& x, const Unpadding& u, mx::StreamOrDevice s = {});
// The same given a mask [B, S]. Also returns the unpadding: upstream's hidden_states, indices, cu_seqlens and max_seqlen_in_batch.
std::pair<mx::array, Unpadding> unpad_input(const mx::array& x, const mx::array& mask, mx::StreamOrDevice s = {});
// Only the rows.
mx::array unpad_input_only(const mx::array& x, const mx::array& mask, mx::StreamOrDevice s = {});

// [nnz, ...], or aligned rows, -> [batch, seqlen, ...] with zeros at the padding; batch and seqlen are those of the unpadding.
// Differentiable in rows.
mx::array pad_input(const mx::array& rows, const mx::array& indices, int batch, int seqlen, mx::StreamOrDevice s = {});
mx::array pad_input(const mx::array& rows, const Unpadding& u, int batch, int seqlen, mx::StreamOrDevice s = {});

}  // namespace m2bert::ops
