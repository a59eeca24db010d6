#include "m2bert/ops/streaming_attention.h"

#include <algorithm>
#include <limits>

#include "m2bert/ops/backend/backend.h"
#include "m2bert/ops/dropout_mask.h"
#include "m2bert/ops/hash.h"

namespace m2bert::ops {

namespace {

using Arrays = std::vector<mx::array>;
constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

// A range of one axis.
struct Range {
  int first, size;
  int end() const { return first + size; }
};

std::vector<Range> ranges(int length, int block) {
  std::vector<Range> all;
  for (int at = 0; at < length; at += block) all.push_back({at, std::min(block, length - at)});
  return all;
}

mx::array part(const mx::array& x, int axis, Range r, mx::StreamOrDevice s) {
  if (x.shape(axis) == 1 || (r.first == 0 && r.size == x.shape(axis))) return x;  // 1: broadcast
  auto from = mx::Shape(x.ndim(), 0), to = x.shape();
  from[size_t(axis)] = r.first;
  to[size_t(axis)] = r.end();
  return mx::slice(x, from, to, s);
}

mx::array swap_last(const mx::array& x, mx::StreamOrDevice s) { return mx::swapaxes(x, -1, -2, s); }

// Blocks composed of MLX operations, for q, k, v [B, heads, L, d].
class Composed {
 public:
  Composed(const StreamingInputs& in, const StreamingAttention& what, int first_sequence, AttentionBlocks blocks, mx::StreamOrDevice s)
      : in_(in), what_(what), first_sequence_(first_sequence), s_(s) {
    const int64_t lines = int64_t(in.q.shape(0)) * in.q.shape(1);
    const int keys = blocks.keys ? blocks.keys : 256;
    // About 16 MiB of scores at a time, and no fewer than 16 queries.
    const int queries = blocks.queries ? blocks.queries : int(std::clamp<int64_t>((int64_t(1) << 22) / (lines * keys), 16, 256));
    queries_ = ranges(in.q.shape(2), queries);
    keys_ = ranges(in.k.shape(2), keys);
  }

  // y, maxima, sums
  Arrays forward() const {
    Arrays y, maxima, sums;
    std::optional<mx::array> before;  // blocks are computed one after another: all at once they would be the whole matrix
    for (auto i : queries_) {
      auto shape = in_.q.shape();
      shape[2] = i.size, shape[3] = 1;
      auto top = mx::full(shape, kMinusInfinity, mx::float32, s_), sum = mx::zeros(shape, mx::float32, s_);
      shape[3] = in_.v.shape(3);
      auto mixed = mx::zeros(shape, mx::float32, s_);
      for (auto j : keys_) {
        if (hidden(i, j)) continue;
        auto scores = this->scores(i, j, before);
        auto higher = mx::maximum(top, mx::max(scores, -1, true, s_), s_);
        auto base = finite(higher);
        auto correction = mx::exp(mx::subtract(top, base, s_), s_);
        auto e = mx::exp(mx::subtract(scores, base, s_), s_);
        sum = mx::add(mx::multiply(sum, correction, s_), mx::sum(e, -1, true, s_), s_);
        if (what_.dropout > 0) e = mx::multiply(e, dropout(i, j), s_);
        mixed = mx::add(mx::multiply(mixed, correction, s_), mx::matmul(e, part(in_.v, 2, j, s_), s_), s_);
        top = higher;
        before = mx::depends({mixed}, {sum})[0];
      }
      y.push_back(mx::divide(mixed, positive(sum), s_));
      maxima.push_back(mx::squeeze(top, 3, s_));
      sums.push_back(mx::squeeze(sum, 3, s_));
    }
    return {mx::concatenate(y, 2, s_), mx::concatenate(maxima, 2, s_), mx::concatenate(sums, 2, s_)};
  }

  // dq, dk, dv and, with a bias, dbias
  Arrays backward(const Arrays& results, const mx::array& dy) const {
    auto delta = mx::sum(mx::multiply(results[0], dy, s_), -1, true, s_);
    auto base = mx::expand_dims(finite(results[1]), 3, s_), sum = mx::expand_dims(positive(results[2]), 3, s_);
    std::vector<std::optional<mx::array>> dq(queries_.size()), dk(keys_.size()), dv(keys_.size());
    BiasGradient dbias(*this);
    std::optional<mx::array> before;
    auto add = [&](std::optional<mx::array>& to, const mx::array& x) { to = to ? mx::add(*to, x, s_) : x; };
    for (size_t b = 0; b < keys_.size(); ++b) {
      for (size_t a = 0; a < queries_.size(); ++a) {
        const auto i = queries_[a], j = keys_[b];
        if (hidden(i, j)) continue;
        auto rows = [&](const mx::array& x) { return part(x, 2, i, s_); };
        auto p = mx::divide(mx::exp(mx::subtract(scores(i, j, before), rows(base), s_), s_), rows(sum), s_);
        auto dy_i = before ? mx::depends({rows(dy)}, {*before})[0] : rows(dy);
        auto dp = mx::matmul(dy_i, swap_last(part(in_.v, 2, j, s_), s_), s_);
        auto dropped = p;
        if (what_.dropout > 0) {
          auto factor = dropout(i, j);
          dropped = mx::multiply(p, factor, s_);
          dp = mx::multiply(dp, factor, s_);
        }
        auto ds = mx::multiply(p, mx::subtract(dp, rows(delta), s_), s_);
        auto scaled = mx::multiply(ds, mx::array(what_.scale), s_);
        add(dv[b], mx::matmul(swap_last(dropped, s_), dy_i, s_));
        add(dk[b], mx::matmul(swap_last(scaled, s_), rows(in_.q), s_));
        add(dq[a], mx::matmul(scaled, part(in_.k, 2, j, s_), s_));
        dbias.add(a, b, ds);
        before = mx::depends({*dq[a]}, {*dk[b], *dv[b]})[0];
      }
    }
    Arrays gradients{join(dq, queries_, in_.q), join(dk, keys_, in_.k), join(dv, keys_, in_.v)};
    if (in_.bias) gradients.push_back(dbias.join());
    return gradients;
  }

 private:
  // Whether no query of block i sees a key of block j.
  bool hidden(Range i, Range j) const { return what_.causal && j.first >= i.end(); }

  mx::array finite(const mx::array& maxima) const {
    return mx::where(mx::equal(maxima, mx::array(kMinusInfinity), s_), mx::array(0.0f), maxima, s_);
  }
  mx::array positive(const mx::array& sums) const { return mx::where(mx::equal(sums, mx::array(0.0f), s_), mx::array(1.0f), sums, s_); }

  mx::array scores(Range i, Range j, const std::optional<mx::array>& before) const {
    auto q = part(in_.q, 2, i, s_);
    if (before) q = mx::depends({q}, {*before})[0];
    auto scores = mx::matmul(mx::multiply(q, mx::array(what_.scale), s_), swap_last(part(in_.k, 2, j, s_), s_), s_);
    if (in_.bias) scores = mx::add(scores, part(part(*in_.bias, 2, i, s_), 3, j, s_), s_);
    if (in_.key_bias) scores = mx::add(scores, mx::expand_dims(part(*in_.key_bias, 1, j, s_), {1, 2}, s_), s_);
    if (what_.alibi_slopes.empty() && !what_.causal) return scores;
    auto at_i = mx::reshape(mx::arange(i.first, i.end(), mx::float32, s_), {i.size, 1}, s_);
    auto at_j = mx::reshape(mx::arange(j.first, j.end(), mx::float32, s_), {1, j.size}, s_);
    auto ahead = mx::subtract(at_j, at_i, s_);
    if (!what_.alibi_slopes.empty()) {
      auto slopes = mx::array(what_.alibi_slopes.data(), {1, int(what_.alibi_slopes.size()), 1, 1});
      scores = mx::subtract(scores, mx::multiply(slopes, mx::abs(ahead, s_), s_), s_);
    }
    if (what_.causal) scores = mx::where(mx::greater(ahead, mx::array(0.0f), s_), mx::array(kMinusInfinity), scores, s_);
    return scores;
  }

  mx::array dropout(Range i, Range j) const {
    return attention_dropout(*in_.dropout_key, what_.dropout, first_sequence_, in_.q.shape(0), in_.q.shape(1), i.first, i.size, j.first,
                             j.size, s_);
  }

  // Blocks to which nothing was added are zeros.
  mx::array join(const std::vector<std::optional<mx::array>>& blocks, const std::vector<Range>& ranges, const mx::array& like) const {
    Arrays all;
    for (size_t n = 0; n < blocks.size(); ++n) {
      auto shape = like.shape();
      shape[2] = ranges[n].size;
      all.push_back(blocks[n] ? *blocks[n] : mx::zeros(shape, mx::float32, s_));
    }
    return mx::concatenate(all, 2, s_);
  }

  // The scores' gradients, summed over the axes along which bias is broadcast; along the others, a grid of blocks like the scores'.
  class BiasGradient {
   public:
    explicit BiasGradient(const Composed& c) : c_(c) {
      if (!c.in_.bias) return;
      rows_ = c.in_.bias->shape(2) == 1 ? 1 : c.queries_.size();
      columns_ = c.in_.bias->shape(3) == 1 ? 1 : c.keys_.size();
      grid_.resize(rows_ * columns_);
    }
    void add(size_t a, size_t b, const mx::array& ds) {
      if (grid_.empty()) return;
      std::vector<int> summed;
      for (int axis = 0; axis < 4; ++axis) {
        if (c_.in_.bias->shape(axis) == 1) summed.push_back(axis);
      }
      auto x = summed.empty() ? ds : mx::sum(ds, summed, true, c_.s_);
      auto& to = grid_[std::min(a, rows_ - 1) * columns_ + std::min(b, columns_ - 1)];
      to = to ? mx::add(*to, x, c_.s_) : x;
    }
    mx::array join() const {
      Arrays rows;
      for (size_t a = 0; a < rows_; ++a) {
        Arrays row;
        for (size_t b = 0; b < columns_; ++b) row.push_back(block(a, b));
        rows.push_back(mx::concatenate(row, 3, c_.s_));
      }
      return mx::concatenate(rows, 2, c_.s_);
    }

   private:
    mx::array block(size_t a, size_t b) const {
      if (const auto& at = grid_[a * columns_ + b]) return *at;
      auto shape = c_.in_.bias->shape();
      if (shape[2] != 1) shape[2] = c_.queries_[a].size;
      if (shape[3] != 1) shape[3] = c_.keys_[b].size;
      return mx::zeros(shape, mx::float32, c_.s_);
    }
    const Composed& c_;
    size_t rows_ = 0, columns_ = 0;
    std::vector<std::optional<mx::array>> grid_;
  };

  StreamingInputs in_;
  StreamingAttention what_;
  int first_sequence_;
  mx::StreamOrDevice s_;
  std::vector<Range> queries_, keys_;
};

// The inputs as a vector for custom_function, and back.
Arrays flat(const StreamingInputs& in) {
  Arrays all{in.q, in.k, in.v};
  for (const auto* a : {&in.bias, &in.key_bias, &in.dropout_key}) {
    if (*a) all.push_back(**a);
  }
  return all;
}
StreamingInputs unflat(const Arrays& all, const StreamingInputs& like) {
  StreamingInputs in{all[0], all[1], all[2]};
  size_t at = 3;
  if (like.bias) in.bias = all[at++];
  if (like.key_bias) in.key_bias = all[at++];
  if (like.dropout_key) in.dropout_key = all[at++];
  return in;
}

using Forward = std::function<Arrays(const StreamingInputs&)>;
using Backward = std::function<Arrays(const StreamingInputs&, const Arrays& results, const mx::array& dy)>;

// One operation made of a forward and a backward form; mask and key have no gradient.
mx::array differentiable(const StreamingInputs& in, const Forward& forward, const Backward& backward, mx::StreamOrDevice s) {
  auto f = [in, forward](const Arrays& all) { return forward(unflat(all, in)); };
  auto vjp = [in, backward, s](const Arrays& all, const Arrays& cotangents, const Arrays& results) {
    auto gradients = backward(unflat(all, in), results, cotangents[0]);
    for (size_t i = gradients.size(); i < all.size(); ++i) gradients.push_back(mx::zeros_like(all[i], s));
    return gradients;
  };
  return mx::custom_function(f, vjp)(flat(in))[0];
}

mx::array composed(const StreamingInputs& in, const StreamingAttention& what, int first_sequence, AttentionBlocks blocks,
                   mx::StreamOrDevice s) {
  if (in.k.shape(2) == 0 || in.q.size() == 0) {
    auto shape = in.q.shape();
    shape[3] = in.v.shape(3);
    return mx::zeros(shape, mx::float32, s);
  }
  auto made = [=](const StreamingInputs& now) { return Composed(now, what, first_sequence, blocks, s); };
  return differentiable(
      in, [made](const StreamingInputs& now) { return made(now).forward(); },
      [made](const StreamingInputs& now, const Arrays& results, const mx::array& dy) { return made(now).backward(results, dy); }, s);
}

// Rows [rows, heads, d] of each sequence as [1, heads, L, d].
Arrays sequences_of(const mx::array& x, const std::vector<int>& offsets, mx::StreamOrDevice s) {
  auto parts = mx::split(x, mx::Shape(offsets.begin() + 1, offsets.end() - 1), 0, s);
  for (auto& p : parts) p = mx::expand_dims(mx::swapaxes(p, 0, 1, s), 0, s);
  return parts;
}

// One sequence after another.
mx::array composed_varlen(const StreamingInputs& in, const StreamingAttention& what, AttentionBlocks blocks, mx::StreamOrDevice s) {
  const auto& offsets = *what.offsets;
  const int n = int(offsets.q.size()) - 1;
  if (n == 0 || in.q.size() == 0) return mx::zeros({in.q.shape(0), in.q.shape(1), in.v.shape(2)}, mx::float32, s);
  auto q = sequences_of(in.q, offsets.q, s), k = sequences_of(in.k, offsets.k, s), v = sequences_of(in.v, offsets.k, s);
  Arrays mixed;
  for (int b = 0; b < n; ++b) {
    const auto at = size_t(b);
    StreamingInputs one{q[at], k[at], v[at], std::nullopt, std::nullopt, in.dropout_key};
    if (in.bias) {
      auto bias = part(*in.bias, 0, {b, 1}, s);
      one.bias = part(part(bias, 2, {0, q[at].shape(2)}, s), 3, {0, k[at].shape(2)}, s);
    }
    auto y = composed(one, what, b, blocks, s);
    mixed.push_back(mx::swapaxes(mx::squeeze(y, 0, s), 0, 1, s));
  }
  return mx::concatenate(mixed, 0, s);
}

// Kernels do not compute the gradient of bias; the composed blocks do, if it is needed.
mx::array bias_gradient(const StreamingInputs& in, const StreamingAttention& what, const mx::array& dy, mx::StreamOrDevice s) {
  auto f = [&](const Arrays& bias) {
    auto with = in;
    with.bias = bias[0];
    return Arrays{what.offsets ? composed_varlen(with, what, {}, s) : composed(with, what, 0, {}, s)};
  };
  return mx::vjp(f, {*in.bias}, {dy}).second[0];
}

mx::array by_kernel(const Backend& backend, const StreamingInputs& in, const StreamingAttention& what, mx::Stream s) {
  return differentiable(
      in, [&backend, what, s](const StreamingInputs& now) { return backend.attention_forward(now, what, s); },
      [&backend, what, s](const StreamingInputs& now, const Arrays& results, const mx::array& dy) {
        auto gradients = backend.attention_backward(now, what, results, dy, s);
        if (now.bias) gradients.push_back(bias_gradient(now, what, dy, s));
        return gradients;
      },
      s);
}

}  // namespace

mx::array attention_dropout(const mx::array& key, float p, int sequence, int sequences, int heads, int i0, int rows, int j0, int keys,
                            mx::StreamOrDevice s) {
  auto count = [&](int first, int n, const mx::Shape& shape) { return mx::reshape(mx::arange(first, first + n, mx::uint32, s), shape, s); };
  auto line = count(sequence * heads, sequences * heads, {sequences, heads, 1, 1});
  auto i = count(i0, rows, {rows, 1}), j = count(j0, keys, {1, keys});
  auto word = [&](int n) {
    auto of_line = hash_mix(mx::add(mx::slice(key, {n}, {n + 1}, s), line, s), s);
    return hash_mix(mx::add(of_line, i, s), s);
  };
  auto step = mx::bitwise_or(word(1), mx::array(1u), s);
  auto hashed = hash_mix(mx::add(mx::multiply(step, j, s), word(0), s), s);
  return mx::where(mx::less(hashed, mx::array(dropout_threshold(p)), s), mx::array(0.0f), mx::array(1 / (1 - p)), s);
}

mx::array streaming_attention(const StreamingInputs& in, const StreamingAttention& what, mx::StreamOrDevice s,
                              const std::optional<AttentionBlocks>& blocks) {
  const bool something = in.q.size() > 0 && in.k.size() > 0 && in.v.size() > 0;
  const auto& backend = backend_for(s);
  if (!blocks && something && backend.supports_attention()) return by_kernel(backend, in, what, mx::to_stream(s));
  const auto sizes = blocks.value_or(AttentionBlocks{});
  return what.offsets ? composed_varlen(in, what, sizes, s) : composed(in, what, 0, sizes, s);
}

}  // namespace m2bert::ops
