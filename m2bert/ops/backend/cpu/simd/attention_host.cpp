// Source: Dao et al., FlashAttention (2022). A task of the forward pass is a block of queries of one head; a task of the backward pass is a
// head, or a share of its keys if there are few heads. A GEMM inside a parallel region runs on the calling thread alone.
#include "m2bert/ops/backend/cpu/simd/attention_host.h"

#include <dnnl.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <optional>

#include "m2bert/ops/backend/cpu/simd/scratch.h"

namespace m2bert::ops::cpu {

namespace {

constexpr int kQueries = 128, kKeys = 256;  // the fastest shape for oneDNN; a block of scores stays in the second-level cache

// One head of one sequence.
struct Head {
  const AttentionPlan& plan;
  const AttentionInputs& in;
  size_t sequence;
  int head;

  const AttentionSequence& at() const { return plan.sequences[sequence]; }
  int64_t query(int i) const { return at().q_first + i * plan.q_row + head * plan.q_head; }
  int64_t result(int i) const { return at().y_first + i * plan.y_row + head * plan.y_head; }
  int64_t key(int j) const { return at().k_first + j * plan.k_row + head * plan.k_head; }
  int64_t q_stride() const { return plan.q_row * plan.d; }
  int64_t k_stride() const { return plan.k_row * plan.d; }
  int64_t y_stride() const { return plan.y_row * plan.dv; }
  int64_t v_stride() const { return plan.k_row * plan.dv; }
  // The number of keys that queries [i0, i0 + rows) attend to.
  int visible(int i0, int rows) const { return plan.causal ? std::min(at().keys, i0 + rows) : at().keys; }

  ScoreBlock block(float* scores, int i0, int rows, int j0, int keys) const {
    const auto n = int64_t(sequence);
    const auto& step = plan.bias_steps;
    return {scores,
            kKeys,
            rows,
            keys,
            i0,
            j0,
            in.key_bias ? in.key_bias + n * plan.key_bias_step + j0 : nullptr,
            in.bias ? in.bias + n * step[0] + head * step[1] + i0 * step[2] + j0 * step[3] : nullptr,
            step[2],
            step[3],
            plan.slopes.empty() ? 0 : plan.slopes[size_t(head)],
            plan.causal && j0 + keys > i0 + 1,
            plan.dropout.threshold ? &plan.dropout : nullptr,
            uint32_t(n * plan.heads + head)};
  }
};

// c [m, n] = alpha op(a) op(b) + beta c
void gemm(bool transpose_a, bool transpose_b, int m, int n, int k, float alpha, const float* a, int64_t lda, const float* b, int64_t ldb,
          float beta, float* c, int64_t ldc) {
  dnnl_sgemm(transpose_a ? 'T' : 'N', transpose_b ? 'T' : 'N', m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

struct BlockScratch {
  std::vector<float> scores = std::vector<float>(size_t(kQueries) * kKeys), gradient, mixed;
};

void forward_block(const Head& h, int i0, BlockScratch& scratch, float* y, SoftmaxStats out) {
  const auto& p = h.plan;
  const int rows = std::min(kQueries, h.at().queries - i0);
  float maxima[kQueries], sums[kQueries], correction[kQueries];
  std::fill_n(maxima, rows, -std::numeric_limits<float>::infinity());
  std::fill_n(sums, rows, 0.0f);
  scratch.mixed.assign(size_t(rows) * size_t(p.dv), 0.0f);
  float* mixed = scratch.mixed.data();
  for (int j0 = 0; j0 < h.visible(i0, rows); j0 += kKeys) {
    const int keys = std::min(kKeys, h.at().keys - j0);
    gemm(false, true, rows, keys, p.d, p.scale, h.in.q + h.query(i0) * p.d, h.q_stride(), h.in.k + h.key(j0) * p.d, h.k_stride(), 0,
         scratch.scores.data(), kKeys);
    softmax_block(h.block(scratch.scores.data(), i0, rows, j0, keys), maxima, sums, correction);
    for (int r = 0; r < rows && j0 > 0; ++r) {
      if (correction[r] != 1) scale_row(mixed + r * p.dv, correction[r], p.dv, mixed + r * p.dv);
    }
    gemm(false, false, rows, p.dv, keys, 1, scratch.scores.data(), kKeys, h.in.v + h.key(j0) * p.dv, h.v_stride(), 1, mixed, p.dv);
  }
  for (int r = 0; r < rows; ++r) {
    const int64_t at = h.result(i0 + r);
    scale_row(mixed + r * p.dv, sums[r] == 0 ? 0 : 1 / sums[r], p.dv, y + at * p.dv);
    if (out.maxima) out.maxima[at] = maxima[r], out.sums[at] = sums[r];
  }
}

// Up to this many keys one kernel for the whole head is faster than GEMMs for its blocks.
constexpr int kFewKeys = 128;

// Whether the head is computed by attend_head.
bool has_few_keys(const AttentionPlan& plan, const AttentionInputs& in, size_t sequence) {
  return plan.sequences[sequence].keys <= kFewKeys && !in.bias && !plan.causal && plan.dropout.threshold == 0 &&
         attend_head_supports(plan.d, plan.dv);
}

void forward_head(const Head& h, float* y, SoftmaxStats out) {
  static thread_local Scratch scratch;
  const auto& p = h.plan;
  const int64_t y_first = h.result(0);
  attend_head(
      {h.in.q + h.query(0) * p.d, h.in.k + h.key(0) * p.d, h.in.v + h.key(0) * p.dv, y + y_first * p.dv, h.q_stride(), h.k_stride(),
       h.v_stride(), h.y_stride(), h.at().queries, h.at().keys, p.d, p.dv, p.scale,
       h.in.key_bias ? h.in.key_bias + int64_t(h.sequence) * p.key_bias_step : nullptr, p.slopes.empty() ? 0 : p.slopes[size_t(h.head)],
       out.maxima ? out.maxima + y_first : nullptr, out.maxima ? out.sums + y_first : nullptr, p.y_row},
      scratch.of<float>(attend_head_scratch(kFewKeys, p.d)));
}

struct Gradients {
  float *dq, *dk, *dv;
};

// The softmax statistics of a block of queries, which are q_row apart in memory, side by side.
struct BlockRows {
  float maxima[kQueries], sums[kQueries], delta[kQueries];
  BlockRows(const Head& h, int i0, int rows, const SoftmaxStats& all, const float* all_delta) {
    for (int r = 0; r < rows; ++r) {
      const int64_t at = h.query(i0 + r);
      maxima[r] = all.maxima[at], sums[r] = all.sums[at], delta[r] = all_delta[at];
    }
  }
};

void backward_block(const Head& h, int i0, int rows, int j0, int keys, BlockScratch& scratch, const SoftmaxStats& all, const float* delta,
                    const float* dy, const Gradients& to) {
  const auto& p = h.plan;
  float *scores = scratch.scores.data(), *gradient = scratch.gradient.data();
  const float *q = h.in.q + h.query(i0) * p.d, *k = h.in.k + h.key(j0) * p.d, *v = h.in.v + h.key(j0) * p.dv;
  dy += h.query(i0) * p.dv;
  gemm(false, true, rows, keys, p.d, p.scale, q, h.q_stride(), k, h.k_stride(), 0, scores, kKeys);
  gemm(false, true, rows, keys, p.dv, 1, dy, h.y_stride(), v, h.v_stride(), 0, gradient, kKeys);
  const BlockRows stored(h, i0, rows, all, delta);
  gradient_block(h.block(scores, i0, rows, j0, keys), stored.maxima, stored.sums, stored.delta, gradient);
  gemm(true, false, keys, p.dv, rows, 1, scores, kKeys, dy, h.y_stride(), 1, to.dv + h.key(j0) * p.dv, h.v_stride());
  gemm(true, false, keys, p.d, rows, p.scale, gradient, kKeys, q, h.q_stride(), 1, to.dk + h.key(j0) * p.d, h.k_stride());
  gemm(false, false, rows, p.d, keys, p.scale, gradient, kKeys, k, h.k_stride(), 1, to.dq + h.query(i0) * p.d, h.q_stride());
}

// delta[i] = dy_i . y_i
void row_dots(const float* y, const float* dy, int64_t rows, int n, float* delta, int threads) {
#pragma omp parallel for num_threads(threads)
  for (int64_t i = 0; i < rows; ++i) delta[i] = dot_row(y + i * n, dy + i * n, n);
}

// One block of queries of one head, or the whole head.
struct ForwardItem {
  size_t sequence;
  int head, i0;
  bool whole;
};

std::vector<ForwardItem> forward_items(const AttentionPlan& plan, const AttentionInputs& in) {
  std::vector<ForwardItem> items;
  for (size_t n = 0; n < plan.sequences.size(); ++n) {
    const bool whole = has_few_keys(plan, in, n);
    for (int head = 0; head < plan.heads; ++head) {
      if (whole) items.push_back({n, head, 0, true});
      if (whole) continue;
      for (int i0 = 0; i0 < plan.sequences[n].queries; i0 += kQueries) items.push_back({n, head, i0, false});
    }
  }
  return items;
}

}  // namespace

void attention_forward(const AttentionPlan& plan, const AttentionInputs& in, float* y, SoftmaxStats out, int threads) {
  const auto items = forward_items(plan, in);
#pragma omp parallel num_threads(threads)
  {
    std::optional<BlockScratch> scratch;
#pragma omp for schedule(dynamic, 4)
    for (size_t n = 0; n < items.size(); ++n) {
      const Head head{plan, in, items[n].sequence, items[n].head};
      if (items[n].whole) {
        forward_head(head, y, out);
      } else {
        if (!scratch) scratch.emplace();
        forward_block(head, items[n].i0, *scratch, y, out);
      }
    }
  }
}

void attention_backward(const AttentionPlan& plan, const AttentionInputs& in, const float* y, SoftmaxStats rows, const float* dy, float* dq,
                        float* dk, float* dv, int threads) {
  const int64_t q_size = plan.queries * plan.d;
  const int heads = int(plan.sequences.size()) * plan.heads;
  // Every share of the keys adds to all of dq, so each share except the first has its own dq.
  const int shares = heads == 0 ? 1 : std::max(1, (threads + heads - 1) / heads);
  std::vector<float> delta(size_t(plan.queries)), more_dq(size_t(shares - 1) * size_t(q_size));
  std::memset(dq, 0, size_t(q_size) * sizeof(float));
  std::memset(dk, 0, size_t(plan.keys * plan.d) * sizeof(float));
  std::memset(dv, 0, size_t(plan.keys * plan.dv) * sizeof(float));
  row_dots(y, dy, plan.queries, plan.dv, delta.data(), threads);
#pragma omp parallel num_threads(threads)
  {
    BlockScratch scratch;
    scratch.gradient.resize(scratch.scores.size());
#pragma omp for schedule(dynamic)
    for (int item = 0; item < heads * shares; ++item) {
      const int share = item % shares, number = item / shares;
      const Head h{plan, in, size_t(number / plan.heads), number % plan.heads};
      const Gradients to{share == 0 ? dq : more_dq.data() + (share - 1) * q_size, dk, dv};
      for (int j0 = share * kKeys; j0 < h.at().keys; j0 += shares * kKeys) {
        const int keys = std::min(kKeys, h.at().keys - j0);
        for (int i0 = 0; i0 < h.at().queries; i0 += kQueries) {
          const int rows_here = std::min(kQueries, h.at().queries - i0);
          if (h.visible(i0, rows_here) > j0) backward_block(h, i0, rows_here, j0, keys, scratch, rows, delta.data(), dy, to);
        }
      }
    }
  }
  for (int share = 1; share < shares; ++share) add_row(more_dq.data() + (share - 1) * q_size, q_size, dq);
}

}  // namespace m2bert::ops::cpu
