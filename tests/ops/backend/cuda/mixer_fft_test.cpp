// The arithmetic of the CUDA kernels (m2bert/ops/backend/cuda/mixer_fft.cuh), run on the CPU phase by phase: between two barriers, a loop
// over the threads.
#include "m2bert/ops/backend/cuda/mixer_fft.cuh"

#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <numbers>
#include <random>
#include <vector>

namespace m2bert::ops::cuda {
namespace {

template <typename Plan>
class Emulation {
 public:
  Emulation() {
    for (int j = 0; j < Plan::PARTS * Plan::N; ++j) {
      const double angle = -2 * std::numbers::pi * j / (double(Plan::PARTS) * Plan::N);
      roots_.push_back({float(std::cos(angle)), float(std::sin(angle))});
    }
    for (int r = 0; r < Plan::PARTS; ++r) {
      for (int t = 0; t < Plan::THREADS; ++t) threads_.push_back({{r, t, roots_.data()}, {}});
    }
  }

  // k, k_rev [L]; k_rev may be empty.
  void add_filter(const std::vector<float>& k, const std::vector<float>& k_rev, float D) {
    const size_t begin = spectra_.size();
    spectra_.resize(begin + Plan::PARTS * Plan::N);
    each([&](auto& s) { s.fft.stage_filter(k.data(), k_rev.empty() ? nullptr : k_rev.data(), D, int(k.size()), 1, own(s)); });
    forward();
    each([&](auto& s) {
      for (int i = 0; i < Plan::POINTS; ++i) spectra_[begin + s.fft.spectrum_offset(0, 0, 1) + i * Plan::THREADS] = s.x[i];
    });
  }

  template <typename T>
  void run(const MixerInputs<T>& in, bool residual, T* y) {
    for (int first = 0; first < in.B; first += 2) {
      const MixerPair<T> pair{in, 0, first};
      std::vector<Values> gated(Plan::N / Plan::CHUNK), last(gated.size());
      for (int signal = 0; signal <= residual; ++signal) {
        for (size_t i = 0; i < gated.size(); ++i) Fft::stage(pair, signal, int(i) * Plan::CHUNK, buffers_.data());
        forward();
        each([&](auto& s) { s.fft.multiply(spectra_.data() + s.fft.spectrum_offset(0, signal, 1 + residual), s.x); });
        each([&](auto& s) { s.fft.inverse_third(own(s), s.x); });
        each([&](auto& s) { s.fft.inverse_second(own(s), s.x); });
        each([&](auto& s) { s.fft.inverse_first(own(s), s.x); });
        for (size_t i = 0; i < gated.size(); ++i) {
          Fft::join(buffers_.data(), int(i) * Plan::CHUNK, (signal ? last : gated)[i].values);
          if (!signal) Fft::apply_gate(pair, int(i) * Plan::CHUNK, gated[i].values);
        }
      }
      for (size_t i = 0; i < gated.size(); ++i) {
        for (int j = 0; j < 2 * Plan::BLOCKS * Plan::CHUNK; ++j) (&gated[i].values[0][0][0])[j] += (&last[i].values[0][0][0])[j];
        Fft::write(pair, int(i) * Plan::CHUNK, gated[i].values, y);
      }
    }
  }

 private:
  using Fft = MixerFft<Plan>;
  struct Values {
    typename Fft::Values values{};
  };
  struct Thread {
    Fft fft;
    Complex x[Plan::POINTS];
  };
  template <typename F>
  void each(F f) {
    for (auto& s : threads_) f(s);
  }
  Complex* own(const Thread& s) { return buffers_.data() + s.fft.part * Plan::BUFFER; }
  void forward() {
    each([&](auto& s) { s.fft.first(own(s), s.x); });
    each([&](auto& s) { s.fft.second(own(s), s.x); });
    each([&](auto& s) { s.fft.third(own(s), s.x); });
  }

  std::vector<Complex> roots_, spectra_, buffers_ = std::vector<Complex>(Plan::PARTS * Plan::BUFFER);
  std::vector<Thread> threads_;
};

enum class Signal { noise, offset, spike };

// One channel of the mixer, and its definition in double precision.
struct Case {
  int L, B;
  bool bidirectional = true, residual = true, ragged = false;  // ragged: from multiples of 8 columns on
  Signal signal = Signal::noise;
};

template <typename T>
std::vector<T> activations(size_t n, int L, Signal signal, std::mt19937& random) {
  std::normal_distribution<float> normal;
  std::vector<T> x(n);
  for (size_t i = 0; i < n; ++i) {
    float value = normal(random);
    if (signal == Signal::offset) value += 5;
    if (signal == Signal::spike) value = 0.01f * value + (int(i % L) == L / 3 ? 300 : 0);
    x[i] = from_float<T>(value);
  }
  return x;
}

// Long sequences are compared at some positions.
int step(int L) { return L > 600 ? 13 : 1; }

std::vector<double> convolve(const std::vector<double>& x, const std::vector<float>& k, const std::vector<float>& k_rev, double D) {
  const int L = int(x.size());
  std::vector<double> y(L);
  for (int t = 0; t < L; t += step(L)) {
    y[t] = D * x[t];
    for (int s = 0; s <= t; ++s) y[t] += double(k[t - s]) * x[s];
    for (int s = t + 1; s < L && !k_rev.empty(); ++s) y[t] += double(k_rev[s - t - 1]) * x[s];
  }
  return y;
}

// The largest difference, as a part of the largest value of its sequence.
template <typename Plan, typename T>
double error(const Case& c) {
  std::mt19937 random(c.L * 7 + c.B);
  std::normal_distribution<float> normal;
  std::vector<int> begins, lengths, sequences;
  int row = 0;
  for (int b = 0; b < c.B; ++b) {
    begins.push_back(row);
    lengths.push_back(c.ragged ? c.L * (c.B - b) / c.B : c.L);
    row += c.ragged ? (lengths[b] + 7) / 8 * 8 : c.L;
    sequences.insert(sequences.end(), {begins[b], lengths[b]});
  }
  sequences.push_back(row);
  const size_t n = row;
  const auto p = activations<T>(3 * n, c.L, c.signal, random), u = activations<T>(n, c.L, c.signal, random);
  std::vector<float> filter(3 * SHORT_FILTER);
  for (auto& w : filter) w = 0.5f * normal(random);
  std::vector<std::vector<float>> k(2), k_rev(2);
  for (int f = 0; f < 2; ++f) {
    for (auto* side : {&k[f], &k_rev[f]}) {
      side->resize(c.L);
      for (int t = 0; t < c.L; ++t) (*side)[t] = normal(random) * std::exp(-4.0f * t / c.L) * 0.1f;
    }
    if (!c.bidirectional) k_rev[f].clear();
  }
  const float D[2] = {0.7f, -1.3f};

  auto emulation = std::make_unique<Emulation<Plan>>();
  for (int f = 0; f <= c.residual; ++f) emulation->add_filter(k[f], k_rev[f], D[f]);
  std::vector<T> y(n, from_float<T>(99));
  const auto in = mixer_inputs(p.data(), p.data(), p.data(), u.data(), filter.data(), sequences.data(), 1, c.B, c.L, 0, 1, 2, 0, 1, 2,
                               c.ragged ? row : 0);
  emulation->run(in, c.residual, y.data());

  double worst = 0;
  for (int b = 0; b < c.B; ++b) {
    std::vector<double> parts[3], v(c.L), skip(c.L);
    for (int i = 0; i < 3; ++i) {
      const T* from = p.data() + i * n + begins[b];
      const float* w = filter.data() + SHORT_FILTER * i;
      auto at = [&](int t) { return t < 0 ? double(w[4]) : double(to_float(from[t])); };
      for (int t = 0; t < lengths[b]; ++t) parts[i].push_back(w[3] + w[0] * at(t - 2) + w[1] * at(t - 1) + w[2] * at(t));
    }
    for (int t = 0; t < lengths[b]; ++t) {
      v[t] = parts[0][t] * parts[2][t];
      skip[t] = to_float(u[begins[b] + t]);
    }
    const auto gated = convolve(v, k[0], k_rev[0], D[0]), rest = convolve(skip, k[1], k_rev[1], D[1]);
    double largest = 1e-30, difference = 0;
    for (int t = lengths[b]; t < sequences[2 * b + 2] - begins[b]; ++t) EXPECT_EQ(to_float(y[begins[b] + t]), 0);
    for (int t = 0; t < lengths[b]; t += step(c.L)) {
      const double want = parts[1][t] * gated[t] + (c.residual ? rest[t] : 0);
      largest = std::max(largest, std::abs(want));
      difference = std::max(difference, std::abs(want - to_float(y[begins[b] + t])));
    }
    worst = std::max(worst, difference / largest);
  }
  return worst;
}

constexpr double float_tolerance = 2e-6, bfloat16_tolerance = 4.1e-3;  // of the largest value; 2^-8 is the rounding of the result

template <typename Plan>
void check(std::vector<int> lengths) {
  for (const int L : lengths) {
    for (const auto signal : {Signal::noise, Signal::offset, Signal::spike}) {
      const Case c{L, 3, true, true, false, signal};
      EXPECT_LT((error<Plan, float>(c)), float_tolerance) << "L = " << L << ", signal " << int(signal);
    }
    EXPECT_LT((error<Plan, BFloat16>({L, 2})), bfloat16_tolerance) << "L = " << L;
  }
}

TEST(CudaMixerFft, Length256) { check<MixerPlan256>({1, 2, 3, 17, 128, 255, 256}); }
TEST(CudaMixerFft, Length512) { check<MixerPlan512>({257, 504, 512}); }
TEST(CudaMixerFft, Length1024) { check<MixerPlan1024>({1, 777, 1024}); }
TEST(CudaMixerFft, Length2048) { check<MixerPlan2048>({1025, 2048}); }
TEST(CudaMixerFft, Length4096) { check<MixerPlan4096>({2049, 4096}); }
TEST(CudaMixerFft, Length8192) { check<MixerPlan8192>({4097}); }
TEST(CudaMixerFft, FourParts) { check<MixerPlan<8, 8, 4, 8, 4>>({1, 100, 256, 257, 511, 512}); }

TEST(CudaMixerFft, CausalWithoutResidualAndOfDifferentLengths) {
  for (const bool bidirectional : {false, true}) {
    for (const bool residual : {false, true}) {
      for (const bool ragged : {false, true}) {
        const Case c{201, 3, bidirectional, residual, ragged};
        EXPECT_LT((error<MixerPlan256, float>(c)), float_tolerance) << bidirectional << residual << ragged;
        EXPECT_LT((error<MixerPlan<8, 8, 4, 8, 4>, float>(c)), float_tolerance) << bidirectional << residual << ragged;
      }
    }
  }
}

}  // namespace
}  // namespace m2bert::ops::cuda
