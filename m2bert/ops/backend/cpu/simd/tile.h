#pragma once
// How the rows of a batch are cut into tiles, one task of a thread each.
#include <cstdint>

namespace m2bert::ops::cpu {

// The most rows of a tile: what a layer needs for them stays in the second-level cache.
inline constexpr int kTileRows = 128;

// oneDNN's GEMMs with packed weights always compute a multiple of this many rows. Tiles have memory for them; rows past the last one hold garbage.
inline constexpr int kRowAlignment = 16;
inline constexpr int round_up(int rows, int multiple = kRowAlignment) { return (rows + multiple - 1) / multiple * multiple; }

// Rows of each task when `rows` of them are shared out to threads: a tile, or fewer if there is not a tile for each thread.
inline int rows_per_task(int64_t rows, int threads) {
  const int64_t share = (rows + threads - 1) / threads;
  return share >= kTileRows ? kTileRows : round_up(int(share));
}

}  // namespace m2bert::ops::cpu
