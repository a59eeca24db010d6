#include "m2bert/ops/backend/cpu/simd/tile_simd.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "m2bert/ops/backend/cpu/simd/tile_simd.cpp"
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL)
#include <hwy/foreach_target.h>

#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>

#include "m2bert/ops/backend/cpu/simd/gelu_simd.h"
#include "m2bert/ops/backend/cpu/simd/scratch.h"
#include "m2bert/ops/backend/cpu/simd/simd.h"

HWY_BEFORE_NAMESPACE();
namespace m2bert::ops::cpu::HWY_NAMESPACE {

using D = hn::CappedTag<float, 16>;
using V = hn::Vec<D>;

// Functions of one value; `narrow`: the result is rounded to bfloat16.
struct Gelu {
  template <bool narrow>
  static HWY_INLINE V of(V x) {
    return narrow ? gelu_for_bfloat16(D(), x) : gelu(D(), x);
  }
};
struct GeluTanh {
  template <bool narrow>
  static HWY_INLINE V of(V x) {
    return gelu_tanh_parts(D(), x).value;
  }
};
struct Relu {
  template <bool narrow>
  static HWY_INLINE V of(V x) {
    return hn::IfThenZeroElse(hn::Lt(x, hn::Zero(D())), x);  // a NaN stays
  }
};
struct Silu {
  template <bool narrow>
  static HWY_INLINE V of(V x) {
    const D d;
    const V one = hn::Set(d, 1.0f);
    return hn::Div(x, hn::Add(one, hn::Exp(d, hn::Min(hn::Neg(x), hn::Set(d, 88.0f)))));
  }
};

// The values of one row at column c.
struct RowDequantize {
  RowDequantize(const Dequantize& all, int r)
      : row(hn::Set(D(), all.row_scale ? all.row_scale[r] : 1.0f)), scale(all.scale), bias(all.bias) {}
  HWY_INLINE V operator()(V x, int c) const {
    const D d;
    const V y = hn::Mul(hn::Mul(x, row), hn::LoadU(d, scale + c));
    return bias ? hn::Add(y, hn::LoadU(d, bias + c)) : y;
  }
  V row;
  const float *scale, *bias;
};

template <class F, bool quantized, bool gated, class T>
void activate_rows(const T* h, const Dequantize& h_columns, const T* gate, const Dequantize& gate_columns, int rows, int width, T* y,
                   int64_t y_stride) {
  const D d;
  constexpr bool narrow = !std::is_same_v<T, float>;
  for (int r = 0; r < rows; ++r, h += width, y += y_stride) {
    const RowDequantize of_h(h_columns, r), of_gate(gate_columns, r);
    for (int c = 0; c < width; c += int(hn::Lanes(d))) {
      V x = load(d, h + c);
      if constexpr (quantized) x = of_h(x, c);
      x = F::template of<narrow>(x);
      if constexpr (gated) {
        V g = load(d, gate + c);
        if constexpr (quantized) g = of_gate(g, c);
        x = hn::Mul(x, g);
      }
      store(x, d, y + c);
    }
    if constexpr (gated) gate += width;
  }
}

template <class F, class T>
void activate_by(const T* h, const Dequantize& h_columns, const T* gate, const Dequantize& gate_columns, int rows, int width, T* y,
                 int64_t y_stride) {
  if (h_columns.scale) {
    gate ? activate_rows<F, true, true>(h, h_columns, gate, gate_columns, rows, width, y, y_stride)
         : activate_rows<F, true, false>(h, h_columns, gate, gate_columns, rows, width, y, y_stride);
  } else {
    gate ? activate_rows<F, false, true>(h, h_columns, gate, gate_columns, rows, width, y, y_stride)
         : activate_rows<F, false, false>(h, h_columns, gate, gate_columns, rows, width, y, y_stride);
  }
}

template <class T>
void activate(Activation activation, const T* h, const Dequantize& h_columns, const T* gate, const Dequantize& gate_columns, int rows,
              int width, T* y, int64_t y_stride) {
  switch (activation) {
    case Activation::gelu: return activate_by<Gelu>(h, h_columns, gate, gate_columns, rows, width, y, y_stride);
    case Activation::gelu_tanh: return activate_by<GeluTanh>(h, h_columns, gate, gate_columns, rows, width, y, y_stride);
    case Activation::relu: return activate_by<Relu>(h, h_columns, gate, gate_columns, rows, width, y, y_stride);
    case Activation::silu: return activate_by<Silu>(h, h_columns, gate, gate_columns, rows, width, y, y_stride);
  }
}

template <class T>
void dequantize(const Dequantize& columns, int rows, int width, T* x) {
  const D d;
  for (int r = 0; r < rows; ++r, x += width) {
    const RowDequantize value(columns, r);
    for (int c = 0; c < width; c += int(hn::Lanes(d))) store(value(load(d, x + c), c), d, x + c);
  }
}

// The lanes whose index differs by `step`, and +1 or -1 where a butterfly of that step adds or subtracts.
struct Butterfly {
  explicit Butterfly(int step) {
    const D d;
    HWY_ALIGN int32_t partner[16];
    HWY_ALIGN float signs[16];
    for (int i = 0; i < int(hn::Lanes(d)); ++i) {
      partner[i] = i ^ step;
      signs[i] = (i & step) ? -1.0f : 1.0f;
    }
    swap = hn::SetTableIndices(d, partner);
    sign = hn::Load(d, signs);
  }
  HWY_INLINE V operator()(V x) const { return hn::MulAdd(x, sign, hn::TableLookupLanes(x, swap)); }

  decltype(hn::SetTableIndices(D(), static_cast<const int32_t*>(nullptr))) swap;
  V sign;
};

// The Hadamard transform of `block` values from `x` on, without its factor 1 / sqrt(block), to y. Returns the largest size.
template <int block, class T>
HWY_INLINE V rotate_block(const T* x, const Butterfly* butterflies, float* y) {
  const D d;
  constexpr int N = hn::MaxLanes(D()), count = block / N;
  V v[count];
  for (int i = 0; i < count; ++i) v[i] = load(d, x + i * N);
  for (int step = 1; step < count; step *= 2) {
    for (int i = 0; i < count; ++i) {
      if (i & step) continue;
      const V a = v[i], b = v[i + step];
      v[i] = hn::Add(a, b);
      v[i + step] = hn::Sub(a, b);
    }
  }
  V largest = hn::Zero(d);
  for (int i = 0; i < count; ++i) {
    for (int step = 1, b = 0; step < N; step *= 2, ++b) v[i] = butterflies[b](v[i]);
    largest = hn::Max(largest, hn::Abs(v[i]));
    hn::StoreU(v[i], d, y + i * N);
  }
  return largest;
}

template <int block, class T>
void quantize_rows(const T* x, int64_t x_stride, int rows, int width, int8_t* q, float* scale) {
  static thread_local Scratch memory;
  const D d;
  const hn::Rebind<int8_t, D> narrow;
  float* rotated = memory.of<float>(size_t(width));
  const Butterfly butterflies[4] = {Butterfly(1), Butterfly(2), Butterfly(4), Butterfly(8)};
  const float factor = 1 / std::sqrt(float(block));
  for (int r = 0; r < rows; ++r, x += x_stride, q += width) {
    V largest = hn::Zero(d), not_finite = hn::Zero(d);
    for (int c = 0; c < width; c += block) largest = hn::Max(largest, rotate_block<block>(x + c, butterflies, rotated + c));
    for (int c = 0; c < width; c += int(hn::Lanes(d)))
      not_finite = hn::MulAdd(hn::LoadU(d, rotated + c), hn::Zero(d), not_finite);  // NaN where a value is NaN or infinite
    const float most = hn::GetLane(hn::MaxOfLanes(d, largest)), bad = hn::GetLane(hn::SumOfLanes(d, not_finite));
    scale[r] = most * factor / 127 + bad;
    const V inverse = hn::Set(d, most > 0 && bad == 0 ? 127 / most : 0.0f);
    for (int c = 0; c < width; c += int(hn::Lanes(d)))
      hn::StoreU(hn::DemoteTo(narrow, hn::NearestInt(hn::Mul(hn::LoadU(d, rotated + c), inverse))), narrow, q + c);
  }
}

template <class T>
void quantize(const T* x, int64_t x_stride, int rows, int width, int rotation, int8_t* q, float* scale) {
  switch (rotation) {
    case 64: return quantize_rows<64>(x, x_stride, rows, width, q, scale);
    case 32: return quantize_rows<32>(x, x_stride, rows, width, q, scale);
    default: return quantize_rows<16>(x, x_stride, rows, width, q, scale);
  }
}

// y = (sum - its mean) / its deviation * weight + shift; total: the sums of its lanes.
template <class T>
HWY_INLINE void normalize_row(const float* sum, V total, const Norm& norm, int columns, T* y) {
  const D d;
  const int N = int(hn::Lanes(d));
  V square = hn::Zero(d);
  const V count = hn::Set(d, float(columns)), mean = hn::Div(hn::SumOfLanes(d, total), count);
  for (int c = 0; c < columns; c += N) {
    const V s = hn::Sub(hn::LoadU(d, sum + c), mean);
    square = hn::MulAdd(s, s, square);
  }
  const float variance = hn::GetLane(hn::Div(hn::SumOfLanes(d, square), count));
  const V scale = hn::Set(d, 1 / std::sqrt(variance + norm.eps));
  for (int c = 0; c < columns; c += N) {
    const V s = hn::Mul(hn::Sub(hn::LoadU(d, sum + c), mean), scale);
    store(hn::MulAdd(s, hn::LoadU(d, norm.weight + c), hn::LoadU(d, norm.shift + c)), d, y + c);
  }
}

template <bool quantized, class T>
void norm_rows(const BlockedRows& x, const BlockedDequantize& dequantize, const T* residual, const Norm& norm, int rows, int columns, T* y,
               float* sum) {
  const D d;
  const int N = int(hn::Lanes(d));
  for (int r = 0; r < rows; ++r, residual += columns, y += columns) {
    V total = hn::Zero(d);
    for (int block = 0, first = 0; first < columns; ++block, first += x.width) {
      const float* from = x.x + block * x.block_stride + int64_t(r) * x.width;
      const V row = hn::Set(d, quantized ? dequantize.row_scale[block * dequantize.row_scale_stride + r] : 1.0f);
      for (int i = 0; i < x.width; i += N) {
        const int c = first + i;
        V s = hn::LoadU(d, from + i);
        if constexpr (quantized) s = hn::Mul(hn::Mul(s, row), hn::LoadU(d, dequantize.scale + c));
        s = hn::Add(hn::Add(s, hn::LoadU(d, norm.bias + c)), load(d, residual + c));
        hn::StoreU(s, d, sum + c);
        total = hn::Add(total, s);
      }
    }
    normalize_row(sum, total, norm, columns, y);
  }
}

// Whether there is such a row; adds it to `plain`, or an int8 one to `rotated`.
HWY_INLINE bool add_row(const Table& table, int32_t index, int columns, float* plain, float* rotated) {
  const D d;
  if (index < 0 || index >= table.count) return false;
  const size_t at = size_t(index) * size_t(columns);
  auto add = [&](float* sum, auto value) {
    for (int c = 0; c < columns; c += int(hn::Lanes(d))) hn::StoreU(hn::Add(hn::LoadU(d, sum + c), value(c)), d, sum + c);
  };
  switch (table.number) {
    case Number::float32: add(plain, [&, x = static_cast<const float*>(table.values) + at](int c) { return load(d, x + c); }); break;
    case Number::bfloat16: add(plain, [&, x = static_cast<const uint16_t*>(table.values) + at](int c) { return load(d, x + c); }); break;
    case Number::int8: {
      const hn::Rebind<int8_t, D> narrow;
      const hn::Rebind<int32_t, D> wide;
      const V scale = hn::Set(d, table.scale[index]);
      add(rotated, [&, x = static_cast<const int8_t*>(table.values) + at](int c) {
        return hn::Mul(hn::ConvertTo(d, hn::PromoteTo(wide, hn::LoadU(narrow, x + c))), scale);
      });
      break;
    }
  }
  return true;
}

template <int block, class T>
void embed_rows(const Table* tables, const int32_t* const* index, int table_count, const Norm& norm, int rows, int columns, T* y,
                float* scratch) {
  const D d;
  const int N = int(hn::Lanes(d));
  const Butterfly butterflies[4] = {Butterfly(1), Butterfly(2), Butterfly(4), Butterfly(8)};
  const V factor = hn::Set(d, 1 / std::sqrt(float(block)));
  float *sum = scratch, *rotated = scratch + columns;
  const bool rotates = std::any_of(tables, tables + table_count, [](const Table& t) { return t.number == Number::int8; });
  for (int r = 0; r < rows; ++r, y += columns) {
    std::fill_n(scratch, 2 * columns, 0.0f);
    bool found = true;
    for (int t = 0; t < table_count; ++t) found = add_row(tables[t], index[t][r], columns, sum, rotated) && found;
    for (int c = 0; rotates && c < columns; c += block) rotate_block<block>(rotated + c, butterflies, rotated + c);
    V total = hn::Zero(d);
    const V missing = hn::Set(d, found ? 0.0f : std::numeric_limits<float>::quiet_NaN());
    for (int c = 0; c < columns; c += N) {
      const V s = hn::Add(hn::MulAdd(hn::LoadU(d, rotated + c), factor, hn::LoadU(d, sum + c)), missing);
      hn::StoreU(s, d, sum + c);
      total = hn::Add(total, s);
    }
    normalize_row(sum, total, norm, columns, y);
  }
}

template <class T>
void embed(const Table* tables, const int32_t* const* index, int table_count, int rotation, const Norm& norm, int rows, int columns, T* y,
           float* scratch) {
  switch (rotation) {
    case 64: return embed_rows<64>(tables, index, table_count, norm, rows, columns, y, scratch);
    case 32: return embed_rows<32>(tables, index, table_count, norm, rows, columns, y, scratch);
    default: return embed_rows<16>(tables, index, table_count, norm, rows, columns, y, scratch);
  }
}

template <class T>
void norm(const BlockedRows& x, const BlockedDequantize& dequantize, const T* residual, const Norm& norm, int rows, int columns, T* y,
          float* sum) {
  dequantize.scale ? norm_rows<true>(x, dequantize, residual, norm, rows, columns, y, sum)
                   : norm_rows<false>(x, dequantize, residual, norm, rows, columns, y, sum);
}

#define M2BERT_TILE_FUNCTIONS(T, name)                                                                                                     \
  void activate_##name(Activation activation, const T* h, const Dequantize& h_columns, const T* gate, const Dequantize& gate_columns,      \
                       int rows, int width, T* y, int64_t y_stride) {                                                                      \
    activate(activation, h, h_columns, gate, gate_columns, rows, width, y, y_stride);                                                      \
  }                                                                                                                                        \
  void dequantize_##name(const Dequantize& columns, int rows, int width, T* x) { dequantize(columns, rows, width, x); }                    \
  void quantize_##name(const T* x, int64_t x_stride, int rows, int width, int rotation, int8_t* q, float* scale) {                         \
    quantize(x, x_stride, rows, width, rotation, q, scale);                                                                                \
  }                                                                                                                                        \
  void norm_##name(const BlockedRows& x, const BlockedDequantize& dequantize, const T* residual, const Norm& n, int rows, int columns,     \
                   T* y, float* sum) {                                                                                                     \
    norm(x, dequantize, residual, n, rows, columns, y, sum);                                                                               \
  }                                                                                                                                        \
  void embed_##name(const Table* tables, const int32_t* const* index, int table_count, int rotation, const Norm& n, int rows, int columns, \
                    T* y, float* scratch) {                                                                                                \
    embed(tables, index, table_count, rotation, n, rows, columns, y, scratch);                                                             \
  }
M2BERT_TILE_FUNCTIONS(float, float)
M2BERT_TILE_FUNCTIONS(uint16_t, bfloat)
#undef M2BERT_TILE_FUNCTIONS

}  // namespace m2bert::ops::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace m2bert::ops::cpu {

#define M2BERT_TILE_EXPORTS(T, name)                                                                                                    \
  HWY_EXPORT(activate_##name);                                                                                                          \
  HWY_EXPORT(dequantize_##name);                                                                                                        \
  HWY_EXPORT(quantize_##name);                                                                                                          \
  HWY_EXPORT(norm_##name);                                                                                                              \
  HWY_EXPORT(embed_##name);                                                                                                             \
  template <>                                                                                                                           \
  void activate_tile(Activation activation, const T* h, const Dequantize& h_columns, const T* gate, const Dequantize& gate_columns,     \
                     int rows, int width, T* y, int64_t y_stride) {                                                                     \
    HWY_DYNAMIC_DISPATCH(activate_##name)(activation, h, h_columns, gate, gate_columns, rows, width, y, y_stride);                      \
  }                                                                                                                                     \
  template <>                                                                                                                           \
  void dequantize_tile(const Dequantize& columns, int rows, int width, T* x) {                                                          \
    HWY_DYNAMIC_DISPATCH(dequantize_##name)(columns, rows, width, x);                                                                   \
  }                                                                                                                                     \
  template <>                                                                                                                           \
  void quantize_tile(const T* x, int64_t x_stride, int rows, int width, int rotation, int8_t* q, float* scale) {                        \
    HWY_DYNAMIC_DISPATCH(quantize_##name)(x, x_stride, rows, width, rotation, q, scale);                                                \
  }                                                                                                                                     \
  template <>                                                                                                                           \
  void norm_tile(const BlockedRows& x, const BlockedDequantize& dequantize, const T* residual, const Norm& norm, int rows, int columns, \
                 T* y, float* scratch) {                                                                                                \
    HWY_DYNAMIC_DISPATCH(norm_##name)(x, dequantize, residual, norm, rows, columns, y, scratch);                                        \
  }                                                                                                                                     \
  template <>                                                                                                                           \
  void embed_tile(const Table* tables, const int32_t* const* index, int table_count, int rotation, const Norm& norm, int rows,          \
                  int columns, T* y, float* scratch) {                                                                                  \
    HWY_DYNAMIC_DISPATCH(embed_##name)(tables, index, table_count, rotation, norm, rows, columns, y, scratch);                          \
  }
M2BERT_TILE_EXPORTS(float, float)
M2BERT_TILE_EXPORTS(uint16_t, bfloat)

}  // namespace m2bert::ops::cpu
#endif
