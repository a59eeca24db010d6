#include "m2bert/ops/backend/cpu/simd/pointwise_simd.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "m2bert/ops/backend/cpu/simd/pointwise_simd.cpp"
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL)
#include <hwy/foreach_target.h>

#include <hwy/highway.h>

#include <cmath>
#include <vector>

#include "m2bert/ops/backend/cpu/simd/gelu_simd.h"
#include "m2bert/ops/backend/cpu/simd/simd.h"

HWY_BEFORE_NAMESPACE();
namespace m2bert::ops::cpu::HWY_NAMESPACE {

using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;

struct ErfCurve {
  static HWY_INLINE V value(V x) { return gelu(D(), x); }
  static HWY_INLINE V slope(V x) { return gelu_parts(D(), x).slope; }
};

struct TanhCurve {
  static HWY_INLINE V value(V x) { return gelu_tanh_parts(D(), x).value; }
  static HWY_INLINE V slope(V x) { return gelu_tanh_parts(D(), x).slope; }
};

// Calls f(i) for whole vectors; what is left goes through the same code on padded copies (rest(i, count)).
template <class F, class R>
HWY_INLINE void over(int64_t width, F&& whole, R&& rest) {
  const int64_t N = int64_t(hn::Lanes(D()));
  int64_t i = 0;
  for (; i + N <= width; i += N) whole(i);
  if (i < width) rest(i, width - i);
}

// A copy of fewer than a vector of values, zeros behind them.
template <class T>
struct Padded {
  Padded(const T* from, int64_t count) {
    for (int64_t i = 0; i < count; ++i) at[i] = from[i];
  }
  T at[hn::MaxLanes(D())] = {};
};

template <class T>
HWY_INLINE void store_part(V v, T* to, int64_t count) {
  T all[hn::MaxLanes(D())];
  store(v, D(), all);
  for (int64_t i = 0; i < count; ++i) to[i] = all[i];
}

template <class T>
void gelu_gate_row(const T* x, T* y, int64_t width) {
  const D d;
  const T* gate = x + width;
  over(
      width, [&](int64_t i) { store(hn::Mul(gelu(d, load(d, x + i)), load(d, gate + i)), d, y + i); },
      [&](int64_t i, int64_t n) {
        const Padded<T> a(x + i, n), b(gate + i, n);
        store_part(hn::Mul(gelu(d, load(d, a.at)), load(d, b.at)), y + i, n);
      });
}

// sum: memory for one row in float.
template <class T>
void layer_norm_row(const T* x, const T* residual, const float* weight, const float* bias, float eps, T* y, int64_t width, float* sum) {
  const D d;
  V total = hn::Zero(d);
  over(
      width,
      [&](int64_t i) {
        const V s = residual ? hn::Add(load(d, x + i), load(d, residual + i)) : load(d, x + i);
        hn::StoreU(s, d, sum + i);
        total = hn::Add(total, s);
      },
      [&](int64_t i, int64_t n) {
        const Padded<T> a(x + i, n);
        V s = load(d, a.at);
        if (residual) s = hn::Add(s, load(d, Padded<T>(residual + i, n).at));
        store_part(s, sum + i, n);
        total = hn::Add(total, s);
      });
  const float mean = hn::GetLane(hn::SumOfLanes(d, total)) / float(width);
  const V m = hn::Set(d, mean);
  V square = hn::Zero(d);
  over(
      width,
      [&](int64_t i) {
        const V s = hn::Sub(hn::LoadU(d, sum + i), m);
        square = hn::MulAdd(s, s, square);
      },
      [&](int64_t i, int64_t n) {
        float rest = 0;
        for (int64_t j = i; j < i + n; ++j) rest += (sum[j] - mean) * (sum[j] - mean);
        square = hn::Add(square, hn::Set(d, rest / float(hn::Lanes(d))));
      });
  const float variance = hn::GetLane(hn::SumOfLanes(d, square)) / float(width);
  const V scale = hn::Set(d, 1.0f / std::sqrt(variance + eps));
  over(
      width,
      [&](int64_t i) {
        const V s = hn::Mul(hn::Sub(hn::LoadU(d, sum + i), m), scale);
        store(hn::MulAdd(s, hn::LoadU(d, weight + i), hn::LoadU(d, bias + i)), d, y + i);
      },
      [&](int64_t i, int64_t n) {
        const Padded<float> part(sum + i, n), w(weight + i, n), b(bias + i, n);
        const V s = hn::Mul(hn::Sub(hn::LoadU(d, part.at), m), scale);
        store_part(hn::MulAdd(s, hn::LoadU(d, w.at), hn::LoadU(d, b.at)), y + i, n);
      });
}

// The gradients of a row: ds by x (and by the residual), and what it adds to those of weight and bias. sum: memory for one row in float.
template <class T>
void layer_norm_gradient_row(const T* x, const T* residual, const float* weight, float eps, const T* dy, T* ds, int64_t width, float* sum,
                             float* d_weight, float* d_bias) {
  const D d;
  V total = hn::Zero(d);
  auto part = [&](const T* row, int64_t i, int64_t n) { return n < 0 ? load(d, row + i) : load(d, Padded<T>(row + i, n).at); };
  auto each = [&](auto&& f) {  // n < 0: a whole vector at i; else n values
    over(width, [&](int64_t i) { f(i, int64_t{-1}); }, [&](int64_t i, int64_t n) { f(i, n); });
  };
  auto get = [&](const float* row, int64_t i, int64_t n) {
    return n < 0 ? hn::LoadU(d, row + i) : hn::LoadU(d, Padded<float>(row + i, n).at);
  };
  auto put = [&](V v, auto* row, int64_t i, int64_t n) { n < 0 ? store(v, d, row + i) : store_part(v, row + i, n); };
  each([&](int64_t i, int64_t n) {
    V s = part(x, i, n);
    if (residual) s = hn::Add(s, part(residual, i, n));
    put(s, sum, i, n);
    total = hn::Add(total, s);
  });
  const V mean = hn::Div(hn::SumOfLanes(d, total), hn::Set(d, float(width)));
  V square = hn::Zero(d);
  each([&](int64_t i, int64_t n) {
    V s = hn::Sub(get(sum, i, n), mean);
    if (n >= 0) s = hn::IfThenElseZero(hn::FirstN(d, size_t(n)), s);
    put(s, sum, i, n);
    square = hn::MulAdd(s, s, square);
  });
  const V variance = hn::Div(hn::SumOfLanes(d, square), hn::Set(d, float(width)));
  const V scale = hn::Set(d, 1.0f / std::sqrt(hn::GetLane(variance) + eps));
  V sum_g = hn::Zero(d), sum_gx = hn::Zero(d);
  each([&](int64_t i, int64_t n) {
    const V cotangent = part(dy, i, n), normalised = hn::Mul(get(sum, i, n), scale), g = hn::Mul(cotangent, get(weight, i, n));
    put(normalised, sum, i, n);
    put(hn::MulAdd(cotangent, normalised, get(d_weight, i, n)), d_weight, i, n);
    put(hn::Add(cotangent, get(d_bias, i, n)), d_bias, i, n);
    sum_g = hn::Add(g, sum_g);
    sum_gx = hn::MulAdd(g, normalised, sum_gx);
  });
  const V count = hn::Set(d, float(width));
  const V mean_g = hn::Div(hn::SumOfLanes(d, sum_g), count), mean_gx = hn::Div(hn::SumOfLanes(d, sum_gx), count);
  each([&](int64_t i, int64_t n) {
    const V g = hn::Mul(part(dy, i, n), get(weight, i, n));
    put(hn::Mul(scale, hn::NegMulAdd(get(sum, i, n), mean_gx, hn::Sub(g, mean_g))), ds, i, n);
  });
}

template <class Curve, class T>
void gelu_all(const T* x, T* y, int64_t n, int threads) {
  const D d;
  constexpr int64_t piece = 4096;
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int64_t start = 0; start < n; start += piece) {
    const T* from = x + start;
    T* to = y + start;
    over(
        n - start < piece ? n - start : piece, [&](int64_t i) { store(Curve::value(load(d, from + i)), d, to + i); },
        [&](int64_t i, int64_t count) { store_part(Curve::value(load(d, Padded<T>(from + i, count).at)), to + i, count); });
  }
}

template <class T>
void gelu_gate_all(const T* x, T* y, int64_t rows, int64_t width, int threads) {
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int64_t r = 0; r < rows; ++r) gelu_gate_row(x + 2 * r * width, y + r * width, width);
}

template <class T>
void layer_norm_all(const T* x, const T* residual, const float* weight, const float* bias, float eps, T* y, int64_t rows, int64_t width,
                    int threads) {
#pragma omp parallel num_threads(threads)
  {
    std::vector<float> sum(static_cast<size_t>(width));
#pragma omp for schedule(static)
    for (int64_t r = 0; r < rows; ++r) {
      layer_norm_row(x + r * width, residual ? residual + r * width : nullptr, weight, bias, eps, y + r * width, width, sum.data());
    }
  }
}

template <class From, class To>
void cast_all(const From* x, int64_t n, To* y, int threads) {
  constexpr int64_t kPiece = 1 << 14;
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int64_t first = 0; first < n; first += kPiece) {
    const D d;
    const From* from = x + first;
    To* to = y + first;
    over(
        n - first < kPiece ? n - first : kPiece, [&](int64_t i) HWY_ATTR { store(load(d, from + i), d, to + i); },
        [&](int64_t i, int64_t count) HWY_ATTR { store_part(load(d, Padded<From>(from + i, count).at), to + i, count); });
  }
}

// Columns are shared out; a task reads some vectors of each row.
template <class T>
void column_sums_all(const T* x, int64_t rows, int64_t width, T* y, int threads) {
  const D d;
  const int64_t N = int64_t(hn::Lanes(d)), step = 8 * N;
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int64_t first = 0; first < width; first += step) {
    const int64_t count = width - first < step ? width - first : step;
    float sums[8 * hn::MaxLanes(D())] = {};
    for (int64_t r = 0; r < rows; ++r) {
      const T* row = x + r * width + first;
      over(
          count, [&](int64_t i) { hn::StoreU(hn::Add(hn::LoadU(d, sums + i), load(d, row + i)), d, sums + i); },
          [&](int64_t i, int64_t n) { hn::StoreU(hn::Add(hn::LoadU(d, sums + i), load(d, Padded<T>(row + i, n).at)), d, sums + i); });
    }
    over(
        count, [&](int64_t i) { store(hn::LoadU(d, sums + i), d, y + first + i); },
        [&](int64_t i, int64_t n) { store_part(hn::LoadU(d, sums + i), y + first + i, n); });
  }
}

template <class Curve, class T>
void gelu_gradient_all(const T* x, const T* dy, T* dx, int64_t n, int threads) {
  const D d;
  constexpr int64_t piece = 4096;
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int64_t start = 0; start < n; start += piece) {
    over(
        n - start < piece ? n - start : piece,
        [&](int64_t i) { store(hn::Mul(load(d, dy + start + i), Curve::slope(load(d, x + start + i))), d, dx + start + i); },
        [&](int64_t i, int64_t count) {
          const Padded<T> at(x + start + i, count), cotangent(dy + start + i, count);
          store_part(hn::Mul(load(d, cotangent.at), Curve::slope(load(d, at.at))), dx + start + i, count);
        });
  }
}

template <class T>
void gelu_gate_gradient_all(const T* x, const T* dy, T* dx, int64_t rows, int64_t width, int threads) {
  const D d;
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int64_t r = 0; r < rows; ++r) {
    const T *a = x + 2 * r * width, *gate = a + width, *cotangent = dy + r * width;
    T *da = dx + 2 * r * width, *d_gate = da + width;
    over(
        width,
        [&](int64_t i) {
          const auto [value, slope] = gelu_parts(d, load(d, a + i));
          const V g = load(d, cotangent + i);
          store(hn::Mul(g, hn::Mul(slope, load(d, gate + i))), d, da + i);
          store(hn::Mul(g, value), d, d_gate + i);
        },
        [&](int64_t i, int64_t n) {
          const auto [value, slope] = gelu_parts(d, load(d, Padded<T>(a + i, n).at));
          const V g = load(d, Padded<T>(cotangent + i, n).at);
          store_part(hn::Mul(g, hn::Mul(slope, load(d, Padded<T>(gate + i, n).at))), da + i, n);
          store_part(hn::Mul(g, value), d_gate + i, n);
        });
  }
}

// Each thread sums its rows' share of d_weight and d_bias; the shares are added in the order of the threads, so that a run repeats itself.
template <class T>
void layer_norm_gradient_all(const T* x, const T* residual, const float* weight, float eps, const T* dy, T* ds, float* d_weight,
                             float* d_bias, int64_t rows, int64_t width, int threads) {
  const int64_t share = (rows + threads - 1) / threads;
  std::vector<float> sums(static_cast<size_t>(2 * width * threads));
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int i = 0; i < threads; ++i) {
    std::vector<float> memory(static_cast<size_t>(width));
    float* mine = sums.data() + 2 * width * i;
    const int64_t end = (i + 1) * share < rows ? (i + 1) * share : rows;
    for (int64_t r = i * share; r < end; ++r) {
      layer_norm_gradient_row(x + r * width, residual ? residual + r * width : nullptr, weight, eps, dy + r * width, ds + r * width, width,
                              memory.data(), mine, mine + width);
    }
  }
  for (int64_t c = 0; c < width; ++c) {
    d_weight[c] = d_bias[c] = 0;
    for (int64_t i = 0; i < threads; ++i) {
      d_weight[c] += sums[size_t(2 * width * i + c)];
      d_bias[c] += sums[size_t(2 * width * i + width + c)];
    }
  }
}

template <class T>
void gelu_by(GeluCurve curve, const T* x, T* y, int64_t n, int threads) {
  curve == GeluCurve::erf ? gelu_all<ErfCurve>(x, y, n, threads) : gelu_all<TanhCurve>(x, y, n, threads);
}
template <class T>
void gelu_gradient_by(GeluCurve curve, const T* x, const T* dy, T* dx, int64_t n, int threads) {
  curve == GeluCurve::erf ? gelu_gradient_all<ErfCurve>(x, dy, dx, n, threads) : gelu_gradient_all<TanhCurve>(x, dy, dx, n, threads);
}

void gelu_float(const float* x, float* y, int64_t n, GeluCurve curve, int threads) { gelu_by(curve, x, y, n, threads); }
void gelu_bfloat(const uint16_t* x, uint16_t* y, int64_t n, GeluCurve curve, int threads) { gelu_by(curve, x, y, n, threads); }
void gate_float(const float* x, float* y, int64_t rows, int64_t width, int threads) { gelu_gate_all(x, y, rows, width, threads); }
void gate_bfloat(const uint16_t* x, uint16_t* y, int64_t rows, int64_t width, int threads) { gelu_gate_all(x, y, rows, width, threads); }
void norm_float(const float* x, const float* residual, const float* w, const float* b, float eps, float* y, int64_t rows, int64_t width,
                int threads) {
  layer_norm_all(x, residual, w, b, eps, y, rows, width, threads);
}
void norm_bfloat(const uint16_t* x, const uint16_t* residual, const float* w, const float* b, float eps, uint16_t* y, int64_t rows,
                 int64_t width, int threads) {
  layer_norm_all(x, residual, w, b, eps, y, rows, width, threads);
}

void cast_to_bfloat(const float* x, int64_t n, uint16_t* y, int threads) { cast_all(x, n, y, threads); }
void cast_to_float(const uint16_t* x, int64_t n, float* y, int threads) { cast_all(x, n, y, threads); }

void column_sums_float(const float* x, int64_t rows, int64_t width, float* y, int threads) { column_sums_all(x, rows, width, y, threads); }
void column_sums_bfloat(const uint16_t* x, int64_t rows, int64_t width, uint16_t* y, int threads) {
  column_sums_all(x, rows, width, y, threads);
}

void gelu_gradient_float(const float* x, const float* dy, float* dx, int64_t n, GeluCurve curve, int threads) {
  gelu_gradient_by(curve, x, dy, dx, n, threads);
}
void gelu_gradient_bfloat(const uint16_t* x, const uint16_t* dy, uint16_t* dx, int64_t n, GeluCurve curve, int threads) {
  gelu_gradient_by(curve, x, dy, dx, n, threads);
}
void gate_gradient_float(const float* x, const float* dy, float* dx, int64_t rows, int64_t width, int threads) {
  gelu_gate_gradient_all(x, dy, dx, rows, width, threads);
}
void gate_gradient_bfloat(const uint16_t* x, const uint16_t* dy, uint16_t* dx, int64_t rows, int64_t width, int threads) {
  gelu_gate_gradient_all(x, dy, dx, rows, width, threads);
}
void norm_gradient_float(const float* x, const float* residual, const float* w, float eps, const float* dy, float* ds, float* dw, float* db,
                         int64_t rows, int64_t width, int threads) {
  layer_norm_gradient_all(x, residual, w, eps, dy, ds, dw, db, rows, width, threads);
}
void norm_gradient_bfloat(const uint16_t* x, const uint16_t* residual, const float* w, float eps, const uint16_t* dy, uint16_t* ds,
                          float* dw, float* db, int64_t rows, int64_t width, int threads) {
  layer_norm_gradient_all(x, residual, w, eps, dy, ds, dw, db, rows, width, threads);
}

}  // namespace m2bert::ops::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace m2bert::ops::cpu {

HWY_EXPORT(gelu_float);
HWY_EXPORT(gelu_bfloat);
HWY_EXPORT(gate_float);
HWY_EXPORT(gate_bfloat);
HWY_EXPORT(norm_float);
HWY_EXPORT(norm_bfloat);
HWY_EXPORT(cast_to_bfloat);
HWY_EXPORT(cast_to_float);
HWY_EXPORT(column_sums_float);
HWY_EXPORT(column_sums_bfloat);
HWY_EXPORT(gelu_gradient_float);
HWY_EXPORT(gelu_gradient_bfloat);
HWY_EXPORT(gate_gradient_float);
HWY_EXPORT(gate_gradient_bfloat);
HWY_EXPORT(norm_gradient_float);
HWY_EXPORT(norm_gradient_bfloat);

template <>
void gelu_values(const float* x, float* y, int64_t n, GeluCurve curve, int threads) {
  HWY_DYNAMIC_DISPATCH(gelu_float)(x, y, n, curve, threads);
}
template <>
void gelu_values(const uint16_t* x, uint16_t* y, int64_t n, GeluCurve curve, int threads) {
  HWY_DYNAMIC_DISPATCH(gelu_bfloat)(x, y, n, curve, threads);
}
template <>
void gelu_gate_rows(const float* x, float* y, int64_t rows, int64_t width, int threads) {
  HWY_DYNAMIC_DISPATCH(gate_float)(x, y, rows, width, threads);
}
template <>
void gelu_gate_rows(const uint16_t* x, uint16_t* y, int64_t rows, int64_t width, int threads) {
  HWY_DYNAMIC_DISPATCH(gate_bfloat)(x, y, rows, width, threads);
}
template <>
void layer_norm_rows(const float* x, const float* residual, const float* w, const float* b, float eps, float* y, int64_t rows,
                     int64_t width, int threads) {
  HWY_DYNAMIC_DISPATCH(norm_float)(x, residual, w, b, eps, y, rows, width, threads);
}
template <>
void layer_norm_rows(const uint16_t* x, const uint16_t* residual, const float* w, const float* b, float eps, uint16_t* y, int64_t rows,
                     int64_t width, int threads) {
  HWY_DYNAMIC_DISPATCH(norm_bfloat)(x, residual, w, b, eps, y, rows, width, threads);
}

void cast_values(const float* x, int64_t n, uint16_t* y, int threads) { HWY_DYNAMIC_DISPATCH(cast_to_bfloat)(x, n, y, threads); }
void cast_values(const uint16_t* x, int64_t n, float* y, int threads) { HWY_DYNAMIC_DISPATCH(cast_to_float)(x, n, y, threads); }

template <>
void column_sums(const float* x, int64_t rows, int64_t width, float* y, int threads) {
  HWY_DYNAMIC_DISPATCH(column_sums_float)(x, rows, width, y, threads);
}
template <>
void column_sums(const uint16_t* x, int64_t rows, int64_t width, uint16_t* y, int threads) {
  HWY_DYNAMIC_DISPATCH(column_sums_bfloat)(x, rows, width, y, threads);
}

template <>
void gelu_gradient(const float* x, const float* dy, float* dx, int64_t n, GeluCurve curve, int threads) {
  HWY_DYNAMIC_DISPATCH(gelu_gradient_float)(x, dy, dx, n, curve, threads);
}
template <>
void gelu_gate_gradient(const float* x, const float* dy, float* dx, int64_t rows, int64_t width, int threads) {
  HWY_DYNAMIC_DISPATCH(gate_gradient_float)(x, dy, dx, rows, width, threads);
}
template <>
void layer_norm_gradient(const float* x, const float* residual, const float* w, float eps, const float* dy, float* ds, float* dw, float* db,
                         int64_t rows, int64_t width, int threads) {
  HWY_DYNAMIC_DISPATCH(norm_gradient_float)(x, residual, w, eps, dy, ds, dw, db, rows, width, threads);
}
template <>
void gelu_gradient(const uint16_t* x, const uint16_t* dy, uint16_t* dx, int64_t n, GeluCurve curve, int threads) {
  HWY_DYNAMIC_DISPATCH(gelu_gradient_bfloat)(x, dy, dx, n, curve, threads);
}
template <>
void gelu_gate_gradient(const uint16_t* x, const uint16_t* dy, uint16_t* dx, int64_t rows, int64_t width, int threads) {
  HWY_DYNAMIC_DISPATCH(gate_gradient_bfloat)(x, dy, dx, rows, width, threads);
}
template <>
void layer_norm_gradient(const uint16_t* x, const uint16_t* residual, const float* w, float eps, const uint16_t* dy, uint16_t* ds,
                         float* dw, float* db, int64_t rows, int64_t width, int threads) {
  HWY_DYNAMIC_DISPATCH(norm_gradient_bfloat)(x, residual, w, eps, dy, ds, dw, db, rows, width, threads);
}

}  // namespace m2bert::ops::cpu
#endif
