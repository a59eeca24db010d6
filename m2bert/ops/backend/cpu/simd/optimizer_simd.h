#pragma once
// Loops over parameters and gradients on all threads. The arrays of one call are cut into blocks that the threads share, so that many small
// arrays cost no more than one large one. Results do not depend on the number of threads. Host memory only; thread-safe for different
// arrays.
#include <cstdint>
#include <vector>

namespace m2bert::ops::cpu {

// One parameter of an AdamW update: p, m, v from p_from, m_from, v_from, which may be the same memory.
struct AdamWSpan {
  const float *p_from, *m_from, *v_from, *g;
  float *p, *m, *v;
  int64_t size;
  float step;  // factor of m / (sqrt(v) root_scale + eps)
  float keep;  // factor of p before the step: 1 - decay
};

struct AdamWConstants {
  float beta1, beta2, eps;
  float root_scale;  // factor of sqrt(v)
  float g_scale, g_limit;
};

// g = clamp(g g_scale, g_limit); m = beta1 m + (1 - beta1) g; v = beta2 v + (1 - beta2) g^2; p = keep p - step m / (sqrt(v) root_scale +
// eps).
void adamw_spans(const std::vector<AdamWSpan>& spans, const AdamWConstants& c, int threads);

struct ConstSpan {
  const float* at;
  int64_t size;
};

// The sum of all squares, in float within a block and in double over the blocks, which are added in order.
double sum_of_squares(const std::vector<ConstSpan>& spans, int threads);

struct AxpbySpan {
  const float *y_from, *x;
  float* y;
  int64_t size;
};

// y = a y_from + b x
void axpby_spans(const std::vector<AxpbySpan>& spans, float a, float b, int threads);

}  // namespace m2bert::ops::cpu
