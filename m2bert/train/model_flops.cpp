#include "m2bert/train/model_flops.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "m2bert/ops/linear.h"

namespace m2bert::train {

namespace {

// Of a token in one layer, forward.
double mixer_flops(const models::Config& c, double length) {
  const double h = c.hidden_size, projections = 2 * h * 4 * h;  // in: 3 h, out: h, in each kind of layer
  if (!c.monarch_mixer_sequence_mixing) return projections + 4 * length * h;
  // A real transform of 2 L values takes 2.5 * 2 L log2(2 L); each convolution has one there and one back.
  const double transform = 2.5 * 2 * std::log2(2 * length);
  return projections + h * 2 * transform * (c.residual_long_conv ? 2 : 1);
}

double mlp_flops(const models::Config& c) {
  const double h = c.hidden_size, i = c.intermediate_size;
  const bool m2 = c.family == models::Family::m2;
  const double blocks = m2 && c.use_monarch_mlp ? c.monarch_mlp_nblocks : 1;
  return 2 * h * i * (m2 && c.use_glu_mlp ? 3 : 2) / blocks;
}

}  // namespace

double training_flops(const models::Config& c, int64_t rows, int64_t length, double head) {
  const double tokens = double(rows) * double(length);
  const double encoder = c.num_hidden_layers * (mixer_flops(c, double(length)) + mlp_flops(c));
  return 3 * (tokens * encoder + head);
}

double measured_peak_flops(mx::Dtype dtype) {
  constexpr int n = 1536;
  const auto a = mx::astype(mx::random::normal({n, n}, mx::float32, 0, 1, mx::random::key(1)), dtype);
  mx::eval(a);
  double best = 0;
  double all = 0;
  for (int i = 0; i < 4 || (all < 0.3 && i < 100); ++i) {  // the first one warms up; other programs may slow others down
    const auto start = std::chrono::steady_clock::now();
    mx::eval(ops::linear(a, a, std::nullopt));
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    best = std::max(best, 1 / seconds);
    all += seconds;
  }
  return best * 2 * double(n) * n * n;
}

}  // namespace m2bert::train
