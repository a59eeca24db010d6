#include "m2bert/ops/backend/cuda/mixer_core.h"

#include <algorithm>
#include <climits>
#include <cmath>
#include <functional>
#include <map>
#include <mutex>
#include <numbers>
#include <tuple>

#include "m2bert/ops/backend/cuda/channel_major.h"
#include "m2bert/ops/backend/cuda/kernel.h"
#include "m2bert/ops/backend/cuda/mixer_fft.cuh"
#include "m2bert/ops/backend/cuda/mixer_monarch.cuh"
#include "m2bert/ops/backend/cuda/mixer_toeplitz.cuh"

namespace m2bert::ops::cuda {

namespace {

enum class Method { toeplitz, monarch, fft };

// A kernel, and the length that it is compiled for.
struct Kernel {
  Method method;
  int length;

  const char* prefix() const {
    return method == Method::toeplitz ? "mixer_toeplitz" : method == Method::monarch ? "mixer_monarch" : "mixer_fft";
  }
  std::string fatbin() const { return prefix() + ("_" + std::to_string(length)); }
  // Of a Monarch transform.
  MonarchSizes sizes() const { return core_sizes(length); }
  int segments() const { return segments_of(length); }
};

std::vector<int> lengths_of(mx::Dtype dtype) {
  if (dtype == mx::float32) return {256, 512, 1024, 2048, 4096, 8192};
  return {128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768};
}

Kernel kernel_for(int L, mx::Dtype dtype) {
  const auto lengths = lengths_of(dtype);
  const int length = *std::lower_bound(lengths.begin(), lengths.end(), L);
  return {dtype == mx::float32 ? Method::fft : length <= 512 ? Method::toeplitz : Method::monarch, length};
}

// The launch of an FFT kernel.
struct FftSizes {
  int transform, spectra_threads, spectra_parts, spectra_bytes, threads, bytes;
};
template <typename Plan>
constexpr FftSizes sizes_of() {
  return {Plan::PARTS * Plan::N, Plan::THREADS, Plan::PARTS, Plan::BUFFER * 8, Plan::GROUPS * Plan::THREADS, Plan::SHARED_BYTES};
}
FftSizes fft_sizes(int length) {
  switch (length) {
    case 256: return sizes_of<MixerPlan256>();
    case 512: return sizes_of<MixerPlan512>();
    case 1024: return sizes_of<MixerPlan1024>();
    case 2048: return sizes_of<MixerPlan2048>();
    case 4096: return sizes_of<MixerPlan4096>();
    default: return sizes_of<MixerPlan8192>();
  }
}

// The launch of a Toeplitz kernel.
struct ToeplitzLaunch {
  int length, B;

  // With few sequences, most of a product of 16 would be zeros.
  bool is_batch() const { return length == 128 || B >= 8; }
  int warps() const { return is_batch() ? ToeplitzBatchSizes{length}.warps() : ToeplitzSizes::WARPS; }
  int shared_bytes() const { return is_batch() ? ToeplitzBatchSizes{length}.shared_bytes() : ToeplitzSizes{length}.shared_bytes(); }
  int groups() const { return ceil_div(B, is_batch() ? ToeplitzBatchSizes::SEQUENCES : ToeplitzSizes::WARPS); }
  // Groups of a block, so that there are enough blocks to fill a large GPU.
  int groups_of_block(int H) const {
    constexpr int enough_blocks = 132 * 16;
    return is_batch() ? int(std::clamp<size_t>(size_t(groups()) * H / enough_blocks, 1, ToeplitzBatchSizes{length}.most_groups())) : 1;
  }
};

// Of the mixer's core.
int shared_bytes(const Kernel& k, int B) {
  switch (k.method) {
    case Method::toeplitz: return ToeplitzLaunch{k.length, B}.shared_bytes();
    case Method::monarch: return k.sizes().shared_bytes();
    case Method::fft: break;
  }
  return fft_sizes(k.length).bytes;
}

// Words of the packed filters of a channel: the filters, then scales or skip terms.
struct PackedSize {
  int filters, scalars;
};
PackedSize packed_size(const Kernel& k, bool residual) {
  switch (k.method) {
    case Method::toeplitz: return {2 * tap_count(k.length), 2};
    case Method::monarch: return {2 * k.segments() * k.sizes().size(), 2};
    case Method::fft: break;
  }
  return {(residual ? 2 : 1) * 2 * fft_sizes(k.length).transform, 0};
}

mx::array roots(int n) {
  std::vector<float> values;
  for (int j = 0; j < n; ++j) {
    const double angle = -2 * std::numbers::pi * j / n;
    values.push_back(float(std::cos(angle))), values.push_back(float(std::sin(angle)));
  }
  return mx::array(values.data(), {n, 2}, mx::float32);
}

// The tables that a kernel reads, shared by all layers. They are never freed: MLX's allocator may go first.
mx::array shared_table(const std::tuple<Method, int, int>& key, const std::function<mx::array()>& make) {
  static std::mutex mutex;
  static auto* all = new std::map<std::tuple<Method, int, int>, mx::array>;
  const std::lock_guard lock(mutex);
  auto found = all->find(key);
  if (found == all->end()) found = all->emplace(key, make()).first;
  return found->second;
}
mx::array constants_of(const Kernel& kernel) {
  if (kernel.method == Method::monarch) return monarch_tables(kernel.sizes());
  const int n = fft_sizes(kernel.length).transform;
  return shared_table({Method::fft, n, 1}, [n] { return roots(n); });
}

// Both filters in the time domain, float32; the first one takes the place of a second one that is not there.
struct Filters {
  mx::array k, k_rev, k2, k2_rev, D, D2;
  bool bidirectional;
  int count;

  Filters(const MixerFilters& f, mx::Stream s)
      : k(float32(f.k, s)),
        k_rev(f.k_rev ? float32(*f.k_rev, s) : k),
        k2(f.k2 ? float32(*f.k2, s) : k),
        k2_rev(f.k2_rev ? float32(*f.k2_rev, s)
               : f.k2   ? k2
                        : k_rev),
        D(float32(f.D, s)),
        D2(f.D2 ? float32(*f.D2, s) : D),
        bidirectional(f.k_rev.has_value()),
        count(f.k2 ? 2 : 1) {}
  int L() const { return k.shape(0); }
  int H() const { return k.shape(1); }
  std::vector<mx::array> arrays() const { return {k, k_rev, k2, k2_rev, D, D2}; }
};

std::vector<mx::array> pack_taps(const Kernel& kernel, const Filters& f, mx::Stream s) {
  const int n = f.H() * 2 * (tap_count(kernel.length) + 1);
  return run({"mixer_taps", "mixer_taps", 2, f.H(), 256}, f.arrays(), {{n}, {n}}, {mx::uint32, mx::uint32},
             {f.H(), f.L(), kernel.length, f.bidirectional}, s);
}

mx::array pack_spectra(const Kernel& kernel, const Filters& f, mx::Stream s) {
  const int H = f.H(), n = kernel.sizes().size(), parts = kernel.sizes().parts, segments = kernel.segments();
  const std::string fatbin = "mixer_monarch_spectra";
  const auto lags = run({fatbin, "mixer_lags", n / 32, 2 * segments * ceil_div(H, 32), 256, LagsTile::SHARED_BYTES}, f.arrays(),
                        {H, 2 * (2 * segments - 1), n}, mx::float32, {H, f.L(), n, segments, f.bidirectional}, s);
  const auto transforms = mx::fft::rfft(lags, n, 2, mx::fft::FFTNorm::Backward, s);
  const auto scales = run({fatbin, "mixer_monarch_scales", 2, H, SpectraScales::THREADS, SpectraScales::SHARED_BYTES}, {transforms}, {H, 2},
                          mx::float32, {n, segments}, s);
  return run({fatbin, fatbin, 2 * segments * parts / SpectraTile::parts(parts), H, 256, SpectraTile::SHARED_BYTES}, {transforms, scales},
             {H * 2 * (segments * n + 1)}, mx::uint32, {n, segments}, s);
}

// One filter at a time, into its place; the other one's is undefined.
mx::array pack_fft(const Kernel& kernel, const Filters& f, mx::Stream s) {
  const auto sizes = fft_sizes(kernel.length);
  std::vector<mx::array> spectra;
  for (int i = 0; i < f.count; ++i) {
    const auto written = run({kernel.fatbin(), "mixer_spectra_" + std::to_string(kernel.length), sizes.spectra_parts, f.H(),
                              sizes.spectra_threads, sizes.spectra_bytes},
                             {i ? f.k2 : f.k, i ? f.k2_rev : f.k_rev, i ? f.D2 : f.D, constants_of(kernel)},
                             {f.H(), f.count, 2 * sizes.transform}, mx::float32, {f.H(), f.L(), f.count, i, f.bidirectional}, s);
    spectra.push_back(mx::slice(written, {0, i, 0}, {f.H(), i + 1, 2 * sizes.transform}, s));
  }
  return mx::reshape(mx::concatenate(spectra, 1, s), {-1}, s);
}

}  // namespace

int longest_mixer_core(mx::Dtype dtype) {
  auto longest = [](mx::Dtype dtype) {
    int found = 0;
    for (const int length : lengths_of(dtype)) {
      if (shared_bytes(kernel_for(length, dtype), INT_MAX) <= shared_memory_limit()) found = length;
    }
    return found;
  };
  static const int float32 = longest(mx::float32), bfloat16 = longest(mx::bfloat16);
  return dtype == mx::float32 ? float32 : bfloat16;
}

int longest_trained_mixer() {
  static const int longest = [] {
    int length = longest_mixer_core(mx::bfloat16);
    while (filter_gradient_sizes(length).shared_bytes() > shared_memory_limit()) length /= 2;
    return length;
  }();
  return longest;
}

int shortest_mixer_core(mx::Dtype dtype) { return lengths_of(dtype).front(); }

int packed_mixer_filter_size(int L, int H, bool residual, mx::Dtype dtype) {
  const auto size = packed_size(kernel_for(L, dtype), residual);
  return H * (size.filters + size.scalars);
}

mx::array pack_mixer_filters(const MixerFilters& filters, mx::Dtype dtype, mx::Stream s) {
  const Filters f(filters, s);
  const Kernel kernel = kernel_for(f.L(), dtype);
  switch (kernel.method) {
    case Method::toeplitz: return pack_taps(kernel, f, s)[0];
    case Method::monarch: return pack_spectra(kernel, f, s);
    case Method::fft: break;
  }
  return pack_fft(kernel, f, s);
}

TrainingFilters pack_training_filters(const MixerFilters& filters, mx::Stream s) {
  const Filters f(filters, s);
  const Kernel kernel = kernel_for(f.L(), mx::bfloat16);
  if (reverses_by_conjugate(f.L())) {
    const auto packed = pack_spectra(kernel, f, s);
    return {packed, packed};
  }
  const auto both = pack_taps(kernel, f, s);
  return {both[0], both[1]};
}

bool reverses_by_conjugate(int L) { return kernel_for(L, mx::bfloat16).method == Method::monarch; }

mx::array monarch_tables(const MonarchSizes& sizes) {
  return shared_table({Method::monarch, sizes.parts, sizes.groups}, [&] {
    const auto words = monarch_constants(sizes);
    return mx::array(words.data(), {int(words.size())}, mx::uint32);
  });
}

mx::array mixer_core(const MixerInputRows& mixed, const mx::array& u, const mx::array& short_filter, const mx::array& packed, int L,
                     const MixerCoreOptions& options, mx::Stream s) {
  const auto& sequences = options.sequences;
  const int H = u.shape(0), columns = u.shape(1), B = sequences ? sequences->shape(0) / 2 : columns / L;
  const Kernel kernel = kernel_for(L, u.dtype());
  const int filters = H * packed_size(kernel, options.residual).filters;
  const auto spectra = mx::slice(packed, {0}, {filters}, s);
  auto inputs = mixed.arrays();
  inputs.insert(inputs.end(), {u, short_filter, spectra});
  if (kernel.method != Method::fft) inputs.push_back(mx::slice(packed, {filters}, {int(packed.size())}, s));
  if (kernel.method != Method::toeplitz) inputs.push_back(constants_of(kernel));
  inputs.push_back(sequences.value_or(short_filter));  // which is not read as such
  Scalars scalars{H, B, L};
  const auto places = mixed.places(sequences ? columns : 0);
  scalars.insert(scalars.end(), places.begin(), places.end());
  scalars.push_back(options.residual);
  if (kernel.method != Method::fft) scalars.push_back(options.filter);
  if (kernel.method == Method::monarch) scalars.push_back(options.conjugate);
  const int rows = H + (options.with_bias_rows ? BIAS_ROWS : 0);
  Launch launch{"", kernel.fatbin(), ceil_div(B, 2), rows, 0, shared_bytes(kernel, B)};
  if (kernel.method == Method::toeplitz) {
    const ToeplitzLaunch toeplitz{kernel.length, B};
    if (toeplitz.is_batch()) launch.kernel = "mixer_toeplitz_batch_" + std::to_string(kernel.length);
    const int each = toeplitz.groups_of_block(H);
    if (toeplitz.is_batch()) scalars.push_back(each);
    launch.blocks_x = ceil_div(toeplitz.groups(), each);
    launch.threads = 32 * toeplitz.warps();
  } else if (kernel.method == Method::monarch) {
    launch.blocks_x = ceil_div(B, 2 / kernel.segments());
    launch.threads = 32 * kernel.sizes().warps;
  } else {
    launch.threads = fft_sizes(kernel.length).threads;
  }
  launch.fatbin = launch.kernel;
  return run(launch, inputs, {rows, columns}, u.dtype(), scalars, s);
}

}  // namespace m2bert::ops::cuda
