#pragma once
// Between padded batches [B, S, ...] and rows without padding [nnz, ...]. Source: bert_padding of the reference.
#include <vector>

#include "m2bert/mx.h"

namespace m2bert::ops {

// Where the unpadded rows of a batch stand.
struct Unpadding {
  mx::array indices;            // [nnz] int32, places in the flattened [B * S], ascending
  std::vector<int> cu_seqlens;  // [B + 1] running count of rows
  int max_seqlen;               // rows of the longest text
};

// Reads the mask [B, S] (non-zero: a real token) on the host; holes are allowed. Evaluates mask.
Unpadding unpadding(const mx::array& mask);

// x[indices] along the first axis. Its gradient adds up where an index repeats (the reference keeps one of them).
mx::array index_first_axis(const mx::array& x, const mx::array& indices, mx::StreamOrDevice s = {});

// [first_axis_dim, ...] of zeros with v's rows at indices.
mx::array index_put_first_axis(const mx::array& v, const mx::array& indices, int first_axis_dim, mx::StreamOrDevice s = {});

// [B, S, ...] -> [nnz, ...]
mx::array unpad_input(const mx::array& x, const Unpadding& u, mx::StreamOrDevice s = {});

// [nnz, ...] -> [B, S, ...], zeros at the padding.
mx::array pad_input(const mx::array& rows, const Unpadding& u, int batch, int seqlen, mx::StreamOrDevice s = {});

}  // namespace m2bert::ops
