#include "m2bert/ops/kernels/sine_linear_simd.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "m2bert/ops/kernels/sine_linear_simd.cpp"
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL)
#include <hwy/foreach_target.h>

#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>

#include "m2bert/ops/kernels/parallel.h"
#include "m2bert/ops/kernels/row_products_simd.h"
#include "m2bert/ops/kernels/scratch.h"

HWY_BEFORE_NAMESPACE();
namespace m2bert::ops::kernels::HWY_NAMESPACE {

void sine_linear_some(const float* x, const float* weight, const float* bias, const float* freq, int rows, int in, int out, float* y) {
  static thread_local Scratch memory;
  const hn::CappedTag<float, 16> d;
  const int N = int(hn::Lanes(d));
  float* weight_t = memory.of<float>(size_t(in + 2) * size_t(N));
  float *b = weight_t + in * N, *f = b + N;
  for (int first = 0; first < out; first += N) {
    transpose_rows(d, weight, out, in, first, weight_t);
    const int count = out - first < N ? out - first : N;
    for (int lane = 0; lane < N; ++lane) {
      b[lane] = lane < count ? bias[first + lane] : 0;
      f[lane] = lane < count ? freq[first + lane] : 0;
    }
    row_products(d, x, rows, in, weight_t, [&](int r, auto sum) {
      const auto value = hn::Sin(d, hn::Mul(hn::LoadU(d, f), hn::Add(sum, hn::LoadU(d, b))));
      float* to = y + size_t(r) * size_t(out) + first;
      if (count == N) {
        hn::StoreU(value, d, to);
      } else {
        HWY_ALIGN float part[16];
        hn::Store(value, d, part);
        for (int lane = 0; lane < count; ++lane) to[lane] = part[lane];
      }
    });
  }
}

}  // namespace m2bert::ops::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace m2bert::ops::kernels {

HWY_EXPORT(sine_linear_some);

void sine_linear_rows(const float* x, const float* weight, const float* bias, const float* freq, int64_t rows, int in, int out, float* y,
                      int threads) {
  constexpr int64_t kStep = 1024;
  parallel_for((rows + kStep - 1) / kStep, threads, [&](int64_t i) {
    const int64_t r = i * kStep, count = rows - r < kStep ? rows - r : kStep;
    HWY_DYNAMIC_DISPATCH(sine_linear_some)(x + r * in, weight, bias, freq, int(count), in, out, y + r * out);
  });
}

}  // namespace m2bert::ops::kernels
#endif
