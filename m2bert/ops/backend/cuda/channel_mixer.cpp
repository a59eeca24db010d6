#include "m2bert/ops/backend/cuda/channel_mixer.h"

#include <algorithm>
#include <cstdint>
#include <string>
#include <variant>

#include "m2bert/ops/backend/cuda/channel_major.h"
#include "m2bert/ops/backend/cuda/kernel.h"
#include "m2bert/ops/dropout_mask.h"

namespace m2bert::ops::cuda {

namespace {

int ceil_div(int a, int b) { return (a + b - 1) / b; }

// 256 positions by 32 channels a block (gelu_gate.cu).
Launch gate_launch(std::string_view fatbin, std::string kernel, int I, int T) {
  return {fatbin, std::move(kernel), ceil_div(T, 256), ceil_div(I, 32), 256};
}

bool drops(const GateDropout& d) { return d.key && d.p > 0; }

Scalars gate_scalars(int I, int T, const GateDropout& d) {
  if (!drops(d)) return {I, T};
  return {I, T, int(dropout_threshold(d.p)), 1 / (1 - d.p)};
}

// The layout of channel_norm.cu: tiles of 32 positions, or of 16 if the channels are too many for shared memory.
struct NormTiles {
  int H, T;
  int columns() const { return H <= 1152 ? 32 : 16; }
  std::string kernel(std::string name) const { return columns() == 32 ? name : name + "_16"; }
  // Enough to fill any GPU. A fixed number, since the order of a gradient's sums depends on it.
  int blocks() const { return std::min(264, ceil_div(T, columns())); }
  int shared_bytes() const { return columns() * (4 * H + 128); }

  Launch launch(std::string_view name, int extra_bytes = 0) const {
    return {name, kernel(std::string(name)), blocks(), 1, 256, shared_bytes() + extra_bytes};
  }
};

bool is_hopper() {
#ifdef M2BERT_CUDA_SM_90A
  static const bool hopper = [] {
    const auto& info = mx::device_info(mx::Device::gpu);
    const auto name = info.find("architecture");
    return name != info.end() && std::get<std::string>(name->second) == "sm_90";
  }();
  return hopper;
#else
  return false;
#endif
}

}  // namespace

mx::array gelu_gate(const mx::array& x, const GateDropout& d, mx::Stream s) {
  const int I = x.shape(0) / 2, T = x.shape(1);
  if (!drops(d)) return run(gate_launch("gelu_gate", "gelu_gate", I, T), {x}, {I, T}, x.dtype(), gate_scalars(I, T, d), s);
  return run(gate_launch("gelu_gate_dropout", "gelu_gate_dropout", I, T), {x, *d.key}, {I, T}, x.dtype(), gate_scalars(I, T, d), s);
}

std::optional<mx::array> gated_product(const mx::array& weight, const mx::array& x, mx::Stream s) {
  constexpr int inputs = 192, block_rows = 128, positions = 64, stages = 4, multiprocessors = 132;
  if (weight.ndim() != 3) return std::nullopt;
  const int nb = weight.shape(0), rows = weight.shape(1), T = x.shape(1);
  if (nb % 2 != 0 || rows % block_rows != 0 || weight.shape(2) != inputs || T % 8 != 0 || !is_hopper()) return std::nullopt;
  const int row_tiles = rows / block_rows, zones = std::clamp(multiprocessors / row_tiles, 1, ceil_div(T, positions));
  const int blocks = row_tiles * zones, pairs = nb / 2;
  // Two matrices in each stage, two barriers of 8 bytes for each, and what aligning them takes.
  constexpr int shared_bytes = stages * 2 * inputs * positions * 2 + stages * 2 * 8 + 1024;
  return run({"gated_product", "gated_product", blocks, blocks * pairs <= multiprocessors ? pairs : 1, 384, shared_bytes}, {x, weight},
             {pairs * rows, T}, x.dtype(), {nb, rows, T, zones}, s);
}

mx::array gated_up(const mx::array& weight, const mx::array& x, const GateDropout& dropout, mx::Stream s) {
  if (!drops(dropout)) {
    if (const auto h = gated_product(weight, x, s)) return *h;
  }
  return gelu_gate(multiply(weight, x, s), dropout, s);
}

GateGradient gelu_gate_gradient(const mx::array& x, const mx::array& dh, const GateDropout& d, mx::Stream s) {
  const int I = x.shape(0) / 2, T = x.shape(1);
  std::vector<mx::array> inputs{x, dh};
  if (drops(d)) inputs.push_back(*d.key);
  const auto launch = gate_launch("gelu_gate_gradient", drops(d) ? "gelu_gate_gradient_dropout" : "gelu_gate_gradient", I, T);
  const auto out = run(launch, inputs, {x.shape(), {I, T}}, {x.dtype(), x.dtype()}, gate_scalars(I, T, d), s);
  return {out[1], out[0]};
}

bool supports_channel_norm(int H) { return H <= 2048; }

mx::array channel_norm(const mx::array& x, const mx::array& residual, const NormParameters& p, mx::Stream s, NormKernel kernel) {
  const int H = x.shape(0), T = x.shape(1);
  if (kernel == NormKernel::automatic) {
    const bool fits = H <= 768 && T % 8 == 0 && int64_t(H) * T <= UINT32_MAX;
    kernel = fits ? NormKernel::registers : NormKernel::tiles;
  }
  const auto launch = kernel == NormKernel::registers
                          ? Launch{"channel_norm_registers", "channel_norm_registers", ceil_div(T, 32), 1, 256, 2048}
                          : NormTiles{H, T}.launch("channel_norm");
  return run(launch, {x, residual, p.bias, p.weight, p.norm_bias}, {H, T}, x.dtype(), {H, T, p.eps}, s);
}

TrainingNorm channel_norm_training(const mx::array& x, const mx::array& residual, const NormParameters& p, mx::Stream s) {
  const int H = x.shape(0), T = x.shape(1);
  const auto out = run(NormTiles{H, T}.launch("channel_norm_training"), {x, residual, p.bias, p.weight, p.norm_bias},
                       {{H, T}, {H, T}, {2, T}}, {x.dtype(), x.dtype(), mx::float32}, {H, T, p.eps}, s);
  return {out[0], out[1], out[2]};
}

NormGradient channel_norm_gradient(const mx::array& dy, const mx::array& sum, const mx::array& statistics, const mx::array& weight,
                                   mx::Stream s) {
  const int H = sum.shape(0), T = sum.shape(1);
  const NormTiles tiles{H, T};
  const auto out = run(tiles.launch("channel_norm_gradient", 12 * H), {dy, sum, statistics, weight}, {{H, T}, {tiles.blocks(), 3, H}},
                       {sum.dtype(), mx::float32}, {H, T}, s);
  return {out[0], mx::sum(out[1], 0, false, s)};
}

}  // namespace m2bert::ops::cuda
