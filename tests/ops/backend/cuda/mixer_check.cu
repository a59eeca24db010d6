// Checks the kernels of the Monarch Mixer's core against a convolution in double precision, then times them. Runs on a machine with a GPU:
//   mixer_check [--checks | --profile] RECORD.json     exit code 1 if a result is wrong
// --checks: fewer cases and no timings, for compute-sanitizer. --profile: only one launch of each kernel, for ncu.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <functional>
#include <memory>
#include <numbers>
#include <random>
#include <string>
#include <vector>

#include <cuda_runtime.h>

#include "m2bert/ops/backend/cuda/mixer_fft.cuh"
#include "m2bert/ops/backend/cuda/mixer_monarch.cuh"

namespace m2bert::ops::cuda {

#define FFT_KERNEL(length, suffix, T)                                                                                                    \
  extern "C" __global__ void mixer_fft_##length##_##suffix(const T*, const T*, const float*, const Complex*, const Complex*, const int*, \
                                                           T*, int, int, int, bool, bool);
#define FFT_KERNELS(length)                                                                                                            \
  FFT_KERNEL(length, bf16, BFloat16)                                                                                                   \
  FFT_KERNEL(length, f16, __half)                                                                                                      \
  FFT_KERNEL(length, f32, float)                                                                                                       \
  extern "C" __global__ void mixer_spectra_##length(const float*, const float*, const float*, const Complex*, Complex*, int, int, int, \
                                                    int, bool);
FFT_KERNELS(256)
FFT_KERNELS(512)
FFT_KERNELS(1024)
FFT_KERNELS(2048)
FFT_KERNELS(4096)
FFT_KERNELS(8192)
#define TOEPLITZ_KERNEL(length)                                                                                                     \
  extern "C" __global__ void mixer_toeplitz_##length(const BFloat16*, const BFloat16*, const float*, const BFloat16*, const float*, \
                                                     const int*, BFloat16*, int, int, int, bool, bool, int);
TOEPLITZ_KERNEL(128)
TOEPLITZ_KERNEL(256)
TOEPLITZ_KERNEL(512)
#define MONARCH_KERNEL(length)                                                                                                     \
  extern "C" __global__ void mixer_monarch_##length(const BFloat16*, const BFloat16*, const float*, const uint32_t*, const float*, \
                                                    const uint32_t*, const int*, BFloat16*, int, int, int, bool, bool);
MONARCH_KERNEL(2048)
MONARCH_KERNEL(4096)
MONARCH_KERNEL(8192)
MONARCH_KERNEL(16384)
extern "C" __global__ void mixer_monarch_spectra(const float2*, uint32_t*, float*, int, int, int, int);
extern "C" __global__ void mixer_taps(const float*, const float*, BFloat16*, int, int, int, int, bool);

namespace {

void check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  std::fprintf(stderr, "%s: %s\n", what, cudaGetErrorString(error));
  std::exit(2);
}

template <typename T>
struct Device {
  T* data = nullptr;
  size_t size = 0;
  explicit Device(size_t n) : size(n) { check(cudaMalloc(&data, std::max<size_t>(n, 1) * sizeof(T)), "cudaMalloc"); }
  explicit Device(const std::vector<T>& host) : Device(host.size()) {
    check(cudaMemcpy(data, host.data(), size * sizeof(T), cudaMemcpyHostToDevice), "copy to the GPU");
  }
  Device(const Device&) = delete;
  ~Device() { cudaFree(data); }
  std::vector<T> host() const {
    std::vector<T> v(size);
    check(cudaMemcpy(v.data(), data, size * sizeof(T), cudaMemcpyDeviceToHost), "copy from the GPU");
    return v;
  }
};

struct Shape {
  int H, B, L;
  bool bidirectional = true, residual = true, masked = false;
};

struct Filters {
  std::vector<float> k[2], k_rev[2], D[2];  // [L, H], [H]
};

// One way to compute the core for one dtype: prepares filters, then runs.
template <typename T>
struct Kernel {
  std::string name;
  int longest;
  std::function<void(const Shape&, const Filters&)> prepare;
  std::function<void(const Shape&, const T* p, const T* u, const float* w, const int* lengths, T* y)> run;
};

template <typename Plan, typename T, typename Run, typename Spectra>
Kernel<T> fft_kernel(const std::string& name, Run run, Spectra spectra_kernel) {
  struct State {
    std::unique_ptr<Device<Complex>> roots, spectra;
  };
  auto state = std::make_shared<State>();
  Kernel<T> k{name, Plan::MAX_LENGTH, {}, {}};
  k.prepare = [=](const Shape& s, const Filters& f) {
    const int n = Plan::PARTS * Plan::N, signals = s.residual ? 2 : 1;
    std::vector<Complex> roots(n);
    for (int j = 0; j < n; ++j) {
      const double angle = -2 * std::numbers::pi * j / n;
      roots[j] = {float(std::cos(angle)), float(std::sin(angle))};
    }
    state->roots = std::make_unique<Device<Complex>>(roots);
    state->spectra.reset();
    state->spectra = std::make_unique<Device<Complex>>(size_t(s.H) * signals * n);
    check(cudaFuncSetAttribute(spectra_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, Plan::BUFFER * 8), "shared memory");
    for (int i = 0; i < signals; ++i) {
      const Device<float> taps(f.k[i]), reverse(f.k_rev[i]), D(f.D[i]);
      spectra_kernel<<<dim3(Plan::PARTS, s.H), Plan::THREADS, Plan::BUFFER * 8>>>(
          taps.data, reverse.data, D.data, state->roots->data, state->spectra->data, s.H, s.L, signals, i, s.bidirectional);
      check(cudaDeviceSynchronize(), "spectra");
    }
    check(cudaFuncSetAttribute(run, cudaFuncAttributeMaxDynamicSharedMemorySize, Plan::SHARED_BYTES), "shared memory");
  };
  k.run = [=](const Shape& s, const T* p, const T* u, const float* w, const int* lengths, T* y) {
    run<<<dim3((s.B + 1) / 2, s.H), Plan::GROUPS * Plan::THREADS, Plan::SHARED_BYTES>>>(p, u, w, state->spectra->data, state->roots->data,
                                                                                        lengths, y, s.H, s.B, s.L, s.residual, s.masked);
  };
  return k;
}

template <typename Run>
Kernel<BFloat16> toeplitz_kernel(int length, Run run) {
  struct State {
    std::unique_ptr<Device<BFloat16>> taps;
    std::unique_ptr<Device<float>> D;
  };
  auto state = std::make_shared<State>();
  const int size = 2 * length + 16, shared = 4 * size * 2 + 4 * 2 * (length / 2 + 64) * 4;
  Kernel<BFloat16> k{"toeplitz_" + std::to_string(length), length, {}, {}};
  k.prepare = [=](const Shape& s, const Filters& f) {
    state->taps = std::make_unique<Device<BFloat16>>(size_t(s.H) * 4 * size);
    std::vector<float> D(2 * s.H);
    for (int i = 0; i < (s.residual ? 2 : 1); ++i) {
      const Device<float> taps(f.k[i]), reverse(f.k_rev[i]);
      mixer_taps<<<dim3(1, s.H), 256>>>(taps.data, reverse.data, state->taps->data, s.H, s.L, length, i, s.bidirectional);
      check(cudaDeviceSynchronize(), "taps");
      for (int h = 0; h < s.H; ++h) D[2 * h + i] = f.D[i][h];
    }
    state->D = std::make_unique<Device<float>>(D);
    check(cudaFuncSetAttribute(run, cudaFuncAttributeMaxDynamicSharedMemorySize, shared), "shared memory");
  };
  k.run = [=](const Shape& s, const BFloat16* p, const BFloat16* u, const float* w, const int* lengths, BFloat16* y) {
    // Enough sequences a warp that the taps are read seldom, and enough blocks to fill the GPU.
    const int per_warp = std::clamp(int(size_t(s.B) * s.H / (4 * 132 * 16)), 1, 16);
    run<<<dim3((s.B + 4 * per_warp - 1) / (4 * per_warp), s.H), 128, shared>>>(p, u, w, state->taps->data, state->D->data, lengths, y, s.H,
                                                                               s.B, s.L, s.residual, s.masked, per_warp);
  };
  return k;
}

// out[channel][j]: frequency j of a filter that reaches both ways, [size / 2 + 1] a channel. Grid: blocks of frequencies, channels.
__global__ void transform_filter(const float* k, const float* k_rev, const float* D, const float2* roots, float2* out, int H, int L,
                                 int size, bool bidirectional) {
  const int j = blockIdx.x * blockDim.x + threadIdx.x, h = blockIdx.y;
  if (j > size / 2) return;
  float re = D[h], im = 0;
  for (int lag = 0; lag < L; ++lag) {
    const float2 w = roots[(long(j) * lag) % size], z = roots[(long(j) * (size - 1 - lag)) % size];
    const float a = k[size_t(lag) * H + h], b = bidirectional && lag < L - 1 ? k_rev[size_t(lag) * H + h] : 0;
    re += a * w.x + b * z.x, im += a * w.y + b * z.y;
  }
  out[size_t(h) * (size / 2 + 1) + j] = {re, im};
}

template <typename Run>
Kernel<BFloat16> monarch_kernel(int parts, Run run) {
  struct State {
    std::unique_ptr<Device<uint32_t>> constants, spectra;
    std::unique_ptr<Device<float>> scales;
  };
  auto state = std::make_shared<State>();
  const MonarchSizes sizes{parts};
  Kernel<BFloat16> k{"monarch_" + std::to_string(sizes.length()), sizes.length(), {}, {}};
  k.prepare = [=](const Shape& s, const Filters& f) {
    const int n = sizes.size();
    std::vector<float2> roots(n);
    for (int j = 0; j < n; ++j) {
      const double angle = -2 * std::numbers::pi * j / n;
      roots[j] = {float(std::cos(angle)), float(std::sin(angle))};
    }
    const Device<float2> droots(roots);
    state->constants = std::make_unique<Device<uint32_t>>(monarch_constants(parts));
    state->spectra.reset();
    state->spectra = std::make_unique<Device<uint32_t>>(size_t(s.H) * 2 * n);
    state->scales = std::make_unique<Device<float>>(2 * s.H);
    const int channels = std::min(s.H, 8);  // with more, the spectra of these are repeated
    Device<float2> transform(size_t(channels) * (n / 2 + 1));
    for (int i = 0; i < (s.residual ? 2 : 1); ++i) {
      const Device<float> taps(f.k[i]), reverse(f.k_rev[i]), D(f.D[i]);
      transform_filter<<<dim3(n / 512 + 1, channels), 256>>>(taps.data, reverse.data, D.data, droots.data, transform.data, s.H, s.L, n,
                                                             s.bidirectional);
      for (int h = 0; h < s.H; h += channels) {
        mixer_monarch_spectra<<<dim3(1, std::min(channels, s.H - h)), 512, 64>>>(transform.data, state->spectra->data + size_t(h) * 2 * n,
                                                                                 state->scales->data + 2 * h, n, 1, n / 2 + 1, i);
      }
      check(cudaDeviceSynchronize(), "spectra");
    }
    check(cudaFuncSetAttribute(run, cudaFuncAttributeMaxDynamicSharedMemorySize, sizes.shared_bytes()), "shared memory");
  };
  k.run = [=](const Shape& s, const BFloat16* p, const BFloat16* u, const float* w, const int* lengths, BFloat16* y) {
    run<<<dim3((s.B + 1) / 2, s.H), 32 * sizes.warps(), sizes.shared_bytes()>>>(
        p, u, w, state->spectra->data, state->scales->data, state->constants->data, lengths, y, s.H, s.B, s.L, s.residual, s.masked);
  };
  return k;
}

enum class Signal { noise, offset, spike };

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

Filters random_filters(const Shape& s, std::mt19937& random) {
  std::normal_distribution<float> normal;
  Filters f;
  for (int i = 0; i < 2; ++i) {
    for (auto* k : {&f.k[i], &f.k_rev[i]}) {
      k->resize(size_t(s.L) * s.H);
      for (int t = 0; t < s.L; ++t) {
        for (int h = 0; h < s.H; ++h) (*k)[size_t(t) * s.H + h] = normal(random) * std::exp(-4.0f * t / s.L) * 0.1f;
      }
    }
    for (int h = 0; h < s.H; ++h) f.D[i].push_back(normal(random));
  }
  return f;
}

struct Errors {
  double l2 = 0, largest = 0;  // relative L2 error; largest difference, as a part of the root mean square
};

// At up to 96 positions of each row, of which the first and last ones are some.
template <typename T>
Errors compare(const Shape& s, const Filters& f, const std::vector<T>& p, const std::vector<T>& u, const std::vector<float>& w,
               const std::vector<int>& lengths, const std::vector<T>& y, std::mt19937& random) {
  double difference = 0, norm = 0, largest = 0;
  size_t count = 0;
  for (int h = 0; h < s.H; ++h) {
    for (int b = 0; b < s.B; ++b) {
      const int n = lengths[b];
      auto row = [&](const std::vector<T>& x, int c) { return x.data() + (size_t(c) * s.B + b) * s.L; };
      std::vector<double> parts[3], skip(s.L);
      for (int i = 0; i < 3; ++i) {
        const T* x = row(p, i * s.H + h);
        const float* taps = w.data() + SHORT_FILTER * (i * s.H + h);
        auto at = [&](int t) { return t < 0 ? double(taps[4]) : double(to_float(x[t])); };
        for (int t = 0; t < s.L; ++t) parts[i].push_back(taps[3] + taps[0] * at(t - 2) + taps[1] * at(t - 1) + taps[2] * at(t));
      }
      std::vector<double> v(s.L);
      for (int t = 0; t < n; ++t) v[t] = parts[0][t] * parts[2][t], skip[t] = to_float(row(u, h)[t]);
      auto convolve = [&](const std::vector<double>& x, int i, int t) {
        double sum = f.D[i][h] * x[t];
        for (int a = 0; a <= t; ++a) sum += double(f.k[i][size_t(t - a) * s.H + h]) * x[a];
        for (int a = t + 1; a < s.L && s.bidirectional; ++a) sum += double(f.k_rev[i][size_t(a - t - 1) * s.H + h]) * x[a];
        return sum;
      };
      std::vector<int> positions;
      for (int t = 0; t < s.L; ++t) positions.push_back(t);
      if (s.L > 96) {
        std::shuffle(positions.begin(), positions.end(), random);
        positions.resize(90);
        for (int t : {0, 1, 2, n - 1, n - 2, s.L - 1}) positions.push_back(std::max(t, 0));
      }
      for (const int t : positions) {
        const double want = t < n ? parts[1][t] * convolve(v, 0, t) + (s.residual ? convolve(skip, 1, t) : 0) : 0;
        const double d = std::abs(want - to_float(row(y, h)[t]));
        difference += d * d, norm += want * want, ++count;
        largest = std::max(largest, std::isnan(d) ? 1e30 : d);
      }
    }
  }
  const double scale = std::max(norm, 1e-30);
  return {std::sqrt(difference / scale), largest / std::sqrt(scale / count)};
}

struct Record {
  std::FILE* file;
  bool first = true, failed = false;
  void line(const std::string& json) {
    std::fprintf(file, "%s\n  %s", first ? "[" : ",", json.c_str());
    std::fflush(file);
    first = false;
  }
};

template <typename... A>
std::string format(const char* pattern, A... arguments) {
  char text[512];
  std::snprintf(text, sizeof text, pattern, arguments...);
  return text;
}

template <typename T>
void check_kernel(Record& record, const Kernel<T>& kernel, const Shape& s, Signal signal, double tolerance) {
  std::mt19937 random(s.L * 31 + s.B);
  const size_t n = size_t(s.H) * s.B * s.L;
  const auto p = activations<T>(3 * n, s.L, signal, random), u = activations<T>(n, s.L, signal, random);
  std::vector<float> w(3 * SHORT_FILTER * s.H);
  std::normal_distribution<float> normal;
  for (auto& x : w) x = to_float(from_float<BFloat16>(0.5f * normal(random)));
  std::vector<int> lengths(s.B, s.L);
  if (s.masked) {
    for (int b = 0; b < s.B; ++b) lengths[b] = s.L * (b + 1) / (s.B + 1);
  }
  const auto f = random_filters(s, random);
  const Device<T> dp(p), du(u), dy(std::vector<T>(n, from_float<T>(777)));
  const Device<float> dw(w);
  const Device<int> dl(lengths);
  kernel.prepare(s, f);
  kernel.run(s, dp.data, du.data, dw.data, dl.data, dy.data);
  check(cudaDeviceSynchronize(), kernel.name.c_str());
  const auto e = compare(s, f, p, u, w, lengths, dy.host(), random);
  const bool good = e.l2 < tolerance;
  if (!good) record.failed = true;
  record.line(
      format("{\"check\": \"%s\", \"L\": %d, \"B\": %d, \"H\": %d, \"signal\": %d, \"causal\": %d, \"residual\": %d, \"masked\": %d, "
             "\"l2\": %.3g, \"largest\": %.3g, \"tolerance\": %g, \"good\": %s}",
             kernel.name.c_str(), s.L, s.B, s.H, int(signal), !s.bidirectional, s.residual, s.masked, e.l2, e.largest, tolerance,
             good ? "true" : "false"));
  if (!good)
    std::printf("WRONG %s L %d B %d signal %d: l2 %.3g, largest %.3g\n", kernel.name.c_str(), s.L, s.B, int(signal), e.l2, e.largest);
}

template <typename T>
void check_all(Record& record, const Kernel<T>& kernel, int shortest, double tolerance, bool quick) {
  std::vector<int> lengths{kernel.longest, kernel.longest - 1, shortest};
  if (!quick) lengths.insert(lengths.end(), {(shortest + kernel.longest) / 2, (shortest + kernel.longest) / 2 | 1});
  for (const int L : lengths) {
    for (const Signal signal : {Signal::noise, Signal::offset, Signal::spike})
      check_kernel<T>(record, kernel, {2, 3, L}, signal, tolerance);
    check_kernel<T>(record, kernel, {3, 1, L}, Signal::noise, tolerance);
    check_kernel<T>(record, kernel, {2, 2, L, false, true, false}, Signal::noise, tolerance);
    check_kernel<T>(record, kernel, {2, 5, L, true, false, false}, Signal::noise, tolerance);
    check_kernel<T>(record, kernel, {2, 4, L, true, true, true}, Signal::noise, tolerance);
  }
}

float milliseconds(const std::function<void()>& f, int repeats) {
  cudaEvent_t begin, end;
  cudaEventCreate(&begin), cudaEventCreate(&end);
  for (int i = 0; i < 3 && repeats > 1; ++i) f();
  std::vector<float> times;
  for (int i = 0; i < repeats; ++i) {
    float t = 0;
    cudaEventRecord(begin), f(), cudaEventRecord(end);
    check(cudaEventSynchronize(end), "timing");
    cudaEventElapsedTime(&t, begin, end);
    times.push_back(t);
  }
  cudaEventDestroy(begin), cudaEventDestroy(end);
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

template <typename T>
void time_kernel(Record& record, const Kernel<T>& kernel, int L, int tokens, int repeats = 15) {
  const Shape s{768, std::max(1, tokens / L), L};
  std::mt19937 random(1);
  const size_t n = size_t(s.H) * s.B * s.L;
  std::vector<T> p(3 * n);
  for (size_t i = 0; i < p.size(); ++i) p[i] = i < 1'000'003 ? from_float<T>(float(random() % 2048) / 1024 - 1) : p[i - 1'000'003];
  const Device<T> dp(p), du(std::vector<T>(p.begin(), p.begin() + n)), dy(n);
  std::vector<float> w(3 * SHORT_FILTER * s.H, 0.4f);
  const Device<float> dw(w);
  const Device<int> dl(std::vector<int>(s.B, s.L));
  Filters f;
  for (int i = 0; i < 2; ++i) {
    f.k[i].resize(size_t(L) * s.H), f.k_rev[i].resize(size_t(L) * s.H), f.D[i].assign(s.H, 0.5f);
    for (auto* k : {&f.k[i], &f.k_rev[i]}) {
      for (auto& x : *k) x = float(random() % 2048) / 1024 * 0.01f - 0.01f;
    }
  }
  kernel.prepare(s, f);
  const float t = milliseconds([&] { kernel.run(s, dp.data, du.data, dw.data, dl.data, dy.data); }, repeats);
  check(cudaDeviceSynchronize(), kernel.name.c_str());
  const double ns = t * 1e6 / (double(s.B) * L);
  record.line(format("{\"time\": \"%s\", \"L\": %d, \"B\": %d, \"ms\": %.4f, \"ns_per_token\": %.3f, \"GB_per_s\": %.0f}",
                     kernel.name.c_str(), L, s.B, t, ns, 5.0 * n * sizeof(T) / t / 1e6));
  std::printf("%-18s L %5d B %4d: %7.3f ms, %6.2f ns/token, %5.0f GB/s\n", kernel.name.c_str(), L, s.B, t, ns,
              5.0 * n * sizeof(T) / t / 1e6);
  std::fflush(stdout);
}

int main_of(int argc, char** argv) {
  const std::string mode = argc > 2 ? argv[1] : "";
  const bool quick = mode == "--checks", profile = mode == "--profile";
  Record record{std::fopen(argv[argc - 1], "w")};
  std::vector<Kernel<BFloat16>> bf16;
  std::vector<Kernel<__half>> f16;
  std::vector<Kernel<float>> f32;
  bf16.push_back(toeplitz_kernel(128, mixer_toeplitz_128));
  bf16.push_back(toeplitz_kernel(256, mixer_toeplitz_256));
  bf16.push_back(toeplitz_kernel(512, mixer_toeplitz_512));
  bf16.push_back(monarch_kernel(16, mixer_monarch_2048));
  bf16.push_back(monarch_kernel(32, mixer_monarch_4096));
  bf16.push_back(monarch_kernel(64, mixer_monarch_8192));
  bf16.push_back(monarch_kernel(128, mixer_monarch_16384));
  const size_t products = bf16.size();
#define ADD(length)                                                                                                                \
  bf16.push_back(fft_kernel<MixerPlan##length, BFloat16>("fft_bf16_" #length, mixer_fft_##length##_bf16, mixer_spectra_##length)); \
  f16.push_back(fft_kernel<MixerPlan##length, __half>("fft_f16_" #length, mixer_fft_##length##_f16, mixer_spectra_##length));      \
  f32.push_back(fft_kernel<MixerPlan##length, float>("fft_f32_" #length, mixer_fft_##length##_f32, mixer_spectra_##length));
  ADD(256)
  ADD(512)
  ADD(1024) ADD(2048) ADD(4096) ADD(8192)
      // The rounding of the result is 1.7e-3 in bfloat16, 2e-4 in float16; the products round signal and taps to bfloat16 too.
      for (size_t i = 0; i < bf16.size() && !profile; ++i) {
    const int shortest = i == 0 || i == products ? 1 : bf16[i].longest / 2 + 1;
    if (quick && i < products && bf16[i].longest > 4096) continue;  // their spectra take long under compute-sanitizer
    check_all(record, bf16[i], shortest, shortest == 1 ? 1e-2 : i < 3 ? 5e-3 : 2.4e-3, quick);
  }
  for (size_t i = 0; i < f32.size() && !profile; ++i) {
    const int shortest = i == 0 ? 1 : f32[i].longest / 2 + 1;
    check_all(record, f16[i], shortest, 4e-4, true);
    check_all(record, f32[i], shortest, 2e-6, quick);
  }
  std::printf(record.failed ? "checks FAILED\n" : "checks passed\n");
  std::fflush(stdout);
  if (profile) {
    for (const size_t i : {size_t(0), size_t(2), size_t(3), size_t(4), size_t(5), size_t(6), products + 3}) {
      time_kernel(record, bf16[i], bf16[i].longest, 65536, 1);
    }
  } else if (!quick) {
    const int tokens = 65536;
    for (auto& k : bf16) time_kernel(record, k, k.longest, tokens);
    for (auto& k : f32) time_kernel(record, k, k.longest, tokens);
    time_kernel(record, bf16[0], 128, 128);
    for (const int L : {600, 1024, 1025, 2047}) time_kernel(record, bf16[3], L, tokens);
    time_kernel(record, bf16[3], 2048, 2048);
  }
  std::fprintf(record.file, "\n]\n");
  std::fclose(record.file);
  return record.failed;
}

}  // namespace
}  // namespace m2bert::ops::cuda

int main(int argc, char** argv) { return m2bert::ops::cuda::main_of(argc, argv); }
