// Each vector lane is one channel. An FFT transforms one sequence, with imaginary part 0. Two sequences in one FFT would halve the work,
// but each would round the other, and a NaN in one would reach both.
#include "m2bert/ops/backend/cpu/simd/long_conv_simd.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "m2bert/ops/backend/cpu/simd/long_conv_simd.cpp"
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL)
#include <hwy/foreach_target.h>

#include <hwy/highway.h>

#include "m2bert/ops/backend/cpu/simd/fft_inl.h"
#include "m2bert/ops/backend/cpu/simd/load_store_inl.h"

HWY_BEFORE_NAMESPACE();
namespace m2bert::ops::cpu::HWY_NAMESPACE {

// The spectrum of the filter for the lanes' channels from h on, with the skip term and the FFT's scale 1 / n folded in.
void filter_spectrum(const LongConvFilter& filter, int L, int H, int h, Buffer x, const Twiddles& t) {
  const D d;
  const V zero = hn::Zero(d), scaled = hn::Set(d, 1 / float(t.n));
  const size_t width = size_t(H);
  clear(x, 0, t.n);
  for (size_t s = 0; s < size_t(L); ++s) x.put(d, s, {hn::Mul(scaled, hn::LoadU(d, filter.k + s * width + h)), zero});
  for (size_t r = 0; filter.k_rev && r + 1 < size_t(L); ++r) {  // position -1-r; the last row reaches no token
    x.put(d, t.n - 1 - r, {hn::Mul(scaled, hn::LoadU(d, filter.k_rev + r * width + h)), zero});
  }
  const Complex first = x.get(d, 0);
  x.put(d, 0, {hn::MulAdd(scaled, hn::LoadU(d, filter.D + h), first.re), zero});
  fft(x, t);
}

// The spectrum of one sequence [L, H], for the lanes' channels from h on.
template <class T>
void sequence_spectrum(const T* u, int L, int H, int h, Buffer x, const Twiddles& t) {
  const D d;
  for (size_t s = 0; s < size_t(L); ++s) x.put(d, s, {load(d, u + s * size_t(H) + h), hn::Zero(d)});
  clear(x, size_t(L), t.n / 2);
  fft<true>(x, t);
}

// Transforms back and stores the sequence.
template <class T>
void store_sequence(Buffer x, const Twiddles& t, int L, int H, int h, T* y) {
  const D d;
  ifft<true>(x, t);
  for (size_t s = 0; s < size_t(L); ++s) store(x.get(d, s).re, d, y + s * size_t(H) + h);
}

template <class T>
void conv_all(const T* u, const LongConvFilter& filter, int B, int L, int H, T* y, int threads) {
  const D d;
  const auto& t = twiddles(fft_length(L));
  const int N = int(hn::Lanes(d));
#pragma omp parallel num_threads(threads)
  {
    auto memory_k = allocate_buffer(t.n), memory_x = allocate_buffer(t.n);
    const Buffer k{memory_k.get(), size_t(N)}, x{memory_x.get(), size_t(N)};
#pragma omp for schedule(static)
    for (int h = 0; h < H; h += N) {
      filter_spectrum(filter, L, H, h, k, t);
      for (int b = 0; b < B; ++b) {
        const size_t sequence = size_t(b) * size_t(L) * size_t(H);
        sequence_spectrum(u + sequence, L, H, h, x, t);
        for (size_t p = 0; p < t.n; ++p) x.put(d, p, mul(x.get(d, p), k.get(d, p)));
        store_sequence(x, t, L, H, h, y + sequence);
      }
    }
  }
}

// The real part of the inverse FFT of q is the correlation of u and dy, summed over the sequences; its value at a lag is the gradient of
// the filter's row for that lag.
void store_filter_gradient(Buffer q, const Twiddles& t, int L, int H, int h, const LongConvFilterGradient& to) {
  const D d;
  ifft(q, t);
  const size_t width = size_t(H);
  const V scaled = hn::Set(d, 1 / float(t.n));
  for (size_t s = 0; s < size_t(L); ++s) {
    hn::StoreU(hn::Mul(scaled, q.get(d, s).re), d, to.k + s * width + h);
    const bool reaches = s + 1 < size_t(L);
    if (to.k_rev) hn::StoreU(reaches ? hn::Mul(scaled, q.get(d, t.n - 1 - s).re) : hn::Zero(d), d, to.k_rev + s * width + h);
  }
  hn::StoreU(hn::Mul(scaled, q.get(d, 0).re), d, to.D + h);
}

template <class T>
void conv_gradient_all(const T* u, const T* dy, const LongConvFilter& filter, int B, int L, int H, T* du,
                       const LongConvFilterGradient& d_filter, int threads) {
  const D d;
  const auto& t = twiddles(fft_length(L));
  const int N = int(hn::Lanes(d));
#pragma omp parallel num_threads(threads)
  {
    auto memory_k = allocate_buffer(t.n), memory_x = allocate_buffer(t.n), memory_w = allocate_buffer(t.n), memory_q = allocate_buffer(t.n);
    const Buffer k{memory_k.get(), size_t(N)}, x{memory_x.get(), size_t(N)}, w{memory_w.get(), size_t(N)}, q{memory_q.get(), size_t(N)};
#pragma omp for schedule(static)
    for (int h = 0; h < H; h += N) {
      filter_spectrum(filter, L, H, h, k, t);
      clear(q, 0, t.n);
      for (int b = 0; b < B; ++b) {
        const size_t sequence = size_t(b) * size_t(L) * size_t(H);
        sequence_spectrum(u + sequence, L, H, h, x, t);
        sequence_spectrum(dy + sequence, L, H, h, w, t);
        for (size_t p = 0; p < t.n; ++p) {
          const Complex cotangent = w.get(d, p);
          q.put(d, p, add(q.get(d, p), mul_conj(cotangent, x.get(d, p))));
          w.put(d, p, mul_conj(cotangent, k.get(d, p)));
        }
        store_sequence(w, t, L, H, h, du + sequence);
      }
      store_filter_gradient(q, t, L, H, h, d_filter);
    }
  }
}

void conv_float(const float* u, const LongConvFilter& filter, int B, int L, int H, float* y, int threads) {
  conv_all(u, filter, B, L, H, y, threads);
}
void conv_bfloat(const uint16_t* u, const LongConvFilter& filter, int B, int L, int H, uint16_t* y, int threads) {
  conv_all(u, filter, B, L, H, y, threads);
}
void conv_gradient_float(const float* u, const float* dy, const LongConvFilter& filter, int B, int L, int H, float* du,
                         const LongConvFilterGradient& d_filter, int threads) {
  conv_gradient_all(u, dy, filter, B, L, H, du, d_filter, threads);
}
void conv_gradient_bfloat(const uint16_t* u, const uint16_t* dy, const LongConvFilter& filter, int B, int L, int H, uint16_t* du,
                          const LongConvFilterGradient& d_filter, int threads) {
  conv_gradient_all(u, dy, filter, B, L, H, du, d_filter, threads);
}

}  // namespace m2bert::ops::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace m2bert::ops::cpu {

HWY_EXPORT(conv_float);
HWY_EXPORT(conv_bfloat);
HWY_EXPORT(conv_gradient_float);
HWY_EXPORT(conv_gradient_bfloat);

template <>
void long_conv_forward(const float* u, const LongConvFilter& filter, int B, int L, int H, float* y, int threads) {
  HWY_DYNAMIC_DISPATCH(conv_float)(u, filter, B, L, H, y, threads);
}
template <>
void long_conv_forward(const uint16_t* u, const LongConvFilter& filter, int B, int L, int H, uint16_t* y, int threads) {
  HWY_DYNAMIC_DISPATCH(conv_bfloat)(u, filter, B, L, H, y, threads);
}
template <>
void long_conv_backward(const float* u, const float* dy, const LongConvFilter& filter, int B, int L, int H, float* du,
                        const LongConvFilterGradient& d_filter, int threads) {
  HWY_DYNAMIC_DISPATCH(conv_gradient_float)(u, dy, filter, B, L, H, du, d_filter, threads);
}
template <>
void long_conv_backward(const uint16_t* u, const uint16_t* dy, const LongConvFilter& filter, int B, int L, int H, uint16_t* du,
                        const LongConvFilterGradient& d_filter, int threads) {
  HWY_DYNAMIC_DISPATCH(conv_gradient_bfloat)(u, dy, filter, B, L, H, du, d_filter, threads);
}

}  // namespace m2bert::ops::cpu
#endif
