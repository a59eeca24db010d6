#pragma once
// The kernels of the channel mixer as MLX operations without gradients, on channel-major bfloat16 arrays.
#include <optional>

#include "m2bert/mx.h"

namespace m2bert::ops::cuda {

// Dropout of the gate's result, as ops::dropout does it; none without a key.
struct GateDropout {
  float p = 0;
  std::optional<mx::array> key;
};

// h [I, T] = dropout(gelu(a) * b) for the halves a, b of x [2 I, T].
mx::array gelu_gate(const mx::array& x, const GateDropout& dropout, mx::Stream s);

// Warpgroups: for Hopper. Warps: for any GPU.
enum class ProductKernel { automatic, warpgroups, warps };

// dropout(gelu(a) * b) for the halves a, b of weight x, in one kernel; weight [nb, 2 I / nb, 192], x [nb 192, T]. Null if the kernel does
// not take these shapes, or not on this GPU: it wants blocks of a multiple of 128 rows, and a multiple of 8 positions.
std::optional<mx::array> gated_product(const mx::array& weight, const mx::array& x, const GateDropout& dropout, mx::Stream s,
                                       ProductKernel kernel = ProductKernel::automatic);

// dropout(gelu(a) * b) for the halves a, b of weight x, the fastest way; weight [out, in] or [nb, out / nb, in / nb].
mx::array gated_up(const mx::array& weight, const mx::array& x, const GateDropout& dropout, mx::Stream s);

// h once more, and the gradient of x, from the gradient of h.
struct GateGradient {
  mx::array h, dx;
};
GateGradient gelu_gate_gradient(const mx::array& x, const mx::array& dh, const GateDropout& dropout, mx::Stream s);

// The same from x, the input of weight, and dy, the gradient of down h: multiplies by weight and down. In one kernel where gated_product()
// is.
GateGradient gated_up_gradient(const mx::array& weight, const mx::array& x, const mx::array& down, const mx::array& dy,
                               const GateDropout& dropout, mx::Stream s);

// All float32 [H].
struct NormParameters {
  mx::array bias, weight, norm_bias;
  float eps;
};
// Of arrays of any dtype; zeros where there is no bias.
NormParameters norm_parameters(const std::optional<mx::array>& bias, const mx::array& weight, const mx::array& norm_bias, float eps,
                               mx::Stream s);

// Whether the norm kernels take H channels.
bool supports_channel_norm(int H);

// Registers: at most 768 channels and 2^32 values, a multiple of 8 positions. Tiles: whatever supports_channel_norm() allows.
enum class NormKernel { automatic, registers, tiles };

// norm(x + bias + residual) * weight + norm_bias over the channels; x, residual [H, T].
mx::array channel_norm(const mx::array& x, const mx::array& residual, const NormParameters& p, mx::Stream s,
                       NormKernel kernel = NormKernel::automatic);

// The same, and what the gradient needs: sum = x + bias + residual, statistics float32 [2, T].
struct TrainingNorm {
  mx::array y, sum, statistics;
};
TrainingNorm channel_norm_training(const mx::array& x, const mx::array& residual, const NormParameters& p, mx::Stream s,
                                   NormKernel kernel = NormKernel::automatic);

// The gradient of sum, and those of weight, norm_bias and bias as the rows of parameters, float32 [parts, 3, H] to add up. Deterministic.
struct NormGradient {
  mx::array sum, parameters;
};
NormGradient channel_norm_gradient(const mx::array& dy, const mx::array& sum, const mx::array& statistics, const mx::array& weight,
                                   mx::Stream s);
// From these, the gradients of norm_parameters()'s arrays: weight, norm_bias and, if there is one, bias.
std::vector<mx::array> norm_parameter_gradients(const mx::array& parameters, const std::optional<mx::array>& bias, const mx::array& weight,
                                                const mx::array& norm_bias, mx::Stream s);

}  // namespace m2bert::ops::cuda
