#pragma once
// Between padded batches [B, S, ...] and rows without padding [nnz, ...]. Source: bert_padding and ops/bert_padding of the reference.
#include <utility>
#include <vector>

#include "m2bert/mx.h"

namespace m2bert::ops {

// Where the unpadded rows of a batch stand.
struct Unpadding {
  mx::array indices;            // [nnz] int32, places in the flattened [B * S], ascending
  std::vector<int> cu_seqlens;  // [B + 1] running count of rows
  int max_seqlen;               // rows of the longest text
  int seqlen;                   // S
  bool contiguous;              // no text has a hole between its rows
};

// Reads the mask [B, S] (any type; non-zero: a real token) on the host; holes and empty texts are allowed. Evaluates mask; throws Error
// when it is traced or has another shape.
Unpadding unpadding(const mx::array& mask);

// x[indices] along the first axis: x [n, ...], indices [m] of an integer type -> [m, ...]. Differentiable in x: where an index repeats its
// gradients are added (the reference keeps one of them, whichever it writes last); an x that is not floating point or complex has no
// gradient, and asking for it throws Error. Indices must be in [0, n): they are not looked at, since that would stop a device's work.
mx::array index_first_axis(const mx::array& x, const mx::array& indices, mx::StreamOrDevice s = {});

// [first_axis_dim, ...] of zeros with v's rows [m, ...] at indices [m]; the inverse of index_first_axis for indices that do not repeat
// (one of the rows stays where they do). Differentiable in v. Indices must be in [0, first_axis_dim), and are not looked at.
mx::array index_put_first_axis(const mx::array& v, const mx::array& indices, int first_axis_dim, mx::StreamOrDevice s = {});

// [B, S, ...] -> [nnz, ...] by an unpadding of the same B and S. Differentiable in x.
mx::array unpad_input(const mx::array& x, const Unpadding& u, mx::StreamOrDevice s = {});
// The same by a mask [B, S], with the unpadding beside it: the reference's hidden_states, indices, cu_seqlens and max_seqlen_in_batch.
std::pair<mx::array, Unpadding> unpad_input(const mx::array& x, const mx::array& mask, mx::StreamOrDevice s = {});
// The rows alone.
mx::array unpad_input_only(const mx::array& x, const mx::array& mask, mx::StreamOrDevice s = {});

// [nnz, ...] -> [batch, seqlen, ...], zeros at the padding; batch and seqlen are those of the unpadding. Differentiable in rows.
mx::array pad_input(const mx::array& rows, const mx::array& indices, int batch, int seqlen, mx::StreamOrDevice s = {});
mx::array pad_input(const mx::array& rows, const Unpadding& u, int batch, int seqlen, mx::StreamOrDevice s = {});

}  // namespace m2bert::ops
