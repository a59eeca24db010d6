// The CUDA kernels of the channel mixer, LayerNorm and the embedding, run on the CPU (emulation.h), against their definitions in double
// precision.
#include "tests/ops/backend/cuda/emulation.h"
//
#include "m2bert/ops/backend/cuda/channel_norm.cu"
#include "m2bert/ops/backend/cuda/embedding_norm.cu"
#include "m2bert/ops/backend/cuda/gated_product.cu"
#include "m2bert/ops/backend/cuda/gated_product_mma.cu"
#include "m2bert/ops/backend/cuda/gelu.cu"
#include "m2bert/ops/backend/cuda/gelu_gate.cu"
#include "m2bert/ops/backend/cuda/layer_norm.cu"

#include <gtest/gtest.h>

#include <numbers>
#include <random>

namespace m2bert::ops::cuda {
namespace {

using Values = std::vector<BFloat16>;

BFloat16 rounded(double x) { return from_float<BFloat16>(float(x)); }

Values random_values(size_t n, float scale, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, scale);
  Values x;
  for (size_t i = 0; i < n; ++i) x.push_back(rounded(normal(random)));
  return x;
}
Values unwritten(size_t n) { return Values(n, rounded(777)); }

// What the rounding of a result may change, and `slack`.
void expect_rounded(BFloat16 x, double want, double slack, const std::string& at) {
  ASSERT_NEAR(to_float(x), want, 4e-3 * std::abs(want) + slack) << at;
}

// Dropout of values [T, I] by the definition in dropout_mask.h.
struct TestDropout {
  static constexpr float p = 0.3f, scale = 1 / (1 - p);
  uint32_t key[2] = {12345, 0xfedcba98u};

  int threshold() const { return int(dropout_threshold(p)); }
  double factor(int i, int t, int I) const {
    auto mix = [](uint32_t x) {
      x = (x ^ (x >> 16)) * 0x85ebca6bu;
      x = (x ^ (x >> 13)) * 0xc2b2ae35u;
      return x ^ (x >> 16);
    };
    const uint32_t index = uint32_t(t) * uint32_t(I) + uint32_t(i), line = index / kDropoutLine;
    const uint32_t hash = mix(index % kDropoutLine * (mix(key[1] + line) | 1) + mix(key[0] + line));
    return hash >= dropout_threshold(p) ? 1 / (1.0 - p) : 0;
  }
};

// A gate of I channels and T positions, with or without dropout.
struct Gate {
  int I, T;
  bool drops = false;
  Values x = random_values(size_t(2) * I * T, 2, 1), dh = random_values(size_t(I) * T, 1, 2);
  Values h = unwritten(dh.size()), dx = unwritten(x.size());
  TestDropout dropout;

  emulation::Index grid() const { return {unsigned(T + 255) / 256, unsigned(I + 31) / 32, 1}; }
  double factor(int i, int t) const { return drops ? dropout.factor(i, t, I) : 1; }

  void forward() {
    emulation::launch(grid(), 256, 0, [&] {
      if (drops) {
        gelu_gate_dropout(x.data(), dropout.key, h.data(), I, T, dropout.threshold(), dropout.scale);
      } else {
        gelu_gate(x.data(), h.data(), I, T);
      }
    });
  }
  void backward() {
    emulation::launch(grid(), 256, 0, [&] {
      if (drops) {
        gelu_gate_gradient_dropout(x.data(), dh.data(), dropout.key, dx.data(), h.data(), I, T, dropout.threshold(), dropout.scale);
      } else {
        gelu_gate_gradient(x.data(), dh.data(), dx.data(), h.data(), I, T);
      }
    });
  }
  void check(bool gradients) const {
    for (int i = 0; i < I; ++i) {
      for (int t = 0; t < T; ++t) {
        const size_t at = size_t(i) * T + t;
        const double a = to_float(x[at]), b = to_float(x[dh.size() + at]), d = to_float(dh[at]) * factor(i, t);
        const double cdf = 0.5 * (1 + std::erf(a / std::numbers::sqrt2));
        const double derivative = cdf + a * std::exp(-a * a / 2) / std::sqrt(2 * std::numbers::pi);
        const auto name = std::to_string(I) + "x" + std::to_string(T) + " at " + std::to_string(i) + ", " + std::to_string(t);
        expect_rounded(h[at], a * cdf * b * factor(i, t), 6e-5 * std::abs(b), name + ": h");
        if (!gradients) continue;
        expect_rounded(dx[at], d * b * derivative, 1e-4 * std::abs(d * b), name + ": da");
        expect_rounded(dx[dh.size() + at], d * a * cdf, 6e-5 * std::abs(d), name + ": db");
      }
    }
  }
};

TEST(CudaGeluGate, EqualsItsDefinition) {
  for (const bool drops : {false, true}) {
    for (const auto& [I, T] : {std::pair{32, 1}, {48, 7}, {40, 264}, {33, 275}, {3072, 5}}) {
      Gate g{I, T, drops};
      g.forward();
      g.check(false);
    }
  }
}

TEST(CudaGeluGate, GradientEqualsItsDefinition) {
  for (const bool drops : {false, true}) {
    for (const auto& [I, T] : {std::pair{32, 1}, {48, 7}, {40, 264}, {33, 275}, {3072, 5}}) {
      Gate g{I, T, drops};
      g.backward();
      g.check(true);
    }
  }
}

TEST(CudaGelu, EqualsItsDefinition) {
  for (const int n : {1, 8, 2500}) {
    auto x = random_values(size_t(n), 3, 1);
    if (n > 4) x[1] = rounded(3e4f), x[2] = rounded(-3e4f);
    const auto dy = random_values(size_t(n), 1, 2);
    auto y = unwritten(size_t(n)), dx = y;
    emulation::launch({2, 1, 1}, 256, 0, [&] { gelu_values(x.data(), y.data(), n); });
    emulation::launch({2, 1, 1}, 256, 0, [&] { gelu_values_gradient(x.data(), dy.data(), dx.data(), n); });
    for (size_t i = 0; i < size_t(n); ++i) {
      const double a = to_float(x[i]), d = to_float(dy[i]), cdf = 0.5 * (1 + std::erf(a / std::numbers::sqrt2));
      expect_rounded(y[i], a * 0.5 * std::erfc(-a / std::numbers::sqrt2), 1e-12, std::to_string(i));
      expect_rounded(dx[i], d * (cdf + a * std::exp(-a * a / 2) / std::sqrt(2 * std::numbers::pi)), 2e-4 * std::abs(d), std::to_string(i));
    }
  }
}

TEST(CudaGeluGate, TakesLargeValues) {
  Gate g{8, 8};
  const float extremes[] = {0, 40, -40, 3e4f, -3e4f, 9, -9};
  for (int i = 0; i < 7; ++i) g.x[size_t(i)] = rounded(extremes[i]);
  g.forward();
  g.check(false);
  g.backward();
  g.check(true);
}

// The gate behind its product, or both gradients, of nb blocks with `rows` rows.
struct GatedBlocks {
  static constexpr int K = 192;
  int nb, rows, T, zones, passes;
  bool drops = false;
  TestDropout dropout{};
  Values x = random_values(size_t(nb) * K * T, 1, 1), weight = random_values(size_t(nb) * rows * K, 0.1f, 2);
  Values dy = random_values(x.size(), 1, 3), down = random_values(size_t(nb) * K * rows / 2, 0.1f, 4);
  Values h = unwritten(size_t(nb) / 2 * rows * T), dg = unwritten(2 * h.size());

  template <typename Kernel>
  void launch(Kernel kernel) const {
    emulation::launch({unsigned(rows / 128 * zones), unsigned(passes), 1}, 384, 8 * 24576 + 1088, kernel);
  }
  double product(int block, int row, int t) const {
    double sum = 0;
    for (int k = 0; k < K; ++k) {
      sum += double(to_float(weight[(size_t(block) * rows + row) * K + k])) * to_float(x[(size_t(block) * K + k) * T + t]);
    }
    return sum;
  }
  double down_gradient(int row, int t) const {  // of row `row` of h
    const int block = row / (rows / 2);
    double sum = 0;
    for (int k = 0; k < K; ++k) {
      sum +=
          double(to_float(down[(size_t(block) * K + k) * (rows / 2) + row % (rows / 2)])) * to_float(dy[(size_t(block) * K + k) * T + t]);
    }
    return sum;
  }
  void check(bool gradients) const {
    for (int p = 0; p < nb / 2; ++p) {
      for (int row = 0; row < rows; row += 1 + T / 100) {
        for (int t = 0; t < T; ++t) {
          const double a = product(p, row, t), b = product(p + nb / 2, row, t), cdf = 0.5 * (1 + std::erf(a / std::numbers::sqrt2));
          const size_t at = size_t(p * rows + row) * T + t;
          const auto name = std::to_string(p) + ", " + std::to_string(row) + ", " + std::to_string(t);
          const double factor = drops ? dropout.factor(p * rows + row, t, nb / 2 * rows) : 1;
          expect_rounded(h[at], a * cdf * b * factor, 1e-4 * (std::abs(a) + std::abs(b)), name + ": h");
          if (!gradients) continue;
          const double d = down_gradient(p * rows + row, t) * factor;
          const double derivative = cdf + a * std::exp(-a * a / 2) / std::sqrt(2 * std::numbers::pi);
          expect_rounded(dg[at], d * b * derivative, 2e-4 * (std::abs(d) + std::abs(b)), name + ": da");
          expect_rounded(dg[h.size() + at], d * a * cdf, 2e-4 * (std::abs(d) + std::abs(a)), name + ": db");
        }
      }
    }
  }
};

TEST(CudaGatedProduct, EqualsItsDefinition) {
  for (auto c : {GatedBlocks{2, 128, 8, 1, 1}, {4, 256, 72, 2, 2}, {4, 128, 712, 2, 1}, {6, 128, 200, 3, 2}}) {
    c.launch([&] { gated_product(c.x.data(), c.weight.data(), c.h.data(), c.nb, c.rows, c.T, c.zones); });
    c.check(false);
  }
}

TEST(CudaGatedProduct, Dropout) {
  for (auto c : {GatedBlocks{2, 128, 8, 1, 1, true}, {4, 256, 72, 2, 2, true}, {6, 128, 200, 3, 2, true}}) {
    c.launch([&] {
      gated_product_dropout(c.x.data(), c.weight.data(), c.dropout.key, c.h.data(), c.nb, c.rows, c.T, c.zones, c.dropout.threshold(),
                            c.dropout.scale);
    });
    c.check(false);
  }
}

TEST(CudaGatedProduct, DropoutByWarps) {
  for (auto c : {GatedBlocks{2, 128, 8, 1, 1, true}, {6, 128, 200, 2, 2, true}}) {
    emulation::launch({unsigned(c.rows / 128 * c.zones), unsigned(c.passes), 1}, 256, 128 * 1024, [&] {
      gated_product_mma_dropout(c.x.data(), c.weight.data(), c.dropout.key, c.h.data(), c.nb, c.rows, c.T, c.zones, c.dropout.threshold(),
                                c.dropout.scale);
    });
    c.check(false);
  }
}

TEST(CudaGatedProduct, DropoutGradient) {
  for (auto c : {GatedBlocks{2, 256, 8, 1, 1, true}, {4, 256, 392, 2, 1, true}}) {
    c.launch([&] {
      gated_product_gradient_dropout(c.x.data(), c.weight.data(), c.dy.data(), c.down.data(), c.dropout.key, c.h.data(), c.dg.data(), c.nb,
                                     c.rows, c.T, c.zones, c.dropout.threshold(), c.dropout.scale);
    });
    c.check(true);
  }
}

TEST(CudaGatedProduct, ByWarps) {
  for (auto c : {GatedBlocks{2, 128, 8, 1, 1}, {4, 256, 72, 1, 2}, {4, 128, 712, 2, 1}, {6, 128, 200, 2, 2}}) {
    emulation::launch({unsigned(c.rows / 128 * c.zones), unsigned(c.passes), 1}, 256, 128 * 1024,
                      [&] { gated_product_mma(c.x.data(), c.weight.data(), c.h.data(), c.nb, c.rows, c.T, c.zones); });
    c.check(false);
  }
}

TEST(CudaGatedProduct, GradientEqualsItsDefinition) {
  for (auto c : {GatedBlocks{2, 256, 8, 1, 1}, {4, 512, 72, 2, 2}, {4, 256, 392, 2, 1}, {6, 256, 200, 3, 2}}) {
    c.launch([&] {
      gated_product_gradient(c.x.data(), c.weight.data(), c.dy.data(), c.down.data(), c.h.data(), c.dg.data(), c.nb, c.rows, c.T, c.zones);
    });
    c.check(true);
  }
}

// A norm of H channels and T positions; the first position has an offset, the second one a spike.
struct Norm {
  int H, T;
  Values x = random_values(size_t(H) * T, 1, 2), residual = random_values(size_t(H) * T, 2, 3), dy = random_values(size_t(H) * T, 1, 4);
  Values y = unwritten(x.size()), sum = y, dx = y;
  std::vector<float> bias, weight, norm_bias, statistics = std::vector<float>(size_t(2) * T, 777.0f), partial;

  Norm(int channels, int positions) : H(channels), T(positions) {
    for (int h = 0; h < H; ++h) {
      bias.push_back(0.01f * float(h % 17)), weight.push_back(1 + 0.1f * float(h % 5)), norm_bias.push_back(0.1f * float(h % 7));
      residual[size_t(h) * T] = rounded(100 + to_float(residual[size_t(h) * T]));
    }
    if (T > 1) residual[size_t(H / 2) * T + 1] = rounded(1000);
  }
  int columns() const { return H <= 1152 ? 32 : 16; }
  unsigned tiles() const { return unsigned(T + columns() - 1) / columns(); }
  size_t shared_bytes() const { return size_t(columns()) * (4 * size_t(H) + 128); }

  void forward(unsigned blocks) {
    const auto kernel = columns() == 32 ? channel_norm : channel_norm_16;
    emulation::launch({blocks, 1, 1}, 256, shared_bytes(),
                      [&] { kernel(x.data(), residual.data(), bias.data(), weight.data(), norm_bias.data(), y.data(), H, T, 1e-12f); });
  }
  void forward_in_registers() {
    emulation::launch({tiles(), 1, 1}, 256, 2048, [&] {
      channel_norm_registers(x.data(), residual.data(), bias.data(), weight.data(), norm_bias.data(), y.data(), H, T, 1e-12f);
    });
  }
  void training_in_registers() {
    emulation::launch({tiles(), 1, 1}, 256, 2048, [&] {
      channel_norm_training_registers(x.data(), residual.data(), bias.data(), weight.data(), norm_bias.data(), y.data(), sum.data(),
                                      statistics.data(), H, T, 1e-12f);
    });
  }
  void training(unsigned blocks) {
    const auto kernel = columns() == 32 ? channel_norm_training : channel_norm_training_16;
    emulation::launch({blocks, 1, 1}, 256, shared_bytes(), [&] {
      kernel(x.data(), residual.data(), bias.data(), weight.data(), norm_bias.data(), y.data(), sum.data(), statistics.data(), H, T,
             1e-12f);
    });
  }
  void backward(unsigned blocks) {
    partial.assign(size_t(3) * H * blocks, 777.0f);
    const auto kernel = columns() == 32 ? channel_norm_gradient : channel_norm_gradient_16;
    emulation::launch({blocks, 1, 1}, 256, shared_bytes() + 12 * size_t(H),
                      [&] { kernel(dy.data(), sum.data(), statistics.data(), weight.data(), dx.data(), partial.data(), H, T); });
  }

  struct Position {
    std::vector<double> v;  // the norm's input
    double mean = 0, scale = 0;
  };
  Position position(int t) const {
    Position p;
    double variance = 0;
    for (int h = 0; h < H; ++h) {
      p.v.push_back(double(to_float(x[size_t(h) * T + t])) + to_float(residual[size_t(h) * T + t]) + bias[size_t(h)]);
      p.mean += p.v.back() / H;
    }
    for (const double value : p.v) variance += (value - p.mean) * (value - p.mean) / H;
    p.scale = 1 / std::sqrt(variance);
    return p;
  }
  void check_forward() const {
    for (int t = 0; t < T; ++t) {
      const auto p = position(t);
      for (int h = 0; h < H; ++h) {
        expect_rounded(y[size_t(h) * T + t], (p.v[size_t(h)] - p.mean) * p.scale * weight[size_t(h)] + norm_bias[size_t(h)], 1e-4,
                       std::to_string(H) + "x" + std::to_string(T) + " at " + std::to_string(h) + ", " + std::to_string(t));
      }
    }
  }
  void check_saved() const {
    for (int t = 0; t < T; ++t) {
      const auto p = position(t);
      for (int h = 0; h < H; ++h) expect_rounded(sum[size_t(h) * T + t], p.v[size_t(h)], 0, "sum");
      ASSERT_NEAR(statistics[size_t(t)], p.mean, 1e-5 * (1 + std::abs(p.mean)));
      ASSERT_NEAR(statistics[size_t(T + t)], p.scale, 1e-4 * p.scale);
    }
  }
  // Of the sums as they were saved.
  void check_gradients(unsigned blocks) const {
    std::vector<double> parameters(size_t(3) * H), size = parameters;
    for (int t = 0; t < T; ++t) {
      const double mean = statistics[size_t(t)], scale = statistics[size_t(T + t)];
      double means[2] = {};
      auto normalized = [&](int h) { return (to_float(sum[size_t(h) * T + t]) - mean) * scale; };
      auto gradient = [&](int h) { return double(to_float(dy[size_t(h) * T + t])); };
      for (int h = 0; h < H; ++h) {
        means[0] += weight[size_t(h)] * gradient(h) / H;
        means[1] += weight[size_t(h)] * gradient(h) * normalized(h) / H;
      }
      for (int h = 0; h < H; ++h) {
        const double d = scale * (weight[size_t(h)] * gradient(h) - means[0] - normalized(h) * means[1]);
        expect_rounded(dx[size_t(h) * T + t], d, 1e-4, "dx");
        const double parts[] = {gradient(h) * normalized(h), gradient(h), d};
        for (int k = 0; k < 3; ++k) {
          parameters[size_t(k * H + h)] += parts[k];
          size[size_t(k * H + h)] += std::abs(parts[k]);
        }
      }
    }
    for (size_t i = 0; i < parameters.size(); ++i) {
      double sum = 0;
      for (unsigned b = 0; b < blocks; ++b) sum += partial[b * parameters.size() + i];
      ASSERT_NEAR(sum, parameters[i], 1e-5 * size[i] + 1e-5) << H << "x" << T << " at " << i;
    }
  }
};

TEST(CudaChannelNorm, EqualsItsDefinition) {
  for (const int H : {48, 768, 900, 1792}) {
    for (const int T : {1, 35, 72}) {
      Norm n(H, T);
      for (const unsigned blocks : {1u, n.tiles()}) {
        n.forward(blocks);
        n.check_forward();
      }
    }
  }
}

TEST(CudaChannelNorm, InRegisters) {
  for (const int H : {48, 700, 768}) {
    for (const int T : {8, 40}) {
      Norm n(H, T);
      n.forward_in_registers();
      n.check_forward();
      n.y = unwritten(n.y.size());
      n.training_in_registers();
      n.check_forward();
      n.check_saved();
    }
  }
}

TEST(CudaChannelNorm, GradientEqualsItsDefinition) {
  for (const int H : {48, 768, 900, 1792}) {
    for (const int T : {1, 35, 72}) {
      Norm n(H, T);
      for (const unsigned blocks : {1u, n.tiles()}) {
        n.training(blocks);
        n.check_forward();
        n.check_saved();
        n.backward(blocks);
        n.check_gradients(blocks);
      }
    }
  }
}

// The results of layer_norm.cu for rows of T, against the definition in double precision. shift: elements before the first row
// and the parameters, so that they are not aligned.
template <typename T>
struct LayerNormCase {
  int rows, H;
  bool adds, wide;
  size_t shift;
  float eps = 1e-5f;
  std::vector<T> x, residual, dy;
  Values weight, bias;
  std::vector<float> wide_weight, wide_bias;
  std::vector<double> n, scale;  // normalized values, [rows, H], and 1 / deviation of each row

  LayerNormCase(int rows, int H, bool adds, bool wide, size_t shift) : rows(rows), H(H), adds(adds), wide(wide), shift(shift) {
    auto values = [&](unsigned seed) {
      std::vector<T> all(shift);
      for (const auto v : random_values(size_t(rows) * H, 1, seed)) all.push_back(from_float<T>(to_float(v) + 2));
      return all;
    };
    x = values(1), residual = values(2), dy = values(3);
    weight = random_values(shift + size_t(H), 1, 4), bias = random_values(shift + size_t(H), 1, 5);
    for (const auto value : weight) wide_weight.push_back(to_float(value));
    for (const auto value : bias) wide_bias.push_back(to_float(value));
    for (int r = 0; r < rows; ++r) {
      double mean = 0, variance = 0;
      for (int h = 0; h < H; ++h) mean += sum(r, h) / H;
      for (int h = 0; h < H; ++h) variance += (sum(r, h) - mean) * (sum(r, h) - mean) / H;
      scale.push_back(1 / std::sqrt(variance + eps));
      for (int h = 0; h < H; ++h) n.push_back((sum(r, h) - mean) * scale.back());
    }
  }
  size_t at(int r, int h) const { return size_t(r) * H + h; }
  double sum(int r, int h) const { return to_float(x[shift + at(r, h)]) + (adds ? to_float(residual[shift + at(r, h)]) : 0); }
  const void* weights() const { return wide ? static_cast<const void*>(wide_weight.data() + shift) : weight.data() + shift; }
  const void* biases() const { return wide ? static_cast<const void*>(wide_bias.data() + shift) : bias.data() + shift; }
  double w(int h) const { return wide_weight[shift + size_t(h)]; }
  double b(int h) const { return wide_bias[shift + size_t(h)]; }
  double slack() const { return sizeof(T) == 4 ? 2e-5 : 1e-4; }
  double rounding() const { return sizeof(T) == 4 ? 0 : 4e-3; }

  template <typename Kernel>
  void check(Kernel kernel) {
    std::vector<T> y(size_t(rows) * H, from_float<T>(777));
    emulation::launch({unsigned(rows + 7) / 8, 1, 1}, 256, 0, [&] {
      kernel(x.data() + shift, residual.data() + shift, weights(), biases(), y.data(), rows, H, eps, adds, wide ? 3 : 0);
    });
    for (int r = 0; r < rows; ++r) {
      for (int h = 0; h < H; ++h) {
        const double want = n[at(r, h)] * w(h) + b(h);
        ASSERT_NEAR(to_float(y[at(r, h)]), want, rounding() * std::abs(want) + slack()) << H << ": " << r << ", " << h;
      }
    }
  }
  template <typename Kernel>
  void check_gradient(Kernel kernel, int blocks) {
    std::vector<T> dx(size_t(rows) * H, from_float<T>(777));
    std::vector<float> partial(size_t(blocks) * 2 * H, 777);
    emulation::launch({unsigned(blocks), 1, 1}, 256, unsigned(8 * H), [&] {
      kernel(x.data() + shift, residual.data() + shift, weights(), dy.data() + shift, dx.data(), partial.data(), rows, H, eps, adds,
             wide ? 1 : 0);
    });
    auto d = [&](int r, int h) { return double(to_float(dy[shift + at(r, h)])); };
    for (int r = 0; r < rows; ++r) {
      double mean = 0, slope = 0;
      for (int h = 0; h < H; ++h) mean += d(r, h) * w(h) / H;
      for (int h = 0; h < H; ++h) slope += d(r, h) * w(h) * n[at(r, h)] / H;
      for (int h = 0; h < H; ++h) {
        const double want = scale[size_t(r)] * (d(r, h) * w(h) - mean - n[at(r, h)] * slope);
        ASSERT_NEAR(to_float(dx[at(r, h)]), want, rounding() * std::abs(want) + slack()) << H << ": " << r << ", " << h;
      }
    }
    for (int h = 0; h < H; ++h) {
      double want[2] = {}, sums[2] = {};
      for (int r = 0; r < rows; ++r) want[0] += d(r, h) * n[at(r, h)], want[1] += d(r, h);
      for (int i = 0; i < 2 * blocks; ++i) sums[i % 2] += partial[size_t(i) * H + h];
      for (int i = 0; i < 2; ++i) ASSERT_NEAR(sums[i], want[i], 2e-5 * rows * 3) << H << ": " << h;
    }
  }
};

TEST(CudaLayerNorm, EqualsItsDefinition) {
  for (const int H : {8, 64, 768, 1000, 1024, 1792, 2048}) {
    for (const bool adds : {false, true}) {
      for (const bool wide : {false, true}) {
        for (const size_t shift : {0, 3}) {
          const int rows = 11;
          LayerNormCase<float>(rows, H, adds, wide, shift).check(H <= 1024 ? layer_norm_float32 : layer_norm_float32_2048);
          LayerNormCase<BFloat16>(rows, H, adds, wide, shift).check(H <= 1024 ? layer_norm_bfloat16 : layer_norm_bfloat16_2048);
        }
      }
    }
  }
}
TEST(CudaLayerNorm, GradientEqualsItsDefinition) {
  for (const int H : {8, 64, 768, 1000, 1024}) {
    for (const bool adds : {false, true}) {
      for (const size_t shift : {0, 3}) {
        for (const int rows : {1, 11, 37}) {
          LayerNormCase<float>(rows, H, adds, adds, shift).check_gradient(layer_norm_gradient_float32, 2);
          LayerNormCase<BFloat16>(rows, H, adds, !adds, shift).check_gradient(layer_norm_gradient_bfloat16, 3);
        }
      }
    }
  }
}

TEST(CudaEmbeddingNorm, EqualsItsDefinition) {
  for (const int H : {16, 768, 1000, 2048}) {
    for (const bool wide_norm : {false, true}) {
      const int B = 3, L = 5, T = B * L, count[3] = {50, 2, 9};
      const Values tables[3] = {random_values(size_t(50) * H, 1, 1), random_values(size_t(2) * H, 1, 2),
                                random_values(size_t(9) * H, 1, 3)};
      std::vector<int> ids;
      for (int t = 0; t < T; ++t) ids.push_back(t * 37 % 50);
      ids[3] = -7, ids[4] = 90;  // the nearest row
      const std::vector<int64_t> positions{4, 0, 8, 1, 2};
      const int type = 1;
      const Values weight = random_values(size_t(H), 1, 4), bias = random_values(size_t(H), 1, 5);
      std::vector<float> wide_weight, wide_bias;
      for (const auto w : weight) wide_weight.push_back(to_float(w));
      for (const auto b : bias) wide_bias.push_back(to_float(b));
      Values y = unwritten(size_t(T) * H);
      const void* const w = wide_norm ? static_cast<const void*>(wide_weight.data()) : weight.data();
      const void* const b = wide_norm ? static_cast<const void*>(wide_bias.data()) : bias.data();
      emulation::launch({2, 1, 1}, 256, 0, [&] {
        (H <= 768 ? embedding_norm : embedding_norm_2048)(tables[0].data(), ids.data(), tables[1].data(), &type, tables[2].data(),
                                                          positions.data(), w, b, y.data(), 3, 4 + 8 * wide_norm, count[0], T, count[1], 1,
                                                          count[2], L, H, T, 1e-12f);
      });
      for (int t = 0; t < T; ++t) {
        const int rows[3] = {std::clamp(ids[size_t(t)], 0, 49), type, int(positions[size_t(t % L)])};
        std::vector<double> v(static_cast<size_t>(H));
        double mean = 0, variance = 0;
        for (int h = 0; h < H; ++h) {
          for (int i = 0; i < 3; ++i) v[size_t(h)] += to_float(tables[i][size_t(rows[i]) * H + h]);
          mean += v[size_t(h)] / H;
        }
        for (const double value : v) variance += (value - mean) * (value - mean) / H;
        for (int h = 0; h < H; ++h) {
          const double want = (v[size_t(h)] - mean) / std::sqrt(variance) * to_float(weight[size_t(h)]) + to_float(bias[size_t(h)]);
          expect_rounded(y[size_t(t) * H + h], want, 1e-4, std::to_string(H) + ": " + std::to_string(t) + ", " + std::to_string(h));
        }
      }
    }
  }
}

}  // namespace
}  // namespace m2bert::ops::cuda
