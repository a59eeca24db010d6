// Between the projections, channels are worked on one by one: their values lie in chunks of 64 columns, each dense, so that a channel's
// next value is near. Short texts go through all of it in the second-level cache, a few texts a time; for long ones each step runs over
// the whole batch, a group of channels after the other where all of them would take much memory.
#include "m2bert/ops/backend/cpu/simd/packed_mixer_block_host.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <numeric>

#include "m2bert/ops/backend/cpu/simd/parallel.h"
#include "m2bert/ops/backend/cpu/simd/scratch.h"

namespace m2bert::ops::cpu {

namespace {

constexpr int kChunk = 64;  // columns
constexpr int kLongestTextInCache = 512;
constexpr size_t kMostPlaneBytes = size_t(32) << 20;  // of a group of channels
constexpr int kTaskChannels = 32;                     // a cache line of bfloat16: with enough tasks no two threads write the same one

template <class T>
constexpr Number number_of = sizeof(T) == 4 ? Number::float32 : Number::bfloat16;

std::vector<float> floats(const float* from, int count) { return from ? std::vector<float>(from, from + count) : std::vector<float>(); }
// Of kChannelBlock channels of one text: two transforms of n complex numbers, 5 n log2 n operations each.
int64_t mixing_flops(int L) {
  const int64_t n = transform_length(L);
  return kChannelBlock * 2 * 5 * n * std::countr_zero(size_t(n));
}
// projected, u and the result.
template <class T>
int64_t mixing_bytes(int L) {
  return int64_t(kChannelBlock) * L * 5 * int64_t(sizeof(T));
}

const float* or_null(const std::vector<float>& v, int first = 0) { return v.empty() ? nullptr : v.data() + first; }

}  // namespace

template <class T>
const FilterValue<T>* FilterSource<T>::channels(int L, int h) const {
  using F = FilterValue<T>;
  const size_t per_block = mixer_prepared_size<F>(kChannelBlock, L);
  if (prepared) return prepared + size_t(h / kChannelBlock) * per_block;
  static thread_local Scratch memory;
  F* made = memory.of<F>(per_block);
  const Stage timed(StageKind::filters);
  mixer_prepare_channels(*networks, L, h, made);
  return made;
}

// Channels [first, first + width), a multiple of the chunk, and what belongs to them.
struct MonarchMixer::Group {
  int first, width;
  std::vector<float> short_weight, short_bias;  // [3 width, 3], [3 width]
};

// The values between the projections, a plane of `rows` rows a chunk: 3 G columns of the projection and G of u for a group of G channels,
// H of the result. With one group the result takes the place of x1, which its channel does not need any more when it is written.
template <class T>
struct MonarchMixer::Planes {
  Planes(T* memory, int64_t rows, int hidden, int width, int chunk)
      : rows(rows),
        projected(memory),
        u(memory + rows * 3 * width),
        y(width == hidden ? projected : u + rows * width),
        width(width),
        chunk(chunk) {}
  static size_t size(int64_t rows, int hidden, int width) { return size_t(rows) * size_t(4 * width + (width == hidden ? 0 : hidden)); }

  T* at(T* plane, int column_chunk, int64_t row) const { return plane + (column_chunk * rows + row) * chunk; }
  ChunkedRows<T> chunks(T* plane) const { return {plane, chunk, chunk, rows * chunk}; }

  int64_t rows;
  T *projected, *u, *y;
  int width, chunk;
};

bool mixer_block_takes(const HostWeight& in, const HostWeight& out) {
  return in.blocks == 1 && out.blocks == 1 && out.p == in.p && out.q == in.p && in.q == 3 * in.p && in.p % kChannelBlock == 0;
}

MonarchMixer::MonarchMixer(const MonarchMixerSource& s)
    : number_(s.number),
      hidden_(s.in.p),
      chunk_(std::gcd(kChunk, s.in.p)),
      residual_(s.residual),
      in_scale_(floats(s.in.scale, 3 * hidden_)),
      in_bias_(floats(s.in_bias, 3 * hidden_)),
      out_scale_(floats(s.out.scale, hidden_)),
      out_bias_(floats(s.out_bias, hidden_)),
      short_weight_(floats(s.short_weight, 9 * hidden_)),
      short_bias_(floats(s.short_bias, 3 * hidden_)) {
  const bool biased = number_ != Number::int8;  // int8's biases come after its scales
  const auto* in = static_cast<const char*>(s.in.values);
  for (int c = 0; c < 3 * hidden_; c += chunk_) {
    in_.emplace_back(in + size_t(c) * size_t(hidden_) * size_of(number_), number_, chunk_, hidden_,
                     biased ? or_null(in_bias_, c) : nullptr);
  }
  out_.emplace_back(s.out.values, number_, hidden_, hidden_, biased ? or_null(out_bias_) : nullptr);
}

size_t MonarchMixer::bytes() const {
  return std::accumulate(in_.begin(), in_.end(), out_[0].bytes(), [](size_t sum, const PackedWeight& w) { return sum + w.bytes(); });
}

MonarchMixer::Group MonarchMixer::group(int first, int width) const {
  Group g{first, width, {}, {}};
  for (int third = 0; third < 3; ++third) {
    const auto weight = short_weight_.begin() + 3 * (third * hidden_ + first);
    g.short_weight.insert(g.short_weight.end(), weight, weight + 3 * width);
    const auto bias = short_bias_.begin() + third * hidden_ + first;
    g.short_bias.insert(g.short_bias.end(), bias, bias + width);
  }
  return g;
}

// The largest groups whose planes are not too large; int8, whose inputs are rounded once a group, may take twice as much.
int MonarchMixer::group_width(int64_t rows, size_t value_size) const {
  const size_t most = number_ == Number::int8 ? 2 * kMostPlaneBytes : kMostPlaneBytes;
  const int chunks = hidden_ / chunk_;
  int count = 1;
  while (count < chunks && (chunks % count != 0 || size_t(rows) * size_t(4 * hidden_ / count) * value_size > most)) ++count;
  return hidden_ / count;
}

template <class T>
MixerRows<T> MonarchMixer::rows_of(const Planes<T>& planes, const Group& g) const {
  auto read = [&](T* plane) { return ChunkedRows<const T>{plane, planes.chunk, planes.chunk, planes.rows * planes.chunk}; };
  return {read(planes.projected),
          residual_ ? read(planes.u) : ChunkedRows<const T>{},
          planes.chunks(planes.at(planes.y, g.first / chunk_, 0)),
          g.short_weight.data(),
          g.short_bias.data(),
          g.width};
}

// Rows [row, row + rows) of a group's planes from as many rows of u.
template <class T>
void MonarchMixer::project_in(const T* u, int64_t row, int rows, const Planes<T>& planes, const Group& g) const {
  static thread_local Scratch inputs, scales;
  const void* x = u;
  float* row_scale = scales.of<float>(kTileRows);
  if (number_ == Number::int8) {
    int8_t* q = inputs.of<int8_t>(size_t(kTileRows) * size_t(hidden_));
    quantize_tile(u, hidden_, rows, hidden_, rotation_of(hidden_), q, row_scale);
    x = q;
  } else if (rows % kRowStep != 0) {
    T* padded = inputs.of<T>(size_t(kTileRows) * size_t(hidden_));
    std::memcpy(padded, u, size_t(rows) * size_t(hidden_) * sizeof(T));
    x = padded;
  }
  const int chunks = g.width / chunk_;
  for (int c = 0; c < 3 * chunks; ++c) {
    const int column = c / chunks * hidden_ + g.first + c % chunks * chunk_;
    T* to = planes.at(planes.projected, c, row);
    in_[size_t(column / chunk_)].multiply(rows, x, to, number_of<T>, StageKind::in_linear);
    if (number_ == Number::int8) dequantize_tile({row_scale, in_scale_.data() + column, or_null(in_bias_, column)}, rows, chunk_, to);
  }
  if (!residual_) return;
  for (int c = 0; c < chunks; ++c) {
    const T* from = u + g.first + c * chunk_;
    T* to = planes.at(planes.u, c, row);
    for (int r = 0; r < rows; ++r) std::memcpy(to + r * chunk_, from + int64_t(r) * hidden_, size_t(chunk_) * sizeof(T));
  }
}

// Rows of the result from rows [row, row + rows) of the planes.
template <class T>
void MonarchMixer::project_out(const Planes<T>& planes, int64_t row, int rows, T* y) const {
  static thread_local Scratch inputs, narrow, scales, outputs;
  T* x = inputs.of<T>(size_t(kTileRows) * size_t(hidden_));
  for (int c = 0; c < hidden_ / chunk_; ++c) {
    const T* from = planes.at(planes.y, c, row);
    for (int r = 0; r < rows; ++r) std::memcpy(x + int64_t(r) * hidden_ + c * chunk_, from + r * chunk_, size_t(chunk_) * sizeof(T));
  }
  T* to = rows % kRowStep == 0 ? y : outputs.of<T>(size_t(kTileRows) * size_t(hidden_));
  if (number_ == Number::int8) {
    int8_t* q = narrow.of<int8_t>(size_t(kTileRows) * size_t(hidden_));
    float* row_scale = scales.of<float>(kTileRows);
    quantize_tile(x, hidden_, rows, hidden_, rotation_of(hidden_), q, row_scale);
    out_[0].multiply(rows, q, to, number_of<T>, StageKind::out_linear);
    dequantize_tile({row_scale, out_scale_.data(), or_null(out_bias_)}, rows, hidden_, to);
  } else {
    out_[0].multiply(rows, x, to, number_of<T>, StageKind::out_linear);
  }
  if (to != y) std::memcpy(y, to, size_t(rows) * size_t(hidden_) * sizeof(T));
}

namespace {

// f(first, count) for pieces of at most `step` of n rows.
template <class F>
void for_tiles(int64_t n, int step, const F& f) {
  for (int64_t r = 0; r < n; r += step) f(r, int(std::min<int64_t>(step, n - r)));
}

}  // namespace

// A task is a few texts: as many as fill a tile, or one.
template <class T>
void MonarchMixer::run_by_texts(const T* u, int B, int L, const FilterSource<T>& filters, T* y, int threads) const {
  const int texts = std::max(1, kTileRows / L);
  const Group all = group(0, hidden_);
  parallel_for((B + texts - 1) / texts, threads, [&](int64_t task) {
    static thread_local Scratch memory;
    const int first = int(task) * texts, count = std::min(texts, B - first), rows = count * L;
    const int64_t plane_rows = round_up(rows);
    const Planes<T> planes(memory.of<T>(Planes<T>::size(plane_rows, hidden_, hidden_)), plane_rows, hidden_, hidden_, chunk_);
    const T* from = u + int64_t(first) * L * hidden_;
    T* to = y + int64_t(first) * L * hidden_;
    for_tiles(rows, kTileRows, [&](int64_t r, int n) { project_in(from + r * hidden_, r, n, planes, all); });
    const auto mixed = rows_of(planes, all);
    for (int h = 0; h < hidden_; h += kChannelBlock) {
      const auto* filter = filters.channels(L, h);
      const Stage timed(StageKind::mixing, mixing_flops(L) * count, mixing_bytes<T>(L) * count);
      for (int text = 0; text < count; ++text) mix_channels(mixed, filter, int64_t(text) * L, L, h);
    }
    for_tiles(rows, kTileRows, [&](int64_t r, int n) { project_out(planes, r, n, to + r * hidden_); });
  });
}

// All texts for the channels of a group, whose planes are filled.
template <class T>
void MonarchMixer::mix_group(const Planes<T>& planes, const Group& g, int B, int L, const FilterSource<T>& filters, int threads) const {
  const auto mixed = rows_of(planes, g);
  const int wide = std::gcd(kTaskChannels, g.width), channels = g.width / wide >= 4 * threads ? wide : kChannelBlock;
  parallel_for(g.width / channels, threads, [&](int64_t i) {
    for (int h = int(i) * channels, end = h + channels; h < end; h += kChannelBlock) {
      const auto* filter = filters.channels(L, g.first + h);
      const Stage timed(StageKind::mixing, mixing_flops(L) * B, mixing_bytes<T>(L) * B);
      for (int text = 0; text < B; ++text) mix_channels(mixed, filter, int64_t(text) * L, L, h);
    }
  });
}

template <class T>
void MonarchMixer::run_by_phases(const T* u, int B, int L, const FilterSource<T>& filters, T* y, int threads) const {
  static thread_local Scratch memory;
  const int64_t rows = int64_t(B) * L, plane_rows = (rows + kRowStep - 1) / kRowStep * kRowStep;
  const int width = group_width(plane_rows, sizeof(T));
  const Planes<T> planes(memory.of<T>(Planes<T>::size(plane_rows, hidden_, width)), plane_rows, hidden_, width, chunk_);
  const int step = tile_step(rows, threads);
  const int64_t tiles = (rows + step - 1) / step;
  auto tile_rows = [&](int64_t tile) { return int(std::min<int64_t>(step, rows - tile * step)); };
  for (int first = 0; first < hidden_; first += width) {
    const Group g = group(first, width);
    parallel_for(tiles, threads, [&](int64_t i) { project_in(u + i * step * hidden_, i * step, tile_rows(i), planes, g); });
    mix_group(planes, g, B, L, filters, threads);
  }
  parallel_for(tiles, threads, [&](int64_t i) { project_out(planes, i * step, tile_rows(i), y + i * step * hidden_); });
}

template <class T>
void MonarchMixer::run(const T* u, int B, int L, const FilterSource<T>& filters, T* y, int threads) const {
  const int texts = std::max(1, kTileRows / L), tasks = (B + texts - 1) / texts;
  if (filters.prepared && L <= kLongestTextInCache && tasks >= 2 * threads) {
    run_by_texts(u, B, L, filters, y, threads);
  } else {
    run_by_phases(u, B, L, filters, y, threads);
  }
}

template void MonarchMixer::run(const float*, int, int, const FilterSource<float>&, float*, int) const;
template void MonarchMixer::run(const uint16_t*, int, int, const FilterSource<uint16_t>&, uint16_t*, int) const;

}  // namespace m2bert::ops::cpu
