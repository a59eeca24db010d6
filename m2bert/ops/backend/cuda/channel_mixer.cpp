#include "m2bert/ops/backend/cuda/channel_mixer.h"

#include <algorithm>
#include <cstdint>
#include <string>

#include "m2bert/ops/backend/cuda/channel_major.h"
#include "m2bert/ops/backend/cuda/kernel.h"
#include "m2bert/ops/backend/cuda/scalar_dtype.h"
#include "m2bert/ops/dropout_mask.h"

namespace m2bert::ops::cuda {

namespace {

// 256 positions by 32 channels a block (gelu_gate.cu).
Launch gate_launch(std::string_view fatbin, std::string kernel, int I, int T) {
  return {fatbin, std::move(kernel), ceil_div(T, 256), ceil_div(I, 32), 256};
}

bool drops(const GateDropout& d) { return d.key && d.p > 0; }

Scalars with_dropout(Scalars scalars, const GateDropout& d) {
  if (drops(d)) scalars.insert(scalars.end(), {int(dropout_threshold(d.p)), 1 / (1 - d.p)});
  return scalars;
}

// Of the usual GPU of an architecture. Kernels that fill it run anywhere.
int multiprocessors() { return architecture() == "sm_80" ? 108 : architecture() == "sm_100" ? 148 : 132; }

// The layout of channel_norm.cu: tiles of 32 positions, or of 16 if the channels are too many for shared memory.
struct NormTiles {
  int H, T;
  static int bytes(int H, int columns) { return columns * (4 * H + 128); }
  static int gradient_bytes(int H, int columns) { return bytes(H, columns) + 12 * H; }
  static bool supported(int H) { return gradient_bytes(H, 16) <= shared_memory_limit(); }

  int columns() const { return gradient_bytes(H, 32) <= shared_memory_limit() ? 32 : 16; }
  // Enough to fill any GPU. A fixed number, since the order of a gradient's sums depends on it.
  int blocks() const { return std::min(264, ceil_div(T, columns())); }

  Launch launch(std::string_view name) const { return launch(name, bytes(H, columns())); }
  Launch gradient_launch(std::string_view name) const { return launch(name, gradient_bytes(H, columns())); }

 private:
  Launch launch(std::string_view name, int shared_bytes) const {
    return {name, std::string(name) + (columns() == 32 ? "" : "_16"), blocks(), 1, 256, shared_bytes};
  }
};

Launch norm_launch(std::string_view name, int H, int T, NormKernel kernel) {
  if (kernel == NormKernel::automatic) {
    const bool fits = H <= 768 && T % 8 == 0 && int64_t(H) * T <= UINT32_MAX;
    kernel = fits ? NormKernel::registers : NormKernel::tiles;
  }
  if (kernel == NormKernel::tiles) return NormTiles{H, T}.launch(name);
  const bool training = name != "channel_norm";
  const std::string_view in_registers = training ? "channel_norm_training_registers" : "channel_norm_registers";
  return {in_registers, std::string(in_registers), ceil_div(T, 32), 1, 256, 2048};
}

bool is_hopper() {
#ifdef M2BERT_CUDA_SM_90A
  return architecture() == "sm_90";
#else
  return false;
#endif
}

// The layout of gated_product.cu and gated_product_mma.cu.
struct ProductSizes {
  static constexpr int INPUTS = 192, BLOCK_ROWS = 128;
  bool blocks;  // whether the weight has any; if not, there is no kernel
  int nb = 0, rows = 0, inputs = 0, T;

  ProductSizes(const mx::array& weight, const mx::array& x) : blocks(weight.ndim() == 3), T(x.shape(1)) {
    if (blocks) nb = weight.shape(0), rows = weight.shape(1), inputs = weight.shape(2);
  }
  bool supported() const { return blocks && nb % 2 == 0 && rows % BLOCK_ROWS == 0 && inputs == INPUTS && T % 8 == 0; }
  bool supports_gradient(const mx::array& down) const {
    return supported() && rows % (2 * BLOCK_ROWS) == 0 && down.shape() == mx::Shape{nb, inputs, rows / 2};
  }
  int I() const { return nb / 2 * rows; }

  // A block has 128 rows and a zone of the positions: as many zones as fill the GPU.
  int zones(int tile) const { return std::clamp(multiprocessors() / (rows / BLOCK_ROWS), 1, ceil_div(T, tile)); }
  Launch launch(std::string_view name, int tile, int threads, int shared_bytes) const {
    const int x = rows / BLOCK_ROWS * zones(tile), pairs = nb / 2;
    return {name, std::string(name), x, x * pairs <= multiprocessors() ? pairs : 1, threads, shared_bytes};
  }
  Scalars scalars(int tile) const { return {nb, rows, T, zones(tile)}; }
};

// Positions of a tile, threads and shared memory of the two forms.
constexpr int WARPGROUP_TILE = 64, WARPGROUP_THREADS = 384, WARPGROUP_BYTES = 8 * 192 * WARPGROUP_TILE * 2 + 1088;
constexpr int WARP_TILE = 128, WARP_THREADS = 256, WARP_BYTES = 128 * 1024;

}  // namespace

mx::array gelu_gate(const mx::array& x, const GateDropout& d, mx::Stream s) {
  const int I = x.shape(0) / 2, T = x.shape(1);
  if (!drops(d)) return run(gate_launch("gelu_gate", "gelu_gate", I, T), {x}, {I, T}, x.dtype(), with_dropout({I, T}, d), s);
  return run(gate_launch("gelu_gate_dropout", "gelu_gate_dropout", I, T), {x, *d.key}, {I, T}, x.dtype(), with_dropout({I, T}, d), s);
}

std::optional<mx::array> gated_product(const mx::array& weight, const mx::array& x, const GateDropout& d, mx::Stream s,
                                       ProductKernel kernel) {
  const ProductSizes sizes(weight, x);
  if (!sizes.supported()) return std::nullopt;
  if (kernel == ProductKernel::automatic) kernel = is_hopper() ? ProductKernel::warpgroups : ProductKernel::warps;
  const bool warps = kernel == ProductKernel::warps;
  if (warps ? WARP_BYTES > shared_memory_limit() : !is_hopper()) return std::nullopt;
  const int tile = warps ? WARP_TILE : WARPGROUP_TILE;
  const std::string_view fatbin = warps ? "gated_product_mma" : drops(d) ? "gated_product_dropout" : "gated_product";
  auto launch = sizes.launch(fatbin, tile, warps ? WARP_THREADS : WARPGROUP_THREADS, warps ? WARP_BYTES : WARPGROUP_BYTES);
  if (warps && drops(d)) launch.kernel += "_dropout";
  std::vector<mx::array> inputs{x, weight};
  if (drops(d)) inputs.push_back(*d.key);
  return run(launch, inputs, {sizes.I(), sizes.T}, x.dtype(), with_dropout(sizes.scalars(tile), d), s);
}

mx::array gated_up(const mx::array& weight, const mx::array& x, const GateDropout& dropout, mx::Stream s) {
  if (const auto h = gated_product(weight, x, dropout, s)) return *h;
  return gelu_gate(multiply(weight, x, s), dropout, s);
}

GateGradient gelu_gate_gradient(const mx::array& x, const mx::array& dh, const GateDropout& d, mx::Stream s) {
  const int I = x.shape(0) / 2, T = x.shape(1);
  std::vector<mx::array> inputs{x, dh};
  if (drops(d)) inputs.push_back(*d.key);
  const auto launch = gate_launch("gelu_gate_gradient", drops(d) ? "gelu_gate_gradient_dropout" : "gelu_gate_gradient", I, T);
  const auto out = run(launch, inputs, {x.shape(), {I, T}}, {x.dtype(), x.dtype()}, with_dropout({I, T}, d), s);
  return {out[1], out[0]};
}

GateGradient gated_up_gradient(const mx::array& weight, const mx::array& x, const mx::array& down, const mx::array& dy,
                               const GateDropout& dropout, mx::Stream s) {
  const ProductSizes sizes(weight, x);
  if (!sizes.supports_gradient(down) || !is_hopper()) {
    return gelu_gate_gradient(multiply(weight, x, s), multiply(mx::swapaxes(down, -1, -2, s), dy, s), dropout, s);
  }
  const auto launch = sizes.launch(drops(dropout) ? "gated_product_gradient_dropout" : "gated_product_gradient", WARPGROUP_TILE,
                                   WARPGROUP_THREADS, WARPGROUP_BYTES);
  std::vector<mx::array> inputs{x, weight, dy, down};
  if (drops(dropout)) inputs.push_back(*dropout.key);
  const auto out = run(launch, inputs, {{sizes.I(), sizes.T}, {2 * sizes.I(), sizes.T}}, {x.dtype(), x.dtype()},
                       with_dropout(sizes.scalars(WARPGROUP_TILE), dropout), s);
  return {out[0], out[1]};
}

bool supports_channel_norm(int H) { return NormTiles::supported(H); }

mx::array channel_norm(const mx::array& x, const mx::array& residual, const NormParameters& p, mx::Stream s, NormKernel kernel) {
  const int H = x.shape(0), T = x.shape(1);
  return run(norm_launch("channel_norm", H, T, kernel), {x, residual, p.bias, p.weight, p.norm_bias}, {H, T}, x.dtype(), {H, T, p.eps}, s);
}

TrainingNorm channel_norm_training(const mx::array& x, const mx::array& residual, const NormParameters& p, mx::Stream s,
                                   NormKernel kernel) {
  const int H = x.shape(0), T = x.shape(1);
  const auto out = run(norm_launch("channel_norm_training", H, T, kernel), {x, residual, p.bias, p.weight, p.norm_bias},
                       {{H, T}, {H, T}, {2, T}}, {x.dtype(), x.dtype(), mx::float32}, {H, T, p.eps}, s);
  return {out[0], out[1], out[2]};
}

NormGradient channel_norm_gradient(const mx::array& dy, const mx::array& sum, const mx::array& statistics, const mx::array& weight,
                                   mx::Stream s) {
  const int H = sum.shape(0), T = sum.shape(1);
  const NormTiles tiles{H, T};
  const auto out = run(tiles.gradient_launch("channel_norm_gradient"), {dy, sum, statistics, weight}, {{H, T}, {tiles.blocks(), 3, H}},
                       {sum.dtype(), mx::float32}, {H, T}, s);
  return {out[0], out[1]};
}

namespace {

// As the kernels take them; the weight in the place of a bias that is not there.
struct NormArrays {
  mx::array bias, weight, norm_bias;

  NormArrays(const std::optional<mx::array>& b, const mx::array& w, const mx::array& nb, mx::Stream s)
      : bias(float_array(b.value_or(w), s)), weight(float_array(w, s)), norm_bias(float_array(nb, s)) {}
  int H() const { return int(weight.size()); }
  int wide() const { return wide_bits({bias, weight, norm_bias}); }
};

}  // namespace

NormParameters norm_parameters(const std::optional<mx::array>& bias, const mx::array& weight, const mx::array& norm_bias, float eps,
                               mx::Stream s) {
  const NormArrays in(bias, weight, norm_bias, s);
  constexpr int threads = 256;
  const auto all = run({"norm_parameters", "norm_parameters", ceil_div(in.H(), threads), 1, threads}, {in.bias, in.weight, in.norm_bias},
                       {3, in.H()}, mx::float32, {in.H(), in.wide(), bias.has_value()}, s);
  auto row = [&](int i) { return mx::reshape(mx::slice(all, {i, 0}, {i + 1, in.H()}, s), {in.H()}, s); };
  return {row(0), row(1), row(2), eps};
}

std::vector<mx::array> norm_parameter_gradients(const mx::array& parameters, const std::optional<mx::array>& bias, const mx::array& weight,
                                                const mx::array& norm_bias, mx::Stream s) {
  const NormArrays in(bias, weight, norm_bias, s);
  constexpr int threads = 256;
  const auto out =
      run({"norm_parameters", "norm_parameter_gradients", ceil_div(in.H(), 32), 1, threads, 8 * 3 * 32 * 4}, {parameters},
          {in.bias.shape(), in.weight.shape(), in.norm_bias.shape()}, {in.bias.dtype(), in.weight.dtype(), in.norm_bias.dtype()},
          {in.H(), parameters.shape(0), in.wide(), bias.has_value()}, s);
  std::vector<mx::array> gradients{mx::astype(out[1], weight.dtype(), s), mx::astype(out[2], norm_bias.dtype(), s)};
  if (bias) gradients.push_back(mx::astype(out[0], bias->dtype(), s));
  return gradients;
}

}  // namespace m2bert::ops::cuda
