#include "m2bert/ops/backend/cuda/product.h"

#include "m2bert/ops/backend/cuda/channel_major.h"
#include "m2bert/ops/backend/cuda/kernel.h"

namespace m2bert::ops::cuda {

namespace {

constexpr int MOST_POSITIONS = 2048;  // of the kernel: beyond, cuBLASLt is faster by more than a launch costs

// See small_product.cu. Smaller tiles where larger ones would leave most of a GPU idle.
struct Tiles {
  int rows, positions;
  int shared_bytes() const { return 3 * 32 * 2 * (rows + positions); }
};
Tiles tiles_for(int rows, int T) {
  constexpr int many = 128;  // blocks
  const Tiles large{64, 128};
  return rows % large.rows == 0 && rows / large.rows * ceil_div(T, large.positions) >= many ? large : Tiles{32, 64};
}

}  // namespace

std::optional<mx::array> small_product(const mx::array& weight, const mx::array& x, mx::Stream s) {
  const int blocks = weight.ndim() == 3 ? weight.shape(0) : 1, rows = weight.shape(-2), inputs = weight.shape(-1), T = x.shape(1);
  const bool supported =
      x.dtype() == mx::bfloat16 && weight.dtype() == mx::bfloat16 && rows % 64 == 0 && inputs % 8 == 0 && T % 8 == 0 && T > 0;
  if (!supported || x.shape(0) != blocks * inputs) return std::nullopt;
  const auto tiles = tiles_for(blocks * rows, T);
  return run({"small_product", "small_product_" + std::to_string(tiles.rows), blocks * rows / tiles.rows, ceil_div(T, tiles.positions), 128,
              tiles.shared_bytes()},
             {x, weight}, {blocks * rows, T}, x.dtype(), {rows, inputs, T}, s);
}

mx::array product(const mx::array& weight, const mx::array& x, mx::Stream s) {
  if (x.shape(1) <= MOST_POSITIONS) {
    if (const auto y = small_product(weight, x, s)) return *y;
  }
  return multiply(weight, x, s);
}

}  // namespace m2bert::ops::cuda
