// Each vector lane is one channel. The input of an FFT is complex: its real part is the gated signal of the first convolution, its
// imaginary part the signal of the second one, so that one FFT serves both.
#include "m2bert/ops/backend/cpu/simd/monarch_mix_simd.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "m2bert/ops/backend/cpu/simd/monarch_mix_simd.cpp"
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL)
#include <hwy/foreach_target.h>

#include <algorithm>
#include <type_traits>

#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>

#include "m2bert/ops/backend/cpu/simd/fft_inl.h"
#include "m2bert/ops/backend/cpu/simd/gemm_panel_inl.h"
#include "m2bert/ops/backend/cpu/simd/load_store_inl.h"
#include "m2bert/ops/backend/cpu/simd/parallel.h"
#include "m2bert/ops/backend/cpu/simd/scratch.h"

HWY_BEFORE_NAMESPACE();
namespace m2bert::ops::cpu::HWY_NAMESPACE {

// What apply_filters multiplies by at a pair of frequencies f and -f.
struct FilterPair {
  Complex a, b;
};

HWY_INLINE FilterPair load_filter_pair(const float* packed, size_t index) {
  const D d;
  const float* row = packed + index * 4 * kChannelBlock;
  return {{hn::LoadU(d, row), hn::LoadU(d, row + kChannelBlock)},
          {hn::LoadU(d, row + 2 * kChannelBlock), hn::LoadU(d, row + 3 * kChannelBlock)}};
}
HWY_INLINE FilterPair load_filter_pair(const uint32_t* packed, size_t index) {
  const uint32_t* row = packed + index * 2 * kChannelBlock;
  return {Bfloat16Buffer::unpack(D(), row), Bfloat16Buffer::unpack(D(), row + kChannelBlock)};
}
HWY_INLINE void store_filter_pair(const FilterPair& f, size_t index, float* packed) {
  const D d;
  float* row = packed + index * 4 * kChannelBlock;
  hn::StoreU(f.a.re, d, row);
  hn::StoreU(f.a.im, d, row + kChannelBlock);
  hn::StoreU(f.b.re, d, row + 2 * kChannelBlock);
  hn::StoreU(f.b.im, d, row + 3 * kChannelBlock);
}
HWY_INLINE void store_filter_pair(const FilterPair& f, size_t index, uint32_t* packed) {
  uint32_t* row = packed + index * 2 * kChannelBlock;
  Bfloat16Buffer::pack(f.a, D(), row);
  Bfloat16Buffer::pack(f.b, D(), row + kChannelBlock);
}

// Multiplies both signals of the spectrum Z by their filters K1 and K2: W[f] = Z[f] A[f] + conj(Z[-f]) B[f] with A = (K1 + K2) / 2 and
// B = (K1 - K2) / 2. A and B at -f are the conjugates of those at f.
template <class F>
HWY_INLINE FrequencyPair apply_filters(const F* packed, size_t index, const FrequencyPair& z) {
  const auto [a, b] = load_filter_pair(packed, index);
  return {add(mul(z.at, a), mul(conj(z.mirror), b)), add(mul_conj(z.mirror, a), mul_conj(conj(z.at), b))};
}

// Packs the filters of the lanes' channels for apply_filters. x holds both in the time domain, k and k2 as real and imaginary part from
// position 0 on, k_rev and k2_rev backwards from the end. skip, skip2: the skip terms of these channels, or null.
template <class F>
void pack_spectra(const float* skip, const float* skip2, Buffer x, const Twiddles& t, F* packed) {
  const D d;
  const size_t n = t.n;
  const Complex first = x.get(d, 0);
  auto value = [&](const float* from) { return from ? hn::LoadU(d, from) : hn::Zero(d); };
  x.put(d, 0, {hn::Add(first.re, value(skip)), hn::Add(first.im, value(skip2))});
  fft(x, t);
  const V quarter = hn::Set(d, 0.25f / float(n));
  for_each_frequency_pair(n, [&](size_t p, size_t partner, size_t index) {
    // K1 = (Z + conj Z') / 2 and K2 = (Z - conj Z') / 2i; (K1 +- K2) / 2n is stored.
    const Complex z = x.get(d, p), other = x.get(d, partner);
    const Complex k1{hn::Add(z.re, other.re), hn::Sub(z.im, other.im)}, k2f{hn::Add(z.im, other.im), hn::Sub(other.re, z.re)};
    store_filter_pair({scale(add(k1, k2f), quarter), scale(sub(k1, k2f), quarter)}, index, packed);
  });
}

// Packs the lanes' channels, from h on, of filters [L, H] in the time domain.
template <class F>
void pack_channels(const float* k, const float* k_rev, const float* skip, const float* k2, const float* k2_rev, const float* skip2, int L,
                   int H, int h, Buffer x, const Twiddles& t, F* packed) {
  const D d;
  const V zero = hn::Zero(d);
  clear(x, 0, t.n);
  auto value = [&](const float* table, int row) { return table ? hn::LoadU(d, table + size_t(row) * size_t(H) + h) : zero; };
  for (int t0 = 0; t0 < L; ++t0) x.put(d, size_t(t0), {value(k, t0), value(k2, t0)});
  for (int r = 0; r + 1 < L; ++r)
    x.put(d, t.n - 1 - size_t(r), {value(k_rev, r), value(k2_rev, r)});  // position -1-r; the last row reaches no token
  pack_spectra(skip ? skip + h : nullptr, skip2 ? skip2 + h : nullptr, x, t, packed);
}

template <class F>
void pack_from_networks(const HostFilterNetworks& f, int L, int h, F* packed) {
  static thread_local Scratch signals, transposed;
  const D d;
  const auto& t = twiddles(fft_length(L));
  const size_t N = hn::Lanes(d);
  const Buffer x{signals.of<float>(2 * t.n * N), N};
  float* panel = transposed.of<float>(size_t(f.order) * N);
  auto evaluate = [&](const HostFilterNetwork& net, const float* times, const float* deltas, int lane, bool imaginary, bool reverse) {
    if (!net.features) return;
    pack_panel(d, net.weight, h + kChannelBlock, f.order, h + lane, panel);
    const V rate = hn::Neg(hn::Abs(hn::LoadU(d, deltas + h + lane)));
    gemm_panel(d, net.features, reverse ? L - 1 : L, f.order, panel, [&](int row, V sum) {
      const size_t p = reverse ? t.n - 1 - size_t(row) : size_t(row);  // the last row of a reverse filter reaches no token
      const V value = hn::Mul(sum, hn::Exp(d, hn::Mul(hn::Set(d, times[row]), rate)));
      hn::Store(value, d, x.at + 2 * p * N + (imaginary ? N : 0));
    });
  };
  for (int lane = 0; lane < kChannelBlock; lane += int(N)) {
    clear(x, 0, t.n);
    evaluate(f.k, f.times, f.deltas, lane, false, false);
    evaluate(f.k_rev, f.times, f.deltas, lane, false, true);
    evaluate(f.k2, f.times2, f.deltas2, lane, true, false);
    evaluate(f.k2_rev, f.times2, f.deltas2, lane, true, true);
    pack_spectra(f.D ? f.D + h + lane : nullptr, f.D2 ? f.D2 + h + lane : nullptr, x, t, packed + lane);
  }
}

// The short convolution of one third (0: x1, 1: x2, 2: v) of one sequence, for the lanes' channels from h on.
template <class T>
struct ShortConv {
  // column: the first token's values; those of the next one are `stride` further on.
  ShortConv(const T* column, size_t stride, const float* weight, const float* bias, int H, int third, int h)
      : column(column), stride(stride), b(hn::LoadU(D(), bias + third * H + h)) {
    HWY_ALIGN float tap[3][kChannelBlock];
    const size_t N = hn::Lanes(D());
    for (size_t c = 0; c < N; ++c) {
      for (int j = 0; j < 3; ++j) tap[j][c] = weight[(size_t(third * H + h) + c) * 3 + size_t(j)];
    }
    w0 = hn::Load(D(), tap[0]);
    w1 = hn::Load(D(), tap[1]);
    w2 = hn::Load(D(), tap[2]);
  }
  HWY_INLINE V at(size_t s) const {
    const D d;
    const T* now = column + s * stride;
    const V before = s >= 1 ? load(d, now - stride) : hn::Zero(d), before2 = s >= 2 ? load(d, now - 2 * stride) : hn::Zero(d);
    return hn::MulAdd(w2, load(d, now), hn::MulAdd(w1, before, hn::MulAdd(w0, before2, b)));
  }
  const T* column;
  size_t stride;
  V b, w0, w1, w2;
};

template <class T>
HWY_INLINE ShortConv<T> short_conv(const MonarchMixArrays<T>& arrays, int64_t row, int third, int h) {
  return {arrays.projected.element(row, third * arrays.H + h),
          size_t(arrays.projected.row_stride),
          arrays.short_weight,
          arrays.short_bias,
          arrays.H,
          third,
          h};
}

// What the forward FFT reads: the signals of both convolutions, x1 * v and u (or 0), and zeros past the end of the sequence.
template <class T>
struct Signals {
  Signals(const MonarchMixArrays<T>& arrays, int64_t row, int L, int h)
      : x1(short_conv(arrays, row, 0, h)),
        v(short_conv(arrays, row, 2, h)),
        u(arrays.u.data ? arrays.u.element(row, h) : nullptr),
        u_stride(size_t(arrays.u.row_stride)),
        L(size_t(L)) {}
  HWY_INLINE Complex get(D d, size_t s) const {
    const V zero = hn::Zero(d);
    if (s >= L) return {zero, zero};
    return {hn::Mul(x1.at(s), v.at(s)), u ? load(d, u + s * u_stride) : zero};
  }
  ShortConv<T> x1, v;
  const T* u;
  size_t u_stride, L;
};

// Where the inverse FFT writes: y = x2 * real part + imaginary part.
template <class T>
struct Gate {
  Gate(const MonarchMixArrays<T>& arrays, int64_t row, int L, int h)
      : x2(short_conv(arrays, row, 1, h)), y(arrays.y.element(row, h)), y_stride(size_t(arrays.y.row_stride)), L(size_t(L)) {}
  HWY_INLINE void put(D d, size_t s, Complex c) const {
    if (s < L) store(hn::MulAdd(x2.at(s), c.re, c.im), d, y + s * y_stride);
  }
  ShortConv<T> x2;
  T* y;
  size_t y_stride, L;
};

template <class T, class F>
void mix_channels(const MonarchMixArrays<T>& arrays, const F* packed, int64_t row, int L, int h) {
  static thread_local Scratch cache_memory, memory;
  const auto& t = twiddles(fft_length(L));
  const size_t N = hn::Lanes(D());
  const Buffer cache{cache_memory.of<float>(2 * cached_length(t.n) * N), N};
  using Memory = std::conditional_t<std::is_same_v<F, float>, Buffer, Bfloat16Buffer>;
  const Memory x{t.n > kMaxCachedLength ? memory.of<F>((std::is_same_v<F, float> ? 2 : 1) * t.n * N) : nullptr, N};
  for (int lane = 0; lane < kChannelBlock; lane += int(N)) {
    fft_apply_ifft(Signals<T>(arrays, row, L, h + lane), Gate<T>(arrays, row, L, h + lane), cache, x, t,
                   [&](size_t index, const FrequencyPair& z) HWY_ATTR { return apply_filters(packed + lane, index, z); });
  }
}

template <class T>
void first_row_sums_of(const MonarchMixArrays<T>& arrays, const FirstRowFilters& filters, int64_t row, int begin, int count, int h,
                       float* sums, float* sums2) {
  const D d;
  const auto before = size_t(std::min(begin, 2)), H = size_t(arrays.H);  // before: rows that the short convolution reads
  for (int lane = 0; lane < kChannelBlock; lane += int(hn::Lanes(d))) {
    const Signals<T> signals(arrays, row - int64_t(before), count + int(before), h + lane);
    const size_t first = size_t(begin) * H + size_t(h + lane);
    const float *k = filters.k + first, *k2 = filters.k2 ? filters.k2 + first : nullptr;
    V sum = hn::Zero(d), sum2 = hn::Zero(d);
    for (size_t s = 0; s < size_t(count); ++s) {
      const Complex at = signals.get(d, before + s);
      sum = hn::MulAdd(hn::LoadU(d, k + s * H), at.re, sum);
      if (k2) sum2 = hn::MulAdd(hn::LoadU(d, k2 + s * H), at.im, sum2);
    }
    hn::StoreU(sum, d, sums + lane);
    hn::StoreU(sum2, d, sums2 + lane);
  }
}

template <class T>
void first_row_gate_of(const MonarchMixArrays<T>& arrays, int64_t row, int h, const float* sums, const float* sums2) {
  const D d;
  for (int lane = 0; lane < kChannelBlock; lane += int(hn::Lanes(d))) {
    const V x2 = short_conv(arrays, row, 1, h + lane).at(0);
    store(hn::MulAdd(x2, hn::LoadU(d, sums + lane), hn::LoadU(d, sums2 + lane)), d, arrays.y.element(row, h + lane));
  }
}

void first_sums_float(const MonarchMixArrays<float>& arrays, const FirstRowFilters& filters, int64_t row, int begin, int count, int h,
                      float* sums, float* sums2) {
  first_row_sums_of(arrays, filters, row, begin, count, h, sums, sums2);
}
void first_sums_bfloat(const MonarchMixArrays<uint16_t>& arrays, const FirstRowFilters& filters, int64_t row, int begin, int count, int h,
                       float* sums, float* sums2) {
  first_row_sums_of(arrays, filters, row, begin, count, h, sums, sums2);
}
void first_gate_float(const MonarchMixArrays<float>& arrays, int64_t row, int h, const float* sums, const float* sums2) {
  first_row_gate_of(arrays, row, h, sums, sums2);
}
void first_gate_bfloat(const MonarchMixArrays<uint16_t>& arrays, int64_t row, int h, const float* sums, const float* sums2) {
  first_row_gate_of(arrays, row, h, sums, sums2);
}

template <class F>
void pack_all(const float* k, const float* k_rev, const float* skip, const float* k2, const float* k2_rev, const float* skip2, int L, int H,
              F* packed, int threads) {
  const auto& t = twiddles(fft_length(L));
  const int N = int(hn::Lanes(D()));
  const size_t per_block = packed_filter_size<F>(kChannelBlock, L);
#pragma omp parallel num_threads(threads)
  {
    auto memory = allocate_buffer(t.n);
    const Buffer x{memory.get(), size_t(N)};
#pragma omp for schedule(static)
    for (int h = 0; h < H; h += N) {
      F* out = packed + size_t(h / kChannelBlock) * per_block + h % kChannelBlock;
      pack_channels(k, k_rev, skip, k2, k2_rev, skip2, L, H, h, x, t, out);
    }
  }
}

void pack_all_float(const float* k, const float* k_rev, const float* skip, const float* k2, const float* k2_rev, const float* skip2, int L,
                    int H, float* packed, int threads) {
  pack_all(k, k_rev, skip, k2, k2_rev, skip2, L, H, packed, threads);
}
void pack_all_bfloat(const float* k, const float* k_rev, const float* skip, const float* k2, const float* k2_rev, const float* skip2, int L,
                     int H, uint32_t* packed, int threads) {
  pack_all(k, k_rev, skip, k2, k2_rev, skip2, L, H, packed, threads);
}
void pack_networks_float(const HostFilterNetworks& f, int L, int h, float* packed) { pack_from_networks(f, L, h, packed); }
void pack_networks_bfloat(const HostFilterNetworks& f, int L, int h, uint32_t* packed) { pack_from_networks(f, L, h, packed); }

void mix_float(const MonarchMixArrays<float>& arrays, const float* packed, int64_t row, int L, int h) {
  mix_channels(arrays, packed, row, L, h);
}
void mix_bfloat(const MonarchMixArrays<uint16_t>& arrays, const float* packed, int64_t row, int L, int h) {
  mix_channels(arrays, packed, row, L, h);
}
void mix_bfloat_filters(const MonarchMixArrays<uint16_t>& arrays, const uint32_t* packed, int64_t row, int L, int h) {
  mix_channels(arrays, packed, row, L, h);
}

// The gradient of one third of the short convolution, for the lanes' channels from h on. It walks back through the sequence: step() is
// called for t = L-1, L-2, ..., 0.
template <class T>
struct ShortConvGradient {
  ShortConvGradient(const T* projected, T* d_projected, const float* weight, const float* bias, int L, int H, int third, int h)
      : taps(projected + third * H + h, 3 * size_t(H), weight, bias, H, third, h),
        column(projected + third * H + h),
        out(d_projected + third * H + h),
        stride(3 * size_t(H)),
        now(L > 0 ? load(D(), column + size_t(L - 1) * stride) : hn::Zero(D())),
        before(L > 1 ? load(D(), column + size_t(L - 2) * stride) : hn::Zero(D())),
        before2(L > 2 ? load(D(), column + size_t(L - 3) * stride) : hn::Zero(D())) {}

  // The convolution's value at the current position t.
  HWY_INLINE V value() const { return hn::MulAdd(taps.w2, now, hn::MulAdd(taps.w1, before, hn::MulAdd(taps.w0, before2, taps.b))); }

  // Takes the value's gradient dy at position t, stores the gradient of `projected`, and moves on to t - 1.
  HWY_INLINE void step(V dy, size_t t) {
    const V dx = hn::MulAdd(taps.w2, dy, hn::MulAdd(taps.w1, after, hn::Mul(taps.w0, after2)));
    store(dx, D(), out + t * stride);
    sum_w2 = hn::MulAdd(dy, now, sum_w2);
    sum_w1 = hn::MulAdd(dy, before, sum_w1);
    sum_w0 = hn::MulAdd(dy, before2, sum_w0);
    sum_b = hn::Add(dy, sum_b);
    after2 = after;
    after = dy;
    now = before;
    before = before2;
    before2 = t >= 3 ? load(D(), column + (t - 3) * stride) : hn::Zero(D());
  }

  // Adds this sequence's share to the gradients of weight [3 H, 3] and bias [3 H].
  HWY_INLINE void add_to(float* d_weight, float* d_bias, int H, int third, int h) const {
    const D d;
    HWY_ALIGN float sums[3][kChannelBlock];
    hn::Store(sum_w0, d, sums[0]);
    hn::Store(sum_w1, d, sums[1]);
    hn::Store(sum_w2, d, sums[2]);
    for (size_t c = 0; c < hn::Lanes(d); ++c) {
      for (int j = 0; j < 3; ++j) d_weight[(size_t(third * H + h) + c) * 3 + size_t(j)] += sums[j][c];
    }
    float* b = d_bias + third * H + h;
    hn::StoreU(hn::Add(hn::LoadU(d, b), sum_b), d, b);
  }

  ShortConv<T> taps;
  const T* column;
  T* out;
  size_t stride;
  V now, before, before2;
  V after = hn::Zero(D()), after2 = hn::Zero(D());
  V sum_w0 = hn::Zero(D()), sum_w1 = hn::Zero(D()), sum_w2 = hn::Zero(D()), sum_b = hn::Zero(D());
};

// z: the spectrum of (g, u), the inputs of the two convolutions; w: that of (dc, dr), the gradients of their results. Adds
// conj(G) DC + i conj(U) DR, the spectra of both correlations in one, to q. Replaces z by the spectrum of the results, and w by that of the
// gradients of g and u.
void apply_filters_backward(Buffer z, Buffer w, Buffer q, size_t n, const float* packed) {
  const D d;
  const V half = hn::Set(d, 0.5f);
  for_each_frequency_pair(n, [&](size_t p, size_t partner, size_t index) {
    const auto [a, b] = load_filter_pair(packed, index);
    const Complex z0 = z.get(d, p), z1 = conj(z.get(d, partner)), w0 = w.get(d, p), w1 = conj(w.get(d, partner));
    const Complex g = scale(add(z0, z1), half), u = scale(times_minus_i(sub(z0, z1)), half);
    const Complex dc = scale(add(w0, w1), half), dr = scale(times_minus_i(sub(w0, w1)), half);
    const Complex for_k = mul_conj(dc, g), for_k2 = mul_conj(dr, u);
    q.put(d, p, add(q.get(d, p), add(for_k, times_i(for_k2))));
    z.put(d, p, add(mul(z0, a), mul(z1, b)));
    w.put(d, p, add(mul_conj(w0, a), mul_conj(w1, b)));
    if (partner == p) return;
    q.put(d, partner, add(q.get(d, partner), add(conj(for_k), times_i(conj(for_k2)))));
    z.put(d, partner, conj(add(mul(z1, a), mul(z0, b))));
    w.put(d, partner, conj(add(mul_conj(w1, a), mul_conj(w0, b))));
  });
}

// The rows of a batch are far apart, each in its own memory page, so row s + kAhead of a column is prefetched while row s is processed. It
// is only a hint: the address may be out of bounds.
inline constexpr ptrdiff_t kAhead = 12;
template <class T>
HWY_INLINE void prefetch_row(const T* column, size_t stride, ptrdiff_t s) {
  hwy::Prefetch(reinterpret_cast<const char*>(column) + s * ptrdiff_t(stride * sizeof(T)));
}

// The backward pass of one sequence, for the lanes' channels from h on.
template <class T>
class SequenceBackward {
 public:
  SequenceBackward(const MonarchMixInputs<T>& in, const MonarchMixGradients<T>& out, const SequenceRows& sequence, int h, const Twiddles& t)
      : in_(in),
        out_(out),
        t_(t),
        h_(h),
        length_(sequence.length),
        first_(sequence.first),
        width_(size_t(in.H)),
        arrays_{dense_matrix(in.projected, 3 * in.H), dense_matrix(in.u, in.H), {}, in.short_weight, in.short_bias, in.H},
        projected_(in.projected + 3 * row()),
        u_(in.u ? in.u + row() : nullptr),
        dy_(in.dy + row()) {}

  // z becomes the spectrum of the inputs of both convolutions.
  void input_spectrum(Buffer z) const {
    const D d;
    const size_t width = width_, half = t_.n / 2;
    const T *x1 = projected_ + h_, *v = x1 + 2 * width, *u = u_ ? u_ + h_ : nullptr;
    const Signals<T> signals(arrays_, first_, length_, h_);
    for (size_t s = 0; s < half; ++s) {
      prefetch_row(x1, 3 * width, ptrdiff_t(s) + kAhead);
      prefetch_row(v, 3 * width, ptrdiff_t(s) + kAhead);
      if (u) prefetch_row(u, width, ptrdiff_t(s) + kAhead);
      z.put(d, s, signals.get(d, s));
    }
    fft<true>(z, t_);
  }

  // w becomes the spectrum of the gradients of their results.
  void result_gradient_spectrum(Buffer w) const {
    const D d;
    const V zero = hn::Zero(d);
    const size_t width = width_, L = size_t(length_);
    const T *x2 = projected_ + width + h_, *dy = dy_ + h_;
    const bool has_u = u_ != nullptr;
    const auto gate = short_conv(arrays_, first_, 1, h_);
    for (size_t s = 0; s < L; ++s) {
      prefetch_row(x2, 3 * width, ptrdiff_t(s) + kAhead);
      prefetch_row(dy, width, ptrdiff_t(s) + kAhead);
      const V g = load(d, dy + s * width);
      w.put(d, s, {hn::Mul(g, gate.at(s)), has_u ? g : zero});
    }
    clear(w, L, t_.n / 2);
    fft<true>(w, t_);
  }

  // From z, whose real part is the result of the first convolution, and w, the gradients of x1 * v and of u: stores the gradients of
  // projected and u, and adds to those of the short convolution.
  void store_gradients(Buffer z, Buffer w) const {
    const D d;
    const size_t width = width_;
    T* d_projected = out_.projected + 3 * row();
    T* d_u = out_.u ? out_.u + row() + h_ : nullptr;
    const T* dy = dy_ + h_;
    auto third = [&](int i) {
      return ShortConvGradient<T>(projected_, d_projected, in_.short_weight, in_.short_bias, length_, in_.H, i, h_);
    };
    auto x1 = third(0), x2 = third(1), v = third(2);
    for (size_t s = size_t(length_); s-- > 0;) {
      prefetch_row(x1.out, 3 * width, ptrdiff_t(s) - kAhead);
      prefetch_row(x2.out, 3 * width, ptrdiff_t(s) - kAhead);
      prefetch_row(v.out, 3 * width, ptrdiff_t(s) - kAhead);
      if (d_u) prefetch_row(d_u, width, ptrdiff_t(s) - kAhead);
      const Complex d_signals = w.get(d, s);
      const V d_gated = d_signals.re, at_x1 = x1.value();
      x2.step(hn::Mul(load(d, dy + s * width), z.get(d, s).re), s);
      x1.step(hn::Mul(d_gated, v.value()), s);
      v.step(hn::Mul(d_gated, at_x1), s);
      if (d_u) store(d_signals.im, d, d_u + s * width);
    }
    x1.add_to(out_.short_weight, out_.short_bias, in_.H, 0, h_);
    x2.add_to(out_.short_weight, out_.short_bias, in_.H, 1, h_);
    v.add_to(out_.short_weight, out_.short_bias, in_.H, 2, h_);
  }

 private:
  size_t row() const { return size_t(first_) * width_; }  // values of the sequences before this one

  const MonarchMixInputs<T>& in_;
  const MonarchMixGradients<T>& out_;
  const Twiddles& t_;
  int h_, length_;
  int64_t first_;  // row of the first token
  size_t width_;
  MonarchMixArrays<T> arrays_;
  const T *projected_, *u_, *dy_;
};

// Adds the sequence's share of the filters' gradients to q; z and w are scratch memory.
template <class T>
void mix_channels_backward(const SequenceBackward<T>& sequence, const float* packed, Buffer z, Buffer w, Buffer q, const Twiddles& t) {
  sequence.input_spectrum(z);
  sequence.result_gradient_spectrum(w);
  apply_filters_backward(z, w, q, t.n, packed);
  ifft<true>(z, t);
  ifft<true>(w, t);
  sequence.store_gradients(z, w);
}

// Adds the gradients of the filters' first L rows and of the skip terms, from q, which has both correlations in the layout of pack_spectra.
void add_filter_gradients(Buffer q, const Twiddles& t, int L, int H, int h, float* k, float* k_rev, float* skip, float* k2, float* k2_rev,
                          float* skip2) {
  const D d;
  ifft(q, t);
  const V scaled = hn::Set(d, 1 / float(t.n)), zero = hn::Zero(d);
  auto put = [&](float* table, size_t row, V value) {
    if (!table) return;
    float* at = table + row * size_t(H) + h;
    hn::StoreU(hn::Add(hn::LoadU(d, at), value), d, at);
  };
  for (size_t s = 0; s < size_t(L); ++s) {
    const Complex later = scale(q.get(d, s), scaled), earlier = scale(q.get(d, t.n - 1 - s), scaled);
    const bool reaches = s + 1 < size_t(L);  // the last row of a reverse filter has no effect
    put(k, s, later.re);
    put(k2, s, later.im);
    put(k_rev, s, reaches ? earlier.re : zero);
    put(k2_rev, s, reaches ? earlier.im : zero);
    if (s == 0) {
      put(skip, 0, later.re);
      put(skip2, 0, later.im);
    }
  }
}

// Adds the gradients of channels [first, end) from the sequences that are mixed with filter number i. z, w, q: scratch memory.
template <class T>
void add_gradients(const MonarchMixInputs<T>& in, size_t i, int rows, const MonarchMixGradients<T>& out, int first, int end, Buffer z,
                   Buffer w, Buffer q) {
  const auto& t = twiddles(fft_length(rows));
  const int N = int(hn::Lanes(D()));
  const size_t per_block = packed_filter_size<float>(kChannelBlock, rows);
  auto sums = [&](int h) { return q.from(size_t((h - first) / N) * t.n); };
  clear(q, 0, t.n * size_t((end - first + N - 1) / N));
  for (const SequenceRows& sequence : in.sequences) {
    if (sequence.filter != i) continue;
    for (int h = first; h < end; h += N) {
      const float* filter = in.filters[i] + size_t(h / kChannelBlock) * per_block + h % kChannelBlock;
      mix_channels_backward(SequenceBackward<T>(in, out, sequence, h, t), filter, z, w, sums(h), t);
    }
  }
  for (int h = first; h < end; h += N) add_filter_gradients(sums(h), t, rows, in.H, h, out.k, out.k_rev, out.D, out.k2, out.k2_rev, out.D2);
}

template <class T>
void backward_all(const MonarchMixInputs<T>& in, const std::vector<int>& filter_rows, int filter_length, const MonarchMixGradients<T>& out,
                  int threads) {
  const auto n = size_t(fft_length(*std::max_element(filter_rows.begin(), filter_rows.end())));
  const int N = int(hn::Lanes(D())), per_task = channel_blocks_per_task(in.H / N, longest(in.sequences), threads);
  const auto H = size_t(in.H);
  auto zero = [](float* at, size_t count) {
    if (at) std::fill_n(at, count, 0.0f);
  };
  zero(out.short_weight, 9 * H);
  zero(out.short_bias, 3 * H);
  for (float* filter : {out.k, out.k_rev, out.k2, out.k2_rev}) zero(filter, size_t(filter_length) * H);
  for (float* skip : {out.D, out.D2}) zero(skip, H);
#pragma omp parallel num_threads(threads)
  {
    auto memory_z = allocate_buffer(n), memory_w = allocate_buffer(n), memory_q = allocate_buffer(n * size_t(per_task));
    const Buffer z{memory_z.get(), size_t(N)}, w{memory_w.get(), size_t(N)}, q{memory_q.get(), size_t(N)};
#pragma omp for schedule(static)
    for (int first = 0; first < in.H; first += N * per_task) {
      const int end = std::min(in.H, first + N * per_task);
      for (size_t i = 0; i < in.filters.size(); ++i) add_gradients(in, i, filter_rows[i], out, first, end, z, w, q);
    }
  }
}

void backward_float(const MonarchMixInputs<float>& in, const std::vector<int>& filter_rows, int filter_length,
                    const MonarchMixGradients<float>& out, int threads) {
  backward_all(in, filter_rows, filter_length, out, threads);
}

void backward_bfloat(const MonarchMixInputs<uint16_t>& in, const std::vector<int>& filter_rows, int filter_length,
                     const MonarchMixGradients<uint16_t>& out, int threads) {
  backward_all(in, filter_rows, filter_length, out, threads);
}

}  // namespace m2bert::ops::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace m2bert::ops::cpu {

HWY_EXPORT(pack_all_float);
HWY_EXPORT(pack_all_bfloat);
HWY_EXPORT(pack_networks_float);
HWY_EXPORT(pack_networks_bfloat);
HWY_EXPORT(mix_float);
HWY_EXPORT(mix_bfloat);
HWY_EXPORT(mix_bfloat_filters);
HWY_EXPORT(first_sums_float);
HWY_EXPORT(first_sums_bfloat);
HWY_EXPORT(first_gate_float);
HWY_EXPORT(first_gate_bfloat);
HWY_EXPORT(backward_float);
HWY_EXPORT(backward_bfloat);

template <>
void pack_filter_spectra(const float* k, const float* k_rev, const float* D, const float* k2, const float* k2_rev, const float* D2, int L,
                         int H, float* packed, int threads) {
  HWY_DYNAMIC_DISPATCH(pack_all_float)(k, k_rev, D, k2, k2_rev, D2, L, H, packed, threads);
}
template <>
void pack_filter_spectra(const float* k, const float* k_rev, const float* D, const float* k2, const float* k2_rev, const float* D2, int L,
                         int H, uint32_t* packed, int threads) {
  HWY_DYNAMIC_DISPATCH(pack_all_bfloat)(k, k_rev, D, k2, k2_rev, D2, L, H, packed, threads);
}

template <>
void pack_filter_spectra_block(const HostFilterNetworks& networks, int L, int h, float* packed) {
  HWY_DYNAMIC_DISPATCH(pack_networks_float)(networks, L, h, packed);
}
template <>
void pack_filter_spectra_block(const HostFilterNetworks& networks, int L, int h, uint32_t* packed) {
  HWY_DYNAMIC_DISPATCH(pack_networks_bfloat)(networks, L, h, packed);
}

template <class F>
void pack_filter_spectra(const HostFilterNetworks& networks, int L, int H, F* packed, int threads) {
  const size_t per_block = packed_filter_size<F>(kChannelBlock, L);
  parallel_for(H / kChannelBlock, threads,
               [&](int64_t i) { pack_filter_spectra_block(networks, L, int(i) * kChannelBlock, packed + size_t(i) * per_block); });
}
template void pack_filter_spectra(const HostFilterNetworks&, int, int, float*, int);
template void pack_filter_spectra(const HostFilterNetworks&, int, int, uint32_t*, int);

template <>
void monarch_mix_block(const MonarchMixArrays<float>& arrays, const float* packed, int64_t row, int L, int h) {
  HWY_DYNAMIC_DISPATCH(mix_float)(arrays, packed, row, L, h);
}

template <>
void monarch_mix_block(const MonarchMixArrays<uint16_t>& arrays, const float* packed, int64_t row, int L, int h) {
  HWY_DYNAMIC_DISPATCH(mix_bfloat)(arrays, packed, row, L, h);
}

template <>
void monarch_mix_block(const MonarchMixArrays<uint16_t>& arrays, const uint32_t* packed, int64_t row, int L, int h) {
  HWY_DYNAMIC_DISPATCH(mix_bfloat_filters)(arrays, packed, row, L, h);
}

template <>
void first_row_sums(const MonarchMixArrays<float>& arrays, const FirstRowFilters& filters, int64_t row, int begin, int count, int h,
                    float* sums, float* sums2) {
  HWY_DYNAMIC_DISPATCH(first_sums_float)(arrays, filters, row, begin, count, h, sums, sums2);
}

template <>
void first_row_sums(const MonarchMixArrays<uint16_t>& arrays, const FirstRowFilters& filters, int64_t row, int begin, int count, int h,
                    float* sums, float* sums2) {
  HWY_DYNAMIC_DISPATCH(first_sums_bfloat)(arrays, filters, row, begin, count, h, sums, sums2);
}

template <>
void first_row_gate(const MonarchMixArrays<float>& arrays, int64_t row, int h, const float* sums, const float* sums2) {
  HWY_DYNAMIC_DISPATCH(first_gate_float)(arrays, row, h, sums, sums2);
}

template <>
void first_row_gate(const MonarchMixArrays<uint16_t>& arrays, int64_t row, int h, const float* sums, const float* sums2) {
  HWY_DYNAMIC_DISPATCH(first_gate_bfloat)(arrays, row, h, sums, sums2);
}

std::vector<SequenceRows> equal_sequences(int B, int L) {
  std::vector<SequenceRows> sequences;
  for (int b = 0; b < B; ++b) sequences.push_back({int64_t(b) * L, L});
  return sequences;
}

int longest(const std::vector<SequenceRows>& sequences) {
  int longest = 0;
  for (const SequenceRows& sequence : sequences) longest = std::max(longest, sequence.length);
  return longest;
}

template <class T>
void monarch_mix_forward(const MonarchMixInputs<T>& in, T* y, int threads) {
  const int H = in.H, blocks = H / kChannelBlock, per_task = channel_blocks_per_task(blocks, longest(in.sequences), threads);
  const MonarchMixArrays<T> arrays{
      dense_matrix(in.projected, 3 * H), dense_matrix(in.u, H), dense_matrix(y, H), in.short_weight, in.short_bias, H};
  const auto count = int64_t(in.sequences.size());
  parallel_for(int64_t((blocks + per_task - 1) / per_task) * count, threads,
               [&](int64_t i) {  // sequences innermost: their filters stay in the cache
                 const int first = int(i / count) * per_task;
                 const auto& [row, L, filter] = in.sequences[size_t(i % count)];
                 const size_t per_block = packed_filter_size<float>(kChannelBlock, L);
                 for (int block = first; block < std::min(blocks, first + per_task); ++block)
                   monarch_mix_block(arrays, in.filters[filter] + size_t(block) * per_block, row, L, block * kChannelBlock);
               });
}
template void monarch_mix_forward(const MonarchMixInputs<float>&, float*, int);
template void monarch_mix_forward(const MonarchMixInputs<uint16_t>&, uint16_t*, int);

template <>
void monarch_mix_backward(const MonarchMixInputs<float>& in, const std::vector<int>& filter_rows, int filter_length,
                          const MonarchMixGradients<float>& out, int threads) {
  HWY_DYNAMIC_DISPATCH(backward_float)(in, filter_rows, filter_length, out, threads);
}

template <>
void monarch_mix_backward(const MonarchMixInputs<uint16_t>& in, const std::vector<int>& filter_rows, int filter_length,
                          const MonarchMixGradients<uint16_t>& out, int threads) {
  HWY_DYNAMIC_DISPATCH(backward_bfloat)(in, filter_rows, filter_length, out, threads);
}

}  // namespace m2bert::ops::cpu
#endif
