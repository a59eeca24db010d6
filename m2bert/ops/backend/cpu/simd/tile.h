#pragma once
// How the rows of a batch are cut into tiles, one task of a thread each.
#include <algorithm>
#include <cstdint>

namespace m2bert::ops::cpu {

// The most rows of a tile: what a layer needs for them stays in the second-level cache.
inline constexpr int kTileRows = 128;

// oneDNN's GEMMs with packed weights always compute a multiple of this many rows. Tiles have memory for them; rows past the last one hold
// garbage.
inline constexpr int kRowAlignment = 16;
inline constexpr int round_up(int rows, int multiple = kRowAlignment) { return (rows + multiple - 1) / multiple * multiple; }

// Rows of each task when `rows` of them are shared out to threads: a multiple of `multiple` (at most kTileRows), at most a tile, and chosen
// so that all threads get about as many rows.
inline int rows_per_task(int64_t rows, int threads, int multiple = kRowAlignment) {
  const int most = kTileRows / multiple * multiple;
  const int64_t tiles = (rows + most - 1) / most, tasks = std::max<int64_t>(1, (tiles + threads - 1) / threads * threads);
  return std::min(most, round_up(int((rows + tasks - 1) / tasks), multiple));
}

}  // namespace m2bert::ops::cpu
