#pragma once
// The update of AdamW. Source: torch.optim.AdamW; Composer's DecoupledAdamW is the same with another `decay`.
#include <limits>
#include <optional>
#include <vector>

#include "m2bert/mx.h"

namespace m2bert::ops {

// A trained array, its gradient and its moments: float32, one shape.
struct AdamWParameter {
  mx::array* value;
  mx::array* gradient;
  mx::array* m;
  mx::array* v;
  double learning_rate;
  double decay;  // weight decay before the step: value *= 1 - decay
};

struct AdamWOptions {
  double beta1 = 0.9, beta2 = 0.999, eps = 1e-8;
  int64_t step = 1;                                                 // counts from 1, for the bias correction of the moments
  double gradient_scale = 1;                                        // clipping by norm: first multiplies every gradient; NaN: no update
  double gradient_limit = std::numeric_limits<double>::infinity();  // clipping by value: then clips to [-limit, limit]
  std::optional<mx::array> scale_array = {};  // takes the place of gradient_scale: a float32 scalar, which the device may still compute
};

// 1 - beta^step, the divisor of a moment.
double bias_correction(double beta, int64_t step);

// Updates all parameters. Starts immediately, outside MLX's graph:
//   m = beta1 m + (1 - beta1) g,  v = beta2 v + (1 - beta2) g^2,
//   value = (1 - decay) value - learning_rate / (1 - beta1^step) m / (sqrt(v / (1 - beta2^step)) + eps).
// Kernels make one pass over each parameter, and write value, m and v in place if nothing else refers to them; copies never change. Throws
// Error if shapes differ or a dtype is not float32.
void adamw_update(const std::vector<AdamWParameter>& parameters, const AdamWOptions& options, mx::StreamOrDevice s = {});

void adamw_update_fallback(const std::vector<AdamWParameter>& parameters, const AdamWOptions& options, mx::StreamOrDevice s = {});

}  // namespace m2bert::ops
