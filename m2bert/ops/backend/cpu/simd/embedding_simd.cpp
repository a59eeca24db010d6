#include "m2bert/ops/backend/cpu/simd/embedding_simd.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "m2bert/ops/backend/cpu/simd/embedding_simd.cpp"
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL)
#include <hwy/foreach_target.h>

#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "m2bert/ops/backend/cpu/simd/layer_norm_inl.h"
#include "m2bert/ops/backend/cpu/simd/load_store_inl.h"
#include "m2bert/ops/backend/cpu/simd/quantize_inl.h"

HWY_BEFORE_NAMESPACE();
namespace m2bert::ops::cpu::HWY_NAMESPACE {

using D = hn::CappedTag<float, 16>;
using V = hn::Vec<D>;

// Adds a row of the table to `plain`, or to `rotated` if it is int8. Returns false if the table has no such row.
HWY_INLINE bool add_table_row(const EmbeddingTable& table, int32_t index, int columns, float* plain, float* rotated) {
  const D d;
  if (index < 0 || index >= table.count) return false;
  const size_t at = size_t(index) * size_t(columns);
  auto add = [&](float* sum, auto value) {
    for (int c = 0; c < columns; c += int(hn::Lanes(d))) hn::StoreU(hn::Add(hn::LoadU(d, sum + c), value(c)), d, sum + c);
  };
  switch (table.dtype) {
    case HostDtype::float32: add(plain, [&, x = static_cast<const float*>(table.values) + at](int c) { return load(d, x + c); }); break;
    case HostDtype::bfloat16: add(plain, [&, x = static_cast<const uint16_t*>(table.values) + at](int c) { return load(d, x + c); }); break;
    case HostDtype::int8: {
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
void embed_tile_rows(const EmbeddingTable* tables, const int32_t* const* index, int table_count, const LayerNormParams& norm, int rows,
                     int columns, T* y, float* scratch) {
  const D d;
  const int N = int(hn::Lanes(d));
  const Hadamard<D, block> hadamard;
  const V factor = hn::Set(d, 1 / std::sqrt(float(block)));
  float *sum = scratch, *rotated = scratch + columns;
  const bool rotates = std::any_of(tables, tables + table_count, [](const EmbeddingTable& t) { return t.dtype == HostDtype::int8; });
  for (int r = 0; r < rows; ++r, y += columns) {
    std::fill_n(scratch, 2 * columns, 0.0f);
    bool found = true;
    for (int t = 0; t < table_count; ++t) found = add_table_row(tables[t], index[t][r], columns, sum, rotated) && found;
    for (int c = 0; rotates && c < columns; c += block) hadamard(rotated + c, rotated + c);
    V total = hn::Zero(d);
    const V missing = hn::Set(d, found ? 0.0f : std::numeric_limits<float>::quiet_NaN());
    for (int c = 0; c < columns; c += N) {
      const V s = hn::Add(hn::MulAdd(hn::LoadU(d, rotated + c), factor, hn::LoadU(d, sum + c)), missing);
      hn::StoreU(s, d, sum + c);
      total = hn::Add(total, s);
    }
    normalize_row(d, sum, total, norm, columns, y);
  }
}

template <class T>
void embed(const EmbeddingTable* tables, const int32_t* const* index, int table_count, int block, const LayerNormParams& norm, int rows,
           int columns, T* y, float* scratch) {
  switch (block) {
    case 64: return embed_tile_rows<64>(tables, index, table_count, norm, rows, columns, y, scratch);
    case 32: return embed_tile_rows<32>(tables, index, table_count, norm, rows, columns, y, scratch);
    default: return embed_tile_rows<16>(tables, index, table_count, norm, rows, columns, y, scratch);
  }
}

void embed_float(const EmbeddingTable* tables, const int32_t* const* index, int table_count, int block, const LayerNormParams& norm,
                 int rows, int columns, float* y, float* scratch) {
  embed(tables, index, table_count, block, norm, rows, columns, y, scratch);
}
void embed_bfloat(const EmbeddingTable* tables, const int32_t* const* index, int table_count, int block, const LayerNormParams& norm,
                  int rows, int columns, uint16_t* y, float* scratch) {
  embed(tables, index, table_count, block, norm, rows, columns, y, scratch);
}

}  // namespace m2bert::ops::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace m2bert::ops::cpu {

HWY_EXPORT(embed_float);
HWY_EXPORT(embed_bfloat);

template <>
void embed_tile(const EmbeddingTable* tables, const int32_t* const* index, int table_count, int block, const LayerNormParams& norm,
                int rows, int columns, float* y, float* scratch) {
  HWY_DYNAMIC_DISPATCH(embed_float)(tables, index, table_count, block, norm, rows, columns, y, scratch);
}
template <>
void embed_tile(const EmbeddingTable* tables, const int32_t* const* index, int table_count, int block, const LayerNormParams& norm,
                int rows, int columns, uint16_t* y, float* scratch) {
  HWY_DYNAMIC_DISPATCH(embed_bfloat)(tables, index, table_count, block, norm, rows, columns, y, scratch);
}

}  // namespace m2bert::ops::cpu
#endif
