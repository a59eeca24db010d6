// One vector lane is one channel. A transform's input is complex: the gated signal of the first convolution is the real part, the residual
// convolution's signal the imaginary part, so that one transform serves both.
#include "m2bert/ops/backend/cpu/simd/monarch_mix_simd.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "m2bert/ops/backend/cpu/simd/monarch_mix_simd.cpp"
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL)
#include <hwy/foreach_target.h>

#include <algorithm>
#include <type_traits>

#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>

#include "m2bert/ops/backend/cpu/simd/fft_simd.h"
#include "m2bert/ops/backend/cpu/simd/parallel.h"
#include "m2bert/ops/backend/cpu/simd/small_gemm_simd.h"
#include "m2bert/ops/backend/cpu/simd/scratch.h"
#include "m2bert/ops/backend/cpu/simd/simd.h"

HWY_BEFORE_NAMESPACE();
namespace m2bert::ops::cpu::HWY_NAMESPACE {

struct FilterPair {
  Complex a, b;
};

HWY_INLINE FilterPair filter_pair(const float* prepared, size_t index) {
  const D d;
  const float* row = prepared + index * 4 * kChannelBlock;
  return {{hn::LoadU(d, row), hn::LoadU(d, row + kChannelBlock)},
          {hn::LoadU(d, row + 2 * kChannelBlock), hn::LoadU(d, row + 3 * kChannelBlock)}};
}
HWY_INLINE FilterPair filter_pair(const uint32_t* prepared, size_t index) {
  const uint32_t* row = prepared + index * 2 * kChannelBlock;
  return {RoundedBuffer::unpack(D(), row), RoundedBuffer::unpack(D(), row + kChannelBlock)};
}
HWY_INLINE void put_filter_pair(const FilterPair& f, size_t index, float* prepared) {
  const D d;
  float* row = prepared + index * 4 * kChannelBlock;
  hn::StoreU(f.a.re, d, row);
  hn::StoreU(f.a.im, d, row + kChannelBlock);
  hn::StoreU(f.b.re, d, row + 2 * kChannelBlock);
  hn::StoreU(f.b.im, d, row + 3 * kChannelBlock);
}
HWY_INLINE void put_filter_pair(const FilterPair& f, size_t index, uint32_t* prepared) {
  uint32_t* row = prepared + index * 2 * kChannelBlock;
  RoundedBuffer::pack(f.a, D(), row);
  RoundedBuffer::pack(f.b, D(), row + kChannelBlock);
}

// W[f] = Z[f] A[f] + conj(Z[-f]) B[f] with A = (K1 + K2) / 2 and B = (K1 - K2) / 2: the product of both signals, taken apart and put
// together again, with the two filters. A and B at -f are the conjugates of those at f.
template <class F>
HWY_INLINE Pair apply_filters(const F* prepared, size_t index, const Pair& z) {
  const auto [a, b] = filter_pair(prepared, index);
  return {add(mul(z.at, a), mul(conj(z.mirror), b)), add(mul_conj(z.mirror, a), mul_conj(conj(z.at), b))};
}

// x holds both filters in time, later weights from position 0 on, earlier ones from the end back: what apply_filters wants of them.
// skip, skip2: of these channels, or null.
template <class F>
void prepare_spectra(const float* skip, const float* skip2, Buffer x, const Twiddles& t, F* prepared) {
  const D d;
  const size_t n = t.n;
  const Complex first = x.get(d, 0);
  auto value = [&](const float* from) { return from ? hn::LoadU(d, from) : hn::Zero(d); };
  x.put(d, 0, {hn::Add(first.re, value(skip)), hn::Add(first.im, value(skip2))});
  forward(x, t);
  const V quarter = hn::Set(d, 0.25f / float(n));
  for_pairs(n, [&](size_t p, size_t partner, size_t index) {
    // K1 = (Z + conj Z') / 2, K2 = (Z - conj Z') / 2i; stored are (K1 +- K2) / 2n.
    const Complex z = x.get(d, p), other = x.get(d, partner);
    const Complex k1{hn::Add(z.re, other.re), hn::Sub(z.im, other.im)}, k2f{hn::Add(z.im, other.im), hn::Sub(other.re, z.re)};
    put_filter_pair({scale(add(k1, k2f), quarter), scale(sub(k1, k2f), quarter)}, index, prepared);
  });
}

// The channels from h on of filters [L, H] in time.
template <class F>
void prepare_block(const float* k, const float* k_rev, const float* skip, const float* k2, const float* k2_rev, const float* skip2, int L,
                   int H, int h, Buffer x, const Twiddles& t, F* prepared) {
  const D d;
  const V zero = hn::Zero(d);
  clear(x, 0, t.n);
  auto value = [&](const float* table, int row) { return table ? hn::LoadU(d, table + size_t(row) * size_t(H) + h) : zero; };
  for (int t0 = 0; t0 < L; ++t0) x.put(d, size_t(t0), {value(k, t0), value(k2, t0)});
  for (int r = 0; r + 1 < L; ++r)
    x.put(d, t.n - 1 - size_t(r), {value(k_rev, r), value(k2_rev, r)});  // position -1-r; the last reaches nothing
  prepare_spectra(skip ? skip + h : nullptr, skip2 ? skip2 + h : nullptr, x, t, prepared);
}

template <class F>
void prepare_from_networks(const HostFilterNetworks& f, int L, int h, F* prepared) {
  static thread_local Scratch signals, transposed;
  const D d;
  const auto& t = twiddles(transform_length(L));
  const size_t N = hn::Lanes(d);
  const Buffer x{signals.of<float>(2 * t.n * N), N};
  float* weight_t = transposed.of<float>(size_t(f.order) * N);
  auto evaluate = [&](const HostFilterNetwork& net, const float* times, const float* deltas, int lane, bool imaginary, bool reverse) {
    if (!net.features) return;
    transpose_rows(d, net.weight, h + kChannelBlock, f.order, h + lane, weight_t);
    const V rate = hn::Neg(hn::Abs(hn::LoadU(d, deltas + h + lane)));
    row_products(d, net.features, reverse ? L - 1 : L, f.order, weight_t, [&](int row, V sum) {
      const size_t p = reverse ? t.n - 1 - size_t(row) : size_t(row);  // the last of the reverse ones reaches nothing
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
    prepare_spectra(f.D ? f.D + h + lane : nullptr, f.D2 ? f.D2 + h + lane : nullptr, x, t, prepared + lane);
  }
}

// The short convolution of one third (0: x1, 1: x2, 2: v) of one text for the lanes from channel h on.
template <class T>
struct ShortConv {
  // column: of the channel's first value; its next one lies `stride` behind.
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
HWY_INLINE ShortConv<T> short_conv(const MixerRows<T>& rows, int64_t row, int third, int h) {
  return {rows.projected.element(row, third * rows.H + h),
          size_t(rows.projected.row_stride),
          rows.short_weight,
          rows.short_bias,
          rows.H,
          third,
          h};
}

// What a transform reads: the signals of both convolutions, x1 * v and u (or 0), and zeros after a text's end.
template <class T>
struct Signals {
  Signals(const MixerRows<T>& rows, int64_t row, int L, int h)
      : x1(short_conv(rows, row, 0, h)),
        v(short_conv(rows, row, 2, h)),
        u(rows.u.at ? rows.u.element(row, h) : nullptr),
        u_stride(size_t(rows.u.row_stride)),
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

// Where a transform's result goes: y = x2 * real part + imaginary part.
template <class T>
struct Gate {
  Gate(const MixerRows<T>& rows, int64_t row, int L, int h)
      : x2(short_conv(rows, row, 1, h)), y(rows.y.element(row, h)), y_stride(size_t(rows.y.row_stride)), L(size_t(L)) {}
  HWY_INLINE void put(D d, size_t s, Complex c) const {
    if (s < L) store(hn::MulAdd(x2.at(s), c.re, c.im), d, y + s * y_stride);
  }
  ShortConv<T> x2;
  T* y;
  size_t y_stride, L;
};

template <class T, class F>
void mix_block(const MixerRows<T>& rows, const F* prepared, int64_t row, int L, int h) {
  static thread_local Scratch cache_memory, memory;
  const auto& t = twiddles(transform_length(L));
  const size_t N = hn::Lanes(D());
  const Buffer cache{cache_memory.of<float>(2 * cached_positions(t.n) * N), N};
  using Memory = std::conditional_t<std::is_same_v<F, float>, Buffer, RoundedBuffer>;
  const Memory x{t.n > kMostCached ? memory.of<F>((std::is_same_v<F, float> ? 2 : 1) * t.n * N) : nullptr, N};
  for (int lane = 0; lane < kChannelBlock; lane += int(N)) {
    transform_and_back(Signals<T>(rows, row, L, h + lane), Gate<T>(rows, row, L, h + lane), cache, x, t,
                       [&](size_t index, const Pair& z) HWY_ATTR { return apply_filters(prepared + lane, index, z); });
  }
}

template <class F>
void prepare_all(const float* k, const float* k_rev, const float* skip, const float* k2, const float* k2_rev, const float* skip2, int L,
                 int H, F* prepared, int threads) {
  const auto& t = twiddles(transform_length(L));
  const int N = int(hn::Lanes(D()));
  const size_t per_block = mixer_prepared_size<F>(kChannelBlock, L);
#pragma omp parallel num_threads(threads)
  {
    auto memory = working_memory(t.n);
    const Buffer x{memory.get(), size_t(N)};
#pragma omp for schedule(static)
    for (int h = 0; h < H; h += N) {
      F* out = prepared + size_t(h / kChannelBlock) * per_block + h % kChannelBlock;
      prepare_block(k, k_rev, skip, k2, k2_rev, skip2, L, H, h, x, t, out);
    }
  }
}

void prepare_all_float(const float* k, const float* k_rev, const float* skip, const float* k2, const float* k2_rev, const float* skip2,
                       int L, int H, float* prepared, int threads) {
  prepare_all(k, k_rev, skip, k2, k2_rev, skip2, L, H, prepared, threads);
}
void prepare_all_bfloat(const float* k, const float* k_rev, const float* skip, const float* k2, const float* k2_rev, const float* skip2,
                        int L, int H, uint32_t* prepared, int threads) {
  prepare_all(k, k_rev, skip, k2, k2_rev, skip2, L, H, prepared, threads);
}
void prepare_networks_float(const HostFilterNetworks& f, int L, int h, float* prepared) { prepare_from_networks(f, L, h, prepared); }
void prepare_networks_bfloat(const HostFilterNetworks& f, int L, int h, uint32_t* prepared) { prepare_from_networks(f, L, h, prepared); }

void mix_float(const MixerRows<float>& rows, const float* prepared, int64_t row, int L, int h) { mix_block(rows, prepared, row, L, h); }
void mix_bfloat(const MixerRows<uint16_t>& rows, const float* prepared, int64_t row, int L, int h) { mix_block(rows, prepared, row, L, h); }
void mix_bfloat_filters(const MixerRows<uint16_t>& rows, const uint32_t* prepared, int64_t row, int L, int h) {
  mix_block(rows, prepared, row, L, h);
}

// One third of the gradient of the short convolution, for the lanes from channel h on; called for t = L-1, L-2, ..., 0.
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

  // The convolution's value at the present position.
  HWY_INLINE V value() const { return hn::MulAdd(taps.w2, now, hn::MulAdd(taps.w1, before, hn::MulAdd(taps.w0, before2, taps.b))); }

  // Takes the cotangent at position t and goes on to t - 1.
  HWY_INLINE void take(V dy, size_t t) {
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

  // Adds what this text gives to the gradients of weight [3 H, 3] and bias [3 H].
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

// z: spectrum of (g, u), w: of (dc, dr), the cotangents of the two convolutions. Adds conj(G) DC + i conj(U) DR to q (both correlations,
// packed), puts the spectrum of the convolutions' values into z and that of the cotangents of g and u into w.
void apply_filters_backward(Buffer z, Buffer w, Buffer q, size_t n, const float* prepared) {
  const D d;
  const V half = hn::Set(d, 0.5f);
  for_pairs(n, [&](size_t p, size_t partner, size_t index) {
    const auto [a, b] = filter_pair(prepared, index);
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

// The rows of a batch lie far apart, each in a page of its own: row s + kAhead of a column is asked for where row s is worked on. Only a
// hint: the address may lie outside.
inline constexpr ptrdiff_t kAhead = 12;
template <class T>
HWY_INLINE void prefetch_row(const T* column, size_t stride, ptrdiff_t s) {
  hwy::Prefetch(reinterpret_cast<const char*>(column) + s * ptrdiff_t(stride * sizeof(T)));
}

// One text, channels from h on; adds to q and to the gradients of the short convolution.
template <class T>
void mix_backward_block(const MixerInputs<T>& in, const MixerGradients<T>& out, const float* prepared, int b, int h, Buffer z, Buffer w,
                        Buffer q, const Twiddles& t) {
  const D d;
  const V zero = hn::Zero(d);
  const int L = in.L, H = in.H;
  const size_t width = size_t(H), row = size_t(b) * size_t(L) * width;
  const T* projected = in.projected + 3 * row;
  const T* u = in.u ? in.u + row : nullptr;
  const T* dy = in.dy + row;
  const MixerRows<T> rows{whole_rows(in.projected, 3 * H), whole_rows(in.u, H), {}, in.short_weight, in.short_bias, H};
  const Signals<T> signals(rows, int64_t(b) * L, L, h);
  for (size_t s = 0; s < t.n / 2; ++s) {
    for (const int part : {0, 2}) prefetch_row(projected + part * H + h, 3 * width, ptrdiff_t(s) + kAhead);
    if (u) prefetch_row(u + h, width, ptrdiff_t(s) + kAhead);
    z.put(d, s, signals.get(d, s));
  }
  forward<true>(z, t);
  const auto gate = short_conv(rows, int64_t(b) * L, 1, h);
  for (size_t s = 0; s < size_t(L); ++s) {
    prefetch_row(projected + H + h, 3 * width, ptrdiff_t(s) + kAhead);
    prefetch_row(dy + h, width, ptrdiff_t(s) + kAhead);
    const V g = load(d, dy + s * width + h);
    w.put(d, s, {hn::Mul(g, gate.at(s)), u ? g : zero});
  }
  clear(w, size_t(L), t.n / 2);
  forward<true>(w, t);
  apply_filters_backward(z, w, q, t.n, prepared);
  inverse<true>(z, t);  // real part: the first convolution's value
  inverse<true>(w, t);  // the cotangents of x1 * v and of u
  auto third = [&](int i) { return ShortConvGradient<T>(projected, out.projected + 3 * row, in.short_weight, in.short_bias, L, H, i, h); };
  auto x1 = third(0), x2 = third(1), v = third(2);
  for (size_t s = size_t(L); s-- > 0;) {
    for (const int part : {0, 1, 2}) prefetch_row(out.projected + 3 * row + part * H + h, 3 * width, ptrdiff_t(s) - kAhead);
    if (out.u) prefetch_row(out.u + row + h, width, ptrdiff_t(s) - kAhead);
    const Complex cotangents = w.get(d, s);
    const V d_gated = cotangents.re, at_x1 = x1.value();
    x2.take(hn::Mul(load(d, dy + s * width + h), z.get(d, s).re), s);
    x1.take(hn::Mul(d_gated, v.value()), s);
    v.take(hn::Mul(d_gated, at_x1), s);
    if (out.u) store(cotangents.im, d, out.u + row + s * width + h);
  }
  x1.add_to(out.short_weight, out.short_bias, H, 0, h);
  x2.add_to(out.short_weight, out.short_bias, H, 1, h);
  v.add_to(out.short_weight, out.short_bias, H, 2, h);
}

// The gradients of the filters and skip terms: both correlations lie in q, at the places where mixer_prepare put the filters.
void filter_gradients(Buffer q, const Twiddles& t, int L, int H, int h, float* k, float* k_rev, float* skip, float* k2, float* k2_rev,
                      float* skip2) {
  const D d;
  inverse(q, t);
  const V scaled = hn::Set(d, 1 / float(t.n)), zero = hn::Zero(d);
  auto put = [&](float* table, size_t row, V value) {
    if (table) hn::StoreU(value, d, table + row * size_t(H) + h);
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

template <class T>
void backward_all(const MixerInputs<T>& in, const float* prepared, const MixerGradients<T>& out, int threads) {
  const auto& t = twiddles(transform_length(in.L));
  const int N = int(hn::Lanes(D())), together = blocks_together(in.H / N, in.L, threads);
  const size_t per_block = mixer_prepared_size<float>(kChannelBlock, in.L);
  std::fill_n(out.short_weight, 9 * size_t(in.H), 0.0f);
  std::fill_n(out.short_bias, 3 * size_t(in.H), 0.0f);
#pragma omp parallel num_threads(threads)
  {
    auto memory_z = working_memory(t.n), memory_w = working_memory(t.n), memory_q = working_memory(t.n * size_t(together));
    const Buffer z{memory_z.get(), size_t(N)}, w{memory_w.get(), size_t(N)}, q{memory_q.get(), size_t(N)};
#pragma omp for schedule(static)
    for (int first = 0; first < in.H; first += N * together) {
      const int end = std::min(in.H, first + N * together);
      auto sums = [&](int h) { return q.from(size_t((h - first) / N) * t.n); };
      clear(q, 0, t.n * size_t(together));
      for (int b = 0; b < in.B; ++b) {
        for (int h = first; h < end; h += N) {
          const float* filters = prepared + size_t(h / kChannelBlock) * per_block + h % kChannelBlock;
          mix_backward_block(in, out, filters, b, h, z, w, sums(h), t);
        }
      }
      for (int h = first; h < end; h += N) filter_gradients(sums(h), t, in.L, in.H, h, out.k, out.k_rev, out.D, out.k2, out.k2_rev, out.D2);
    }
  }
}

void backward_float(const MixerInputs<float>& in, const float* prepared, const MixerGradients<float>& out, int threads) {
  backward_all(in, prepared, out, threads);
}

void backward_bfloat(const MixerInputs<uint16_t>& in, const float* prepared, const MixerGradients<uint16_t>& out, int threads) {
  backward_all(in, prepared, out, threads);
}

}  // namespace m2bert::ops::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace m2bert::ops::cpu {

HWY_EXPORT(prepare_all_float);
HWY_EXPORT(prepare_all_bfloat);
HWY_EXPORT(prepare_networks_float);
HWY_EXPORT(prepare_networks_bfloat);
HWY_EXPORT(mix_float);
HWY_EXPORT(mix_bfloat);
HWY_EXPORT(mix_bfloat_filters);
HWY_EXPORT(backward_float);
HWY_EXPORT(backward_bfloat);

template <>
void mixer_prepare(const float* k, const float* k_rev, const float* D, const float* k2, const float* k2_rev, const float* D2, int L, int H,
                   float* prepared, int threads) {
  HWY_DYNAMIC_DISPATCH(prepare_all_float)(k, k_rev, D, k2, k2_rev, D2, L, H, prepared, threads);
}
template <>
void mixer_prepare(const float* k, const float* k_rev, const float* D, const float* k2, const float* k2_rev, const float* D2, int L, int H,
                   uint32_t* prepared, int threads) {
  HWY_DYNAMIC_DISPATCH(prepare_all_bfloat)(k, k_rev, D, k2, k2_rev, D2, L, H, prepared, threads);
}

template <>
void mixer_prepare_channels(const HostFilterNetworks& networks, int L, int h, float* prepared) {
  HWY_DYNAMIC_DISPATCH(prepare_networks_float)(networks, L, h, prepared);
}
template <>
void mixer_prepare_channels(const HostFilterNetworks& networks, int L, int h, uint32_t* prepared) {
  HWY_DYNAMIC_DISPATCH(prepare_networks_bfloat)(networks, L, h, prepared);
}

template <class F>
void mixer_prepare(const HostFilterNetworks& networks, int L, int H, F* prepared, int threads) {
  const size_t per_block = mixer_prepared_size<F>(kChannelBlock, L);
  parallel_for(H / kChannelBlock, threads,
               [&](int64_t i) { mixer_prepare_channels(networks, L, int(i) * kChannelBlock, prepared + size_t(i) * per_block); });
}
template void mixer_prepare(const HostFilterNetworks&, int, int, float*, int);
template void mixer_prepare(const HostFilterNetworks&, int, int, uint32_t*, int);

template <>
void mix_channels(const MixerRows<float>& rows, const float* prepared, int64_t row, int L, int h) {
  HWY_DYNAMIC_DISPATCH(mix_float)(rows, prepared, row, L, h);
}

template <>
void mix_channels(const MixerRows<uint16_t>& rows, const float* prepared, int64_t row, int L, int h) {
  HWY_DYNAMIC_DISPATCH(mix_bfloat)(rows, prepared, row, L, h);
}

template <>
void mix_channels(const MixerRows<uint16_t>& rows, const uint32_t* prepared, int64_t row, int L, int h) {
  HWY_DYNAMIC_DISPATCH(mix_bfloat_filters)(rows, prepared, row, L, h);
}

template <class T>
void mixer_forward(const T* projected, const T* u, const float* short_weight, const float* short_bias, const float* prepared, int B, int L,
                   int H, T* y, int threads) {
  const MixerRows<T> rows{whole_rows(projected, 3 * H), whole_rows(u, H), whole_rows(y, H), short_weight, short_bias, H};
  const size_t per_block = mixer_prepared_size<float>(kChannelBlock, L);
  const int blocks = H / kChannelBlock, together = blocks_together(blocks, L, threads);
  parallel_for(int64_t((blocks + together - 1) / together) * B, threads,
               [&](int64_t i) {  // texts innermost: their filters stay in the cache
                 const int first = int(i / B) * together;
                 for (int block = first; block < std::min(blocks, first + together); ++block)
                   mix_channels(rows, prepared + size_t(block) * per_block, i % B * L, L, block * kChannelBlock);
               });
}
template void mixer_forward(const float*, const float*, const float*, const float*, const float*, int, int, int, float*, int);
template void mixer_forward(const uint16_t*, const uint16_t*, const float*, const float*, const float*, int, int, int, uint16_t*, int);

template <>
void mixer_backward(const MixerInputs<float>& in, const float* prepared, const MixerGradients<float>& out, int threads) {
  HWY_DYNAMIC_DISPATCH(backward_float)(in, prepared, out, threads);
}

template <>
void mixer_backward(const MixerInputs<uint16_t>& in, const float* prepared, const MixerGradients<uint16_t>& out, int threads) {
  HWY_DYNAMIC_DISPATCH(backward_bfloat)(in, prepared, out, threads);
}

}  // namespace m2bert::ops::cpu
#endif
