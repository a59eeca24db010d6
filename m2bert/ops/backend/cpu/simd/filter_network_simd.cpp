#include "m2bert/ops/backend/cpu/simd/filter_network_simd.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "m2bert/ops/backend/cpu/simd/filter_network_simd.cpp"
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL)
#include <hwy/foreach_target.h>

#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>

#include <algorithm>
#include <vector>

#include "m2bert/ops/backend/cpu/simd/gemm_panel_inl.h"
#include "m2bert/ops/backend/cpu/simd/parallel.h"
#include "m2bert/ops/backend/cpu/simd/scratch.h"

HWY_BEFORE_NAMESPACE();
namespace m2bert::ops::cpu::HWY_NAMESPACE {

using D = hn::CappedTag<float, 16>;
using V = hn::Vec<D>;

// The first `count` lanes; the others are loaded as 0 and not stored.
HWY_INLINE V load_lanes(const float* at, int count) {
  const D d;
  if (count == int(hn::Lanes(d))) return hn::LoadU(d, at);
  HWY_ALIGN float part[16] = {};
  std::copy_n(at, count, part);
  return hn::Load(d, part);
}
HWY_INLINE void store_lanes(V v, int count, float* at) {
  const D d;
  if (count == int(hn::Lanes(d))) return hn::StoreU(v, d, at);
  HWY_ALIGN float part[16];
  hn::Store(v, d, part);
  std::copy_n(part, count, at);
}

// y may be x.
void sine_linear_part(SineLayer layer, float* y) {
  static thread_local Scratch memory, copy;
  if (layer.x == y) {
    const size_t size = size_t(layer.rows) * size_t(layer.in);
    layer.x = std::copy_n(layer.x, size, copy.of<float>(size)) - size;
  }
  const D d;
  const int N = int(hn::Lanes(d));
  float* panel = memory.of<float>(size_t(layer.in) * size_t(N));
  for (int first = 0; first < layer.out; first += N) {
    const int count = std::min(N, layer.out - first);
    pack_panel(d, layer.weight, layer.out, layer.in, first, panel);
    const V bias = load_lanes(layer.bias + first, count), freq = load_lanes(layer.freq + first, count);
    gemm_panel(d, layer.x, int(layer.rows), layer.in, panel, [&](int r, V sum) {
      store_lanes(hn::Sin(d, hn::Mul(freq, hn::Add(sum, bias))), count, y + int64_t(r) * layer.out + first);
    });
  }
}

// The gradients from some of the rows. They are added to those of weight, bias and freq in `to`.
void sine_gradient_part(const SineLayer& l, const float* dy, const SineGradients& to) {
  static thread_local Scratch transposed, gradients, sums;
  const D d;
  const int N = int(hn::Lanes(d)), rows = int(l.rows);
  float* panel = transposed.of<float>(size_t(std::max(l.in, l.out)) * size_t(N));
  float* dz = gradients.of<float>(size_t(l.rows) * size_t(l.out));  // of x W^T + b
  float* weight_sum = sums.of<float>(size_t(l.in) * size_t(N));
  for (int first = 0; first < l.out; first += N) {
    const int count = std::min(N, l.out - first);
    pack_panel(d, l.weight, l.out, l.in, first, panel);
    const V bias = load_lanes(l.bias + first, count), freq = load_lanes(l.freq + first, count);
    V bias_sum = load_lanes(to.bias + first, count), freq_sum = load_lanes(to.freq + first, count);
    std::fill_n(weight_sum, l.in * N, 0.0f);
    gemm_panel(d, l.x, rows, l.in, panel, [&](int r, V sum) {
      const V z = hn::Add(sum, bias), slope = hn::Mul(load_lanes(dy + int64_t(r) * l.out + first, count), hn::Cos(d, hn::Mul(freq, z)));
      const V g = hn::Mul(slope, freq);
      freq_sum = hn::MulAdd(slope, z, freq_sum);
      bias_sum = hn::Add(bias_sum, g);
      store_lanes(g, count, dz + int64_t(r) * l.out + first);
      const float* x = l.x + int64_t(r) * l.in;
      for (int j = 0; j < l.in; ++j) hn::StoreU(hn::MulAdd(g, hn::Set(d, x[j]), hn::LoadU(d, weight_sum + j * N)), d, weight_sum + j * N);
    });
    store_lanes(bias_sum, count, to.bias + first);
    store_lanes(freq_sum, count, to.freq + first);
    for (int lane = 0; lane < count; ++lane) {
      for (int j = 0; j < l.in; ++j) to.weight[(first + lane) * l.in + j] += weight_sum[j * N + lane];
    }
  }
  for (int first = 0; first < l.in; first += N) {
    const int count = std::min(N, l.in - first);
    for (int o = 0; o < l.out; ++o) hn::StoreU(load_lanes(l.weight + int64_t(o) * l.in + first, count), d, panel + o * N);
    gemm_panel(d, dz, rows, l.out, panel, [&](int r, V sum) { store_lanes(sum, count, to.x + int64_t(r) * l.in + first); });
  }
}

void decay_part(const float* x, const float* times, const float* deltas, int rows, int columns, float* y) {
  const D d;
  const int N = int(hn::Lanes(d));
  for (int r = 0; r < rows; ++r, x += columns, y += columns) {
    const V minus_t = hn::Set(d, -times[r]);
    for (int c = 0; c < columns; c += N) {
      const int count = std::min(N, columns - c);
      const V factor = hn::Exp(d, hn::Mul(minus_t, hn::Abs(load_lanes(deltas + c, count))));
      store_lanes(hn::Mul(load_lanes(x + c, count), factor), count, y + c);
    }
  }
}

}  // namespace m2bert::ops::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace m2bert::ops::cpu {

HWY_EXPORT(sine_linear_part);
HWY_EXPORT(sine_gradient_part);
HWY_EXPORT(decay_part);

namespace {

SineLayer part(SineLayer layer, int64_t first, int64_t rows) {
  layer.x += first * layer.in;
  layer.rows = rows;
  return layer;
}

// The number of shares the rows are split into for threads; one if there is little work.
int shares(const SineLayer& layer, int threads) {
  constexpr int64_t kMinWork = 1 << 18;  // multiplications of a thread
  return int(std::clamp<int64_t>(layer.rows * layer.in * layer.out / kMinWork, 1, threads));
}

}  // namespace

void sine_linear_forward(const SineLayer& layer, float* y, int threads) {
  constexpr int64_t kStep = 1024;
  const int64_t count = shares(layer, threads), step = std::min(kStep, (layer.rows + count - 1) / count);
  parallel_for((layer.rows + step - 1) / step, int(count), [&](int64_t i) {
    const int64_t r = i * step;
    HWY_DYNAMIC_DISPATCH(sine_linear_part)(part(layer, r, std::min(step, layer.rows - r)), y + r * layer.out);
  });
}

// Each share of the rows has its own sums; they are added in order, so that a run is reproducible.
void sine_linear_backward(const SineLayer& layer, const float* dy, const SineGradients& to, int threads) {
  const int count = shares(layer, threads);
  const int64_t step = (layer.rows + count - 1) / count;
  const size_t weights = size_t(layer.in) * size_t(layer.out), columns = size_t(layer.out), size = weights + 2 * columns;
  std::vector<float> sums(size * size_t(count));
  parallel_for(count, count, [&](int64_t i) {
    const int64_t r = std::min(layer.rows, i * step);
    float* own = sums.data() + size_t(i) * size;
    HWY_DYNAMIC_DISPATCH(sine_gradient_part)
    (part(layer, r, std::min(step, layer.rows - r)), dy + r * layer.out,
     {to.x + r * layer.in, own, own + weights, own + weights + columns});
  });
  auto add = [&](float* sum, size_t first, size_t n) {
    std::fill_n(sum, n, 0.0f);
    for (int i = 0; i < count; ++i) {
      for (size_t j = 0; j < n; ++j) sum[j] += sums[size_t(i) * size + first + j];
    }
  };
  add(to.weight, 0, weights);
  add(to.bias, weights, columns);
  add(to.freq, weights + columns, columns);
}

void exponential_decay_rows(const float* x, const float* times, const float* deltas, int64_t rows, int columns, float* y, int threads) {
  constexpr int64_t kStep = 16;
  parallel_for((rows + kStep - 1) / kStep, threads, [&](int64_t i) {
    const int64_t r = i * kStep;
    HWY_DYNAMIC_DISPATCH(decay_part)(x + r * columns, times + r, deltas, int(std::min(kStep, rows - r)), columns, y + r * columns);
  });
}

}  // namespace m2bert::ops::cpu
#endif
