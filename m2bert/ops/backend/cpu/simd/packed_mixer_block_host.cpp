// Between the projections every channel is mixed by itself, so values are stored in blocks of 64 columns, each dense: the next value of a
// channel is near. Short sequences go through all steps in the second-level cache, a few sequences at a time. For long ones each step runs
// over the whole batch, one group of channels after the other if all of them would take too much memory.
#include "m2bert/ops/backend/cpu/simd/packed_mixer_block_host.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <numeric>
#include <optional>
#include <utility>

#include "m2bert/ops/backend/cpu/simd/parallel.h"
#include "m2bert/ops/backend/cpu/simd/quantize_simd.h"
#include "m2bert/ops/backend/cpu/simd/scratch.h"
#include "m2bert/ops/backend/cpu/simd/tile.h"

namespace m2bert::ops::cpu {

namespace {

constexpr int kBlockWidth = 64;                          // columns
constexpr int kMaxLengthInCache = 512;                   // longer sequences do not stay in the second-level cache
constexpr size_t kMaxWorkspaceBytes = size_t(32) << 20;  // for a group of channels
constexpr int kTaskChannels = 32;  // a cache line of bfloat16: if there are enough tasks, no two threads write the same one

// For kChannelBlock channels of one sequence: two FFTs of n complex numbers with 5 n log2 n operations each.
int64_t mixing_flops(int L) {
  const int64_t n = fft_length(L);
  return kChannelBlock * 2 * 5 * n * std::countr_zero(size_t(n));
}
// Traffic of the same: projected, u and the result.
template <class T>
int64_t mixing_bytes(int L) {
  return int64_t(kChannelBlock) * L * 5 * int64_t(sizeof(T));
}

}  // namespace

template <class T>
const FilterValue<T>* FilterSource<T>::channels(int h) const {
  using F = FilterValue<T>;
  const size_t per_block = packed_filter_size<F>(kChannelBlock, rows);
  if (packed) return packed + size_t(h / kChannelBlock) * per_block;
  static thread_local Scratch memory;
  F* made = memory.of<F>(per_block);
  const ProfileScope timed(ProfileStage::filters);
  pack_filter_spectra_block(*networks, rows, h, made);
  return made;
}

// Channels [first, first + width), a multiple of the block width, and their short convolution.
struct PackedMixerBlockHost::ChannelGroup {
  int first, width;
  std::vector<float> short_weight, short_bias;  // [3 width, 3], [3 width]
};

// The values between the projections, as blocks of columns with `rows` rows each: for a group of G channels 3 G columns of the projection
// and G of u, and all H columns of the result. If there is only one group, the result overwrites x1, which a channel no longer needs when
// its result is written.
template <class T>
struct PackedMixerBlockHost::Workspace {
  Workspace(T* memory, int64_t rows, int hidden, int width, int block_width)
      : rows(rows),
        projected(memory),
        u(memory + rows * 3 * width),
        y(width == hidden ? projected : u + rows * width),
        width(width),
        block_width(block_width) {}
  static size_t size(int64_t rows, int hidden, int width) { return size_t(rows) * size_t(4 * width + (width == hidden ? 0 : hidden)); }

  T* at(T* part, int block, int64_t row) const { return part + (block * rows + row) * block_width; }
  template <class U>
  BlockedMatrix<U> matrix(U* part) const {
    return {part, block_width, block_width, rows * block_width};
  }

  int64_t rows;
  T *projected, *u, *y;
  int width, block_width;
};

bool packed_mixer_block_supports(const WeightView& in, const WeightView& out) {
  return in.blocks == 1 && out.blocks == 1 && out.p == in.p && out.q == in.p && in.q == 3 * in.p && in.p % kChannelBlock == 0;
}

PackedMixerBlockHost::PackedMixerBlockHost(const PackedMixerBlockSource& s)
    : in_dtype_(s.in_dtype),
      out_dtype_(s.out_dtype),
      hidden_(s.in.p),
      block_width_(std::gcd(kBlockWidth, s.in.p)),
      residual_(s.residual),
      in_scale_(copy_floats(s.in.scale, size_t(3 * hidden_))),
      in_bias_(copy_floats(s.in_bias, size_t(3 * hidden_))),
      out_scale_(copy_floats(s.out.scale, size_t(hidden_))),
      out_bias_(copy_floats(s.out_bias, size_t(hidden_))),
      short_weight_(copy_floats(s.short_weight, size_t(9 * hidden_))),
      short_bias_(copy_floats(s.short_bias, size_t(3 * hidden_))) {
  auto biased = [](HostDtype dtype) { return dtype != HostDtype::int8; };  // int8 adds the biases after the scales
  const auto* in = static_cast<const char*>(s.in.values);
  for (int c = 0; c < 3 * hidden_; c += block_width_) {
    in_.emplace_back(in + size_t(c) * size_t(hidden_) * size_of(in_dtype_), in_dtype_, block_width_, hidden_,
                     biased(in_dtype_) ? at_or_null(in_bias_, c) : nullptr);
  }
  out_.emplace_back(s.out.values, out_dtype_, hidden_, hidden_, biased(out_dtype_) ? at_or_null(out_bias_) : nullptr);
}

size_t PackedMixerBlockHost::bytes() const {
  return std::accumulate(in_.begin(), in_.end(), out_[0].bytes(), [](size_t sum, const PackedWeight& w) { return sum + w.bytes(); });
}

PackedMixerBlockHost::ChannelGroup PackedMixerBlockHost::group(int first, int width) const {
  ChannelGroup g{first, width, {}, {}};
  for (int third = 0; third < 3; ++third) {
    const auto weight = short_weight_.begin() + 3 * (third * hidden_ + first);
    g.short_weight.insert(g.short_weight.end(), weight, weight + 3 * width);
    const auto bias = short_bias_.begin() + third * hidden_ + first;
    g.short_bias.insert(g.short_bias.end(), bias, bias + width);
  }
  return g;
}

// The widest groups whose workspace is not too large. int8 may take twice as much memory, since it quantizes its inputs once per group.
int PackedMixerBlockHost::group_width(int64_t rows, size_t value_size) const {
  const size_t most = in_dtype_ == HostDtype::int8 ? 2 * kMaxWorkspaceBytes : kMaxWorkspaceBytes;
  const int blocks = hidden_ / block_width_;
  int count = 1;
  while (count < blocks && (blocks % count != 0 || size_t(rows) * size_t(4 * hidden_ / count) * value_size > most)) ++count;
  return hidden_ / count;
}

template <class T>
MonarchMixArrays<T> PackedMixerBlockHost::mix_arrays(const Workspace<T>& work, const ChannelGroup& g) const {
  return {work.template matrix<const T>(work.projected),
          residual_ ? work.template matrix<const T>(work.u) : BlockedMatrix<const T>{},
          work.matrix(work.at(work.y, g.first / block_width_, 0)),
          g.short_weight.data(),
          g.short_bias.data(),
          g.width};
}

// Fills rows [row, row + rows) of a group's workspace from as many rows of u.
template <class T>
void PackedMixerBlockHost::project_in(const T* u, int64_t row, int rows, const Workspace<T>& work, const ChannelGroup& g,
                                      Thirds thirds) const {
  static thread_local Scratch inputs, scales;
  const void* x = u;
  float* row_scale = scales.of<float>(kTileRows);
  if (in_dtype_ == HostDtype::int8) {
    int8_t* q = inputs.of<int8_t>(size_t(kTileRows) * size_t(hidden_));
    quantize_tile(u, hidden_, rows, hidden_, hadamard_block(hidden_), q, row_scale);
    x = q;
  } else if (rows % kRowAlignment != 0) {
    T* padded = inputs.of<T>(size_t(kTileRows) * size_t(hidden_));
    std::memcpy(padded, u, size_t(rows) * size_t(hidden_) * sizeof(T));
    x = padded;
  }
  const int blocks = g.width / block_width_;
  for (int c = 0; c < 3 * blocks; ++c) {
    if (thirds != Thirds::all && (thirds == Thirds::x2) != (c / blocks == 1)) continue;
    const int column = c / blocks * hidden_ + g.first + c % blocks * block_width_;
    T* to = work.at(work.projected, c, row);
    in_[size_t(column / block_width_)].matmul(rows, x, to, dtype_of<T>, ProfileStage::in_linear);
    if (in_dtype_ == HostDtype::int8)
      dequantize_tile({row_scale, in_scale_.data() + column, at_or_null(in_bias_, column)}, rows, block_width_, to);
  }
  if (!residual_ || thirds == Thirds::x2) return;
  for (int c = 0; c < blocks; ++c) {
    const T* from = u + g.first + c * block_width_;
    T* to = work.at(work.u, c, row);
    for (int r = 0; r < rows; ++r) std::memcpy(to + r * block_width_, from + int64_t(r) * hidden_, size_t(block_width_) * sizeof(T));
  }
}

// Rows of the result from rows [row, row + rows) of the workspace.
template <class T>
void PackedMixerBlockHost::project_out(const Workspace<T>& work, int64_t row, int rows, T* y) const {
  static thread_local Scratch inputs, narrow, scales, outputs;
  T* x = inputs.of<T>(size_t(kTileRows) * size_t(hidden_));
  for (int c = 0; c < hidden_ / block_width_; ++c) {
    const T* from = work.at(work.y, c, row);
    for (int r = 0; r < rows; ++r)
      std::memcpy(x + int64_t(r) * hidden_ + c * block_width_, from + r * block_width_, size_t(block_width_) * sizeof(T));
  }
  T* to = rows % kRowAlignment == 0 ? y : outputs.of<T>(size_t(kTileRows) * size_t(hidden_));
  if (out_dtype_ == HostDtype::int8) {
    int8_t* q = narrow.of<int8_t>(size_t(kTileRows) * size_t(hidden_));
    float* row_scale = scales.of<float>(kTileRows);
    quantize_tile(x, hidden_, rows, hidden_, hadamard_block(hidden_), q, row_scale);
    out_[0].matmul(rows, q, to, dtype_of<T>, ProfileStage::out_linear);
    dequantize_tile({row_scale, out_scale_.data(), at_or_null(out_bias_)}, rows, hidden_, to);
  } else {
    out_[0].matmul(rows, x, to, dtype_of<T>, ProfileStage::out_linear);
  }
  if (to != y) std::memcpy(y, to, size_t(rows) * size_t(hidden_) * sizeof(T));
}

namespace {

// Calls f(first, count) for tiles of at most `step` of n rows.
template <class F>
void for_tiles(int64_t n, int step, const F& f) {
  for (int64_t r = 0; r < n; r += step) f(r, int(std::min<int64_t>(step, n - r)));
}

// Divides sequences into tasks, as many sequences as fill a tile, or one: task i is sequences [tasks[i], tasks[i + 1]).
std::vector<size_t> tile_tasks(const std::vector<SequenceRows>& sequences) {
  std::vector<size_t> tasks{0};
  for (size_t i = 1; i < sequences.size(); ++i) {
    const SequenceRows& s = sequences[i];
    if (s.first + s.length - sequences[tasks.back()].first > kTileRows) tasks.push_back(i);
  }
  tasks.push_back(sequences.size());
  return tasks;
}

// Operations and traffic of all sequences.
template <class T, class Sequences>
std::pair<int64_t, int64_t> mixing_work(const Sequences& sequences) {
  int64_t flops = 0, bytes = 0;
  for (const SequenceRows& s : sequences) flops += mixing_flops(s.length), bytes += mixing_bytes<T>(s.length);
  return {flops, bytes};
}

}  // namespace

template <class T>
void PackedMixerBlockHost::run_by_sequence(const T* u, const MixerBatch<T>& batch, std::span<const size_t> tasks, T* y, int threads) const {
  const ChannelGroup all = group(0, hidden_);
  parallel_for(int64_t(tasks.size()) - 1, threads, [&](int64_t task) {
    static thread_local Scratch memory;
    const size_t begin = tasks[size_t(task)], end = tasks[size_t(task) + 1];
    const std::span sequences(batch.sequences.data() + begin, end - begin);
    const int64_t first = sequences.front().first;
    const int rows = int(sequences.back().first + sequences.back().length - first);
    const int64_t work_rows = round_up(rows);
    const Workspace<T> work(memory.of<T>(Workspace<T>::size(work_rows, hidden_, hidden_)), work_rows, hidden_, hidden_, block_width_);
    const T* from = u + first * hidden_;
    T* to = y + first * hidden_;
    for_tiles(rows, kTileRows, [&](int64_t r, int n) { project_in(from + r * hidden_, r, n, work, all); });
    const auto arrays = mix_arrays(work, all);
    const auto [flops, bytes] = mixing_work<T>(sequences);
    for (int h = 0; h < hidden_; h += kChannelBlock) {
      const ProfileScope timed(ProfileStage::mixing, flops, bytes);
      for (const SequenceRows& s : sequences) monarch_mix_block(arrays, batch.filters[s.filter].channels(h), s.first - first, s.length, h);
    }
    for_tiles(rows, kTileRows, [&](int64_t r, int n) { project_out(work, r, n, to + r * hidden_); });
  });
}

// Mixes all sequences for the channels of a group, whose workspace is filled.
template <class T>
void PackedMixerBlockHost::mix_group(const Workspace<T>& work, const ChannelGroup& g, const MixerBatch<T>& batch, int threads) const {
  const auto arrays = mix_arrays(work, g);
  const int wide = std::gcd(kTaskChannels, g.width), channels = g.width / wide >= 4 * threads ? wide : kChannelBlock;
  const auto [flops, bytes] = mixing_work<T>(batch.sequences);
  parallel_for(g.width / channels, threads, [&, flops = flops, bytes = bytes](int64_t i) {
    for (int h = int(i) * channels, end = h + channels; h < end; h += kChannelBlock) {
      std::optional<ProfileScope> timed;
      for (size_t f = 0; f < batch.filters.size(); ++f) {  // one after the other: only one of them may be in memory
        timed.reset();
        const auto* filter = batch.filters[f].channels(g.first + h);
        timed.emplace(ProfileStage::mixing, f == 0 ? flops : 0, f == 0 ? bytes : 0);
        for (const SequenceRows& s : batch.sequences) {
          if (s.filter == f) monarch_mix_block(arrays, filter, s.first, s.length, h);
        }
      }
    }
  });
}

template <class T>
void PackedMixerBlockHost::run_by_phase(const T* u, const MixerBatch<T>& batch, T* y, int threads) const {
  static thread_local Scratch memory;
  const int64_t rows = batch.rows(), work_rows = (rows + kRowAlignment - 1) / kRowAlignment * kRowAlignment;
  const int width = group_width(work_rows, sizeof(T));
  const Workspace<T> work(memory.of<T>(Workspace<T>::size(work_rows, hidden_, width)), work_rows, hidden_, width, block_width_);
  const int step = rows_per_task(rows, threads);
  const int64_t tiles = (rows + step - 1) / step;
  auto tile_rows = [&](int64_t tile) { return int(std::min<int64_t>(step, rows - tile * step)); };
  for (int first = 0; first < hidden_; first += width) {
    const ChannelGroup g = group(first, width);
    parallel_for(tiles, threads, [&](int64_t i) { project_in(u + i * step * hidden_, i * step, tile_rows(i), work, g); });
    mix_group(work, g, batch, threads);
  }
  parallel_for(tiles, threads, [&](int64_t i) { project_out(work, i * step, tile_rows(i), y + i * step * hidden_); });
}

namespace {

// All tokens, in parts whose rows, with those before them, fit into a tile.
std::vector<SequencePart> tile_parts(const std::vector<SequenceRows>& sequences) {
  std::vector<SequencePart> parts;
  for (size_t i = 0; i < sequences.size(); ++i) {
    for (int begin = 0; begin < sequences[i].length;) {
      SequencePart part{i, begin, 0};
      part.count = std::min(kTileRows - part.before(), sequences[i].length - begin);
      begin += part.count;
      parts.push_back(part);
    }
  }
  return parts;
}

// Whole sequences that together fill a tile, or a part, are a task: task i is parts [tasks[i], tasks[i + 1]).
std::vector<size_t> tile_tasks(const std::vector<SequenceRows>& sequences, const std::vector<SequencePart>& parts) {
  std::vector<size_t> tasks{0};
  for (size_t i = 1; i < parts.size(); ++i) {
    auto end = [&](size_t part) { return sequences[parts[part].sequence].first + parts[part].begin + parts[part].count; };
    const size_t first = tasks.back();
    const int64_t rows = end(i) - (end(first) - parts[first].count - parts[first].before());
    if (parts[i].begin > 0 || parts[first].begin > 0 || rows > kTileRows) tasks.push_back(i);
  }
  tasks.push_back(parts.size());
  return tasks;
}

}  // namespace

// Fills sums [parts, 2, H], the shares of the parts in the results of both convolutions at their first tokens. Their rows are consecutive.
template <class T>
void PackedMixerBlockHost::sum_parts(const T* u, const std::vector<SequenceRows>& sequences, std::span<const SequencePart> parts,
                                     const std::vector<FirstRowFilters>& filters, float* sums) const {
  static thread_local Scratch memory;
  const ChannelGroup all = group(0, hidden_);
  auto row_of = [&](const SequencePart& part) { return sequences[part.sequence].first + part.begin; };
  const int64_t first = row_of(parts.front()) - parts.front().before();
  const int rows = int(row_of(parts.back()) + parts.back().count - first);
  const int64_t work_rows = round_up(rows);
  const Workspace<T> work(memory.of<T>(Workspace<T>::size(work_rows, hidden_, hidden_)), work_rows, hidden_, hidden_, block_width_);
  project_in(u + first * hidden_, 0, rows, work, all, Thirds::x1_and_v);
  const auto arrays = mix_arrays(work, all);
  const ProfileScope timed(ProfileStage::mixing);
  for (const SequencePart& part : parts) {
    const FirstRowFilters& filter = filters[sequences[part.sequence].filter];
    for (int h = 0; h < hidden_; h += kChannelBlock)
      first_row_sums(arrays, filter, row_of(part) - first, part.begin, part.count, h, sums + h, sums + hidden_ + h);
    sums += 2 * hidden_;
  }
}

// The rows of y from sums [sequences, 2, H], for at most a tile of sequences.
template <class T>
void PackedMixerBlockHost::finish_first(const T* u, std::span<const SequenceRows> sequences, const float* sums, T* y) const {
  static thread_local Scratch memory, inputs;
  const ChannelGroup all = group(0, hidden_);
  const int rows = int(sequences.size()), work_rows = round_up(rows);
  T* firsts = inputs.of<T>(size_t(work_rows) * size_t(hidden_));
  for (int i = 0; i < rows; ++i)
    std::memcpy(firsts + int64_t(i) * hidden_, u + sequences[size_t(i)].first * hidden_, size_t(hidden_) * sizeof(T));
  const Workspace<T> work(memory.of<T>(Workspace<T>::size(work_rows, hidden_, hidden_)), work_rows, hidden_, hidden_, block_width_);
  project_in(firsts, 0, rows, work, all, Thirds::x2);
  const auto arrays = mix_arrays(work, all);
  for (int i = 0; i < rows; ++i) {
    const float* both = sums + int64_t(i) * 2 * hidden_;
    for (int h = 0; h < hidden_; h += kChannelBlock) first_row_gate(arrays, i, h, both + h, both + hidden_ + h);
  }
  project_out(work, 0, rows, y);
}

template <class T>
void PackedMixerBlockHost::run_first(const T* u, const std::vector<SequenceRows>& sequences, const std::vector<FirstRowFilters>& filters,
                                     T* y, int threads) const {
  const auto parts = tile_parts(sequences);
  const auto tasks = tile_tasks(sequences, parts);
  const auto width = 2 * size_t(hidden_);
  std::vector<float> shares(parts.size() * width), sums(sequences.size() * width);
  parallel_for(int64_t(tasks.size()) - 1, threads, [&](int64_t i) {
    const size_t begin = tasks[size_t(i)], end = tasks[size_t(i) + 1];
    sum_parts(u, sequences, std::span(parts).subspan(begin, end - begin), filters, shares.data() + begin * width);
  });
  for (size_t i = 0; i < parts.size(); ++i) {
    for (size_t c = 0; c < width; ++c) sums[parts[i].sequence * width + c] += shares[i * width + c];
  }
  const auto n = int64_t(sequences.size());
  parallel_for((n + kTileRows - 1) / kTileRows, threads, [&](int64_t i) {
    const int64_t begin = i * kTileRows, count = std::min<int64_t>(kTileRows, n - begin);
    finish_first(u, std::span(sequences).subspan(size_t(begin), size_t(count)), sums.data() + size_t(begin) * width, y + begin * hidden_);
  });
}

template void PackedMixerBlockHost::run_first(const float*, const std::vector<SequenceRows>&, const std::vector<FirstRowFilters>&, float*,
                                              int) const;
template void PackedMixerBlockHost::run_first(const uint16_t*, const std::vector<SequenceRows>&, const std::vector<FirstRowFilters>&,
                                              uint16_t*, int) const;

template <class T>
void PackedMixerBlockHost::run(const T* u, const MixerBatch<T>& batch, T* y, int threads) const {
  if (batch.sequences.empty()) return;
  const auto tasks = tile_tasks(batch.sequences);
  const bool packed = std::ranges::all_of(batch.filters, [](const FilterSource<T>& f) { return f.packed; });
  if (packed && longest(batch.sequences) <= kMaxLengthInCache && int(tasks.size()) - 1 >= 2 * threads) {
    run_by_sequence(u, batch, tasks, y, threads);
  } else {
    run_by_phase(u, batch, y, threads);
  }
}

template void PackedMixerBlockHost::run(const float*, const MixerBatch<float>&, float*, int) const;
template void PackedMixerBlockHost::run(const uint16_t*, const MixerBatch<uint16_t>&, uint16_t*, int) const;

}  // namespace m2bert::ops::cpu
