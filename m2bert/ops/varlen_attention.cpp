#include "m2bert/ops/varlen_attention.h"

#include <algorithm>

#include "m2bert/error.h"
#include "m2bert/ops/attention_options.h"
#include "m2bert/ops/backend/backend.h"

namespace m2bert::ops {

namespace {

constexpr const char* kOp = "attention_varlen";

void check(const mx::array& q, const mx::array& k, const mx::array& v, const CuSeqlens& of_q, const CuSeqlens& of_k,
           const AttentionOptions& options) {
  const bool fits = q.ndim() == 3 && k.ndim() == 3 && v.ndim() == 3 && k.shape(1) == q.shape(1) && v.shape(1) == q.shape(1) &&
                    k.shape(2) == q.shape(2) && v.shape(0) == k.shape(0);
  require(fits, "[", kOp, "] q, k and v have shapes ", q.shape(), ", ", k.shape(), ", ", v.shape(),
          ", want [nnz_q, heads, d], [nnz_k, heads, d], [nnz_k, heads, dv]");
  require(of_q.sequences() == of_k.sequences(), "[", kOp, "] cu_seqlens_q has ", of_q.sequences(), " sequences, cu_seqlens_k has ",
          of_k.sequences());
  require(of_q.values().back() == q.shape(0), "[", kOp, "] cu_seqlens_q ends at ", of_q.values().back(), ", q has ", q.shape(0), " rows");
  require(of_k.values().back() == k.shape(0), "[", kOp, "] cu_seqlens_k ends at ", of_k.values().back(), ", k has ", k.shape(0), " rows");
  require(!options.key_mask, "[", kOp, "] key_mask is given; the lengths say which keys there are");
  mx::Shape scores{of_q.sequences(), q.shape(1), of_q.longest(), of_k.longest()};
  if (options.bias && options.bias->ndim() == 4) {  // may be longer than the sequences
    for (int axis : {2, 3}) scores[size_t(axis)] = std::max(scores[size_t(axis)], options.bias->shape(axis));
  }
  check_attention(kOp, q, k, v, options, scores);
}

void check_longest(const char* name, int max_seqlen, const CuSeqlens& cu_seqlens) {
  require(cu_seqlens.longest() <= max_seqlen, "[flash_attn_unpadded] ", name, " is ", max_seqlen, ", a sequence has ", cu_seqlens.longest(),
          " rows");
}

// [nnz, n, heads, d] -> n times [nnz, heads, d]
std::vector<mx::array> unpack(const char* op, const char* name, const mx::array& packed, int n, mx::StreamOrDevice s) {
  require(packed.ndim() == 4 && packed.shape(1) == n, "[", op, "] ", name, " has shape ", packed.shape(), ", wants [nnz, ", n,
          ", heads, d]");
  auto parts = mx::split(packed, n, 1, s);
  for (auto& part : parts) part = mx::squeeze(part, 1, s);
  return parts;
}

mx::array upto(const mx::array& bias, int axis, int n, mx::StreamOrDevice s) {
  if (bias.shape(axis) == 1) return bias;
  auto to = bias.shape();
  to[size_t(axis)] = n;
  return mx::slice(bias, mx::Shape(4, 0), to, s);
}

}  // namespace

mx::array attention_varlen(const mx::array& q, const mx::array& k, const mx::array& v, const CuSeqlens& cu_seqlens_q,
                           const CuSeqlens& cu_seqlens_k, const AttentionOptions& options, mx::StreamOrDevice s) {
  check(q, k, v, cu_seqlens_q, cu_seqlens_k, options);
  auto what = streaming_options(q, options);
  what.offsets = {cu_seqlens_q.values(), cu_seqlens_k.values()};
  return mx::astype(streaming_attention(streaming_inputs(q, k, v, options, s), what, s), q.dtype(), s);
}

mx::array attention_varlen_fallback(const mx::array& q, const mx::array& k, const mx::array& v, const CuSeqlens& cu_seqlens_q,
                                    const CuSeqlens& cu_seqlens_k, const AttentionOptions& options, mx::StreamOrDevice s) {
  check(q, k, v, cu_seqlens_q, cu_seqlens_k, options);
  require(options.dropout == 0, "[attention_varlen_fallback] has no dropout: its mask would be that of a first sequence");
  std::vector<mx::array> mixed{mx::zeros({0, q.shape(1), v.shape(2)}, q.dtype(), s)};
  for (int b = 0; b < cu_seqlens_q.sequences(); ++b) {
    auto sequence = [&](const mx::array& x, const CuSeqlens& at) {
      auto rows = mx::slice(x, {at.values()[size_t(b)], 0, 0}, {at.values()[size_t(b) + 1], x.shape(1), x.shape(2)}, s);
      return mx::expand_dims(mx::swapaxes(rows, 0, 1, s), 0, s);
    };
    auto q_b = sequence(q, cu_seqlens_q), k_b = sequence(k, cu_seqlens_k);
    auto here = options;
    if (here.bias && here.bias->shape(0) > 1) here.bias = mx::take(*here.bias, mx::array({b}), 0, s);
    if (here.bias) here.bias = upto(upto(*here.bias, 2, q_b.shape(2), s), 3, k_b.shape(2), s);
    auto y = scaled_dot_product_attention_fallback(q_b, k_b, sequence(v, cu_seqlens_k), here, s);
    mixed.push_back(mx::swapaxes(mx::squeeze(y, 0, s), 0, 1, s));
  }
  return mx::concatenate(mixed, 0, s);
}

mx::array attention_varlen_qkv(const mx::array& qkv, const CuSeqlens& cu_seqlens, const AttentionOptions& options, mx::StreamOrDevice s) {
  const auto parts = unpack("attention_varlen_qkv", "qkv", qkv, 3, s);
  check(parts[0], parts[1], parts[2], cu_seqlens, cu_seqlens, options);
  require(!options.bias && options.dropout == 0, "[attention_varlen_qkv] has no bias and no dropout; attention_varlen has them");
  auto what = streaming_options(parts[0], options);
  what.offsets = {cu_seqlens.values(), cu_seqlens.values()};
  if (qkv.size() > 0) {
    const auto stream = mx::to_stream(s);
    if (auto y = backend_for(s).attention_qkv(mx::astype(qkv, mx::float32, s), what, stream)) return mx::astype(*y, qkv.dtype(), s);
  }
  return attention_varlen(parts[0], parts[1], parts[2], cu_seqlens, cu_seqlens, options, s);
}

mx::array flash_attn_unpadded_qkvpacked_func(const mx::array& qkv, const CuSeqlens& cu_seqlens, int max_seqlen,
                                             const AttentionOptions& options, mx::StreamOrDevice s) {
  auto parts = unpack("flash_attn_unpadded", "qkv", qkv, 3, s);
  return flash_attn_unpadded_func(parts[0], parts[1], parts[2], cu_seqlens, cu_seqlens, max_seqlen, max_seqlen, options, s);
}

mx::array flash_attn_unpadded_kvpacked_func(const mx::array& q, const mx::array& kv, const CuSeqlens& cu_seqlens_q,
                                            const CuSeqlens& cu_seqlens_k, int max_seqlen_q, int max_seqlen_k,
                                            const AttentionOptions& options, mx::StreamOrDevice s) {
  auto parts = unpack("flash_attn_unpadded", "kv", kv, 2, s);
  return flash_attn_unpadded_func(q, parts[0], parts[1], cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k, options, s);
}

mx::array flash_attn_unpadded_func(const mx::array& q, const mx::array& k, const mx::array& v, const CuSeqlens& cu_seqlens_q,
                                   const CuSeqlens& cu_seqlens_k, int max_seqlen_q, int max_seqlen_k, const AttentionOptions& options,
                                   mx::StreamOrDevice s) {
  check_longest("max_seqlen_q", max_seqlen_q, cu_seqlens_q);
  check_longest("max_seqlen_k", max_seqlen_k, cu_seqlens_k);
  return attention_varlen(q, k, v, cu_seqlens_q, cu_seqlens_k, options, s);
}

}  // namespace m2bert::ops
