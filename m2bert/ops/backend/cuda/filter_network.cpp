#include "m2bert/ops/filter_network.h"

#include "m2bert/ops/backend/cuda/cuda_backend.h"
#include "m2bert/ops/backend/cuda/kernel.h"

namespace m2bert::ops {

namespace {

using Arrays = std::vector<mx::array>;

constexpr int THREADS = 256, WIDTH = 128, ROWS = 16, TILE = 16;  // of filter_network.cu
constexpr int SHARED_BYTES = 4 * (32 * (WIDTH + 1) + ROWS * 32 + ROWS * WIDTH), SUMS_SHARED_BYTES = 4 * 3 * 64 * TILE;

int ceil_div(int a, int b) { return (a + b - 1) / b; }

// in: x, weight, bias, freq. Returns the gradients of all four.
Arrays sine_gradients(const Arrays& in, const mx::array& dy, mx::Stream s) {
  const auto &x = in[0], &weight = in[1];
  const int rows = x.shape(0), width = x.shape(1), out = weight.shape(0);
  const std::vector dtypes(3, mx::float32);
  const cuda::Scalars sizes{rows, width, out};
  auto inputs = in;
  inputs.push_back(dy);
  const auto by_row = cuda::run({"filter_network", "sine_linear_gradient", ceil_div(rows, ROWS), 1, THREADS, SHARED_BYTES}, inputs,
                                {x.shape(), {rows, out}, {rows, out}}, dtypes, sizes, s);
  const auto sums =
      cuda::run({"filter_network", "sine_linear_sums", ceil_div(width, TILE), ceil_div(out, TILE), THREADS, SUMS_SHARED_BYTES},
                {x, by_row[1], by_row[2]}, {weight.shape(), {out}, {out}}, dtypes, sizes, s);
  return {by_row[0], sums[0], sums[1], sums[2]};
}

mx::array decay(const mx::array& x, const mx::array& times, const mx::array& deltas, mx::Stream s) {
  const int size = int(x.size());
  return cuda::run({"filter_network", "exponential_decay", ceil_div(size, THREADS), 1, THREADS}, {x, times, deltas}, x.shape(),
                   mx::float32, {x.shape(0), x.shape(1)}, s);
}

}  // namespace

Backend::Array CudaBackend::sine_linear(const mx::array& x, const mx::array& weight, const mx::array& bias, const mx::array& freq,
                                        mx::Stream s) const {
  const int rows = x.shape(0), in = x.shape(1), out = weight.shape(0);
  if (x.size() == 0 || in > WIDTH || out > WIDTH) return {};
  auto forward = [=](const Arrays& all) {
    return Arrays{cuda::run({"filter_network", "sine_linear", ceil_div(rows, ROWS), 1, THREADS, SHARED_BYTES}, all, {rows, out},
                            mx::float32, {rows, in, out}, s)};
  };
  auto backward = [s](const Arrays& all, const Arrays& cotangents, const Arrays&) { return sine_gradients(all, cotangents[0], s); };
  auto floats = [s](const mx::array& a) { return mx::astype(a, mx::float32, s); };
  return mx::custom_vjp(forward, backward)({floats(x), floats(weight), floats(bias), floats(freq)})[0];
}

// The decay is a constant here; with a gradient for it, the fallback.
Backend::Array CudaBackend::exponential_decay(const mx::array& x, const mx::array& times, const mx::array& deltas, mx::Stream s) const {
  if (x.size() == 0 || times.is_tracer() || deltas.is_tracer()) return {};
  const auto t = mx::astype(times, mx::float32, s), d = mx::astype(deltas, mx::float32, s);
  auto forward = [=](const Arrays& in) { return Arrays{decay(in[0], t, d, s)}; };
  auto backward = [=](const Arrays&, const Arrays& cotangents, const Arrays&) { return Arrays{decay(cotangents[0], t, d, s)}; };
  return mx::custom_vjp(forward, backward)({mx::astype(x, mx::float32, s)})[0];
}

}  // namespace m2bert::ops
