#include "m2bert/ops/backend/cuda/mixer_core.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <mutex>
#include <numbers>

#include "m2bert/error.h"
#include "m2bert/ops/backend/cuda/kernel.h"
#include "m2bert/ops/backend/cuda/mixer_fft.cuh"
#include "m2bert/ops/backend/cuda/mixer_monarch.cuh"
#include "m2bert/ops/real_fft.h"

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
  // Of a Monarch transform. The longest sequences have two segments, and a filter for each of their distances.
  MonarchSizes sizes() const { return {std::min(length, 16384) / 128}; }
  int segments() const { return length / sizes().length(); }
  int distances() const { return 2 * segments() - 1; }
  bool operator<(const Kernel& o) const { return std::tie(method, length) < std::tie(o.method, o.length); }
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

int tap_count(int length) { return 2 * length + 16; }

constexpr int TOEPLITZ_WARPS = 4;

int shared_bytes(const Kernel& k) {
  switch (k.method) {
    case Method::toeplitz: return 4 * tap_count(k.length) * 2 + TOEPLITZ_WARPS * 2 * (k.length / 2 + 64) * 4;
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
    case Method::monarch: return {2 * k.distances() * k.sizes().size(), 2 * k.distances()};
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
mx::array constants_of(const Kernel& kernel) {
  static std::mutex mutex;
  static auto* all = new std::map<Kernel, mx::array>;
  const std::lock_guard lock(mutex);
  auto found = all->find(kernel);
  if (found == all->end()) {
    auto words = [](const std::vector<uint32_t>& w) { return mx::array(w.data(), {int(w.size())}, mx::uint32); };
    found = all->emplace(kernel, kernel.method == Method::monarch ? words(monarch_constants(kernel.sizes().parts))
                                                                  : roots(fft_sizes(kernel.length).transform))
                .first;
  }
  return found->second;
}

// One of the two filters in the time domain; k_rev is k if there is none.
struct Filter {
  mx::array k, k_rev, D;
  bool bidirectional;
};

std::vector<Filter> filters_of(const MixerFilters& f, mx::Stream s) {
  auto filter = [&](const mx::array& k, const std::optional<mx::array>& k_rev, const mx::array& D) {
    return Filter{mx::astype(k, mx::float32, s), mx::astype(k_rev.value_or(k), mx::float32, s),
                  mx::reshape(mx::astype(D, mx::float32, s), {-1}, s), k_rev.has_value()};
  };
  std::vector<Filter> all{filter(f.k, f.k_rev, f.D)};
  if (f.k2) all.push_back(filter(*f.k2, f.k2_rev, *f.D2));
  return all;
}

// The taps of a filter with its skip term by their lag, [2 extent, H] from -extent on.
mx::array taps(const Filter& f, int extent, mx::Stream s) {
  const int L = f.k.shape(0), H = f.k.shape(1);
  auto zeros = [&](int rows) { return mx::zeros({rows, H}, mx::float32, s); };
  std::vector<mx::array> parts;
  if (f.bidirectional && L > 1) {
    parts = {zeros(extent - L + 1), mx::slice(f.k_rev, {L - 2, 0}, {-L - 1, H}, {-1, 1}, s)};  // without its last row, which is unused
  } else {
    parts = {zeros(extent)};
  }
  parts.push_back(mx::add(mx::slice(f.k, {0, 0}, {1, H}, s), mx::reshape(f.D, {1, H}, s), s));
  parts.push_back(mx::slice(f.k, {1, 0}, {L, H}, s));
  parts.push_back(zeros(extent - L));
  return mx::concatenate(parts, 0, s);
}

// The transforms [n / 2 + 1, H] of a filter between segments of n / 2 positions, by their distance.
std::vector<mx::array> transforms(const Filter& f, int n, int segments, mx::Stream s) {
  const auto all = taps(f, segments * n / 2, s);
  const int H = all.shape(1);
  std::vector<mx::array> found;
  for (int first = 0; first + n <= all.shape(0); first += n / 2) {
    auto rows = [&](int begin) { return mx::slice(all, {first + begin, 0}, {first + begin + n / 2, H}, s); };
    found.push_back(real_fft(mx::concatenate({rows(n / 2), rows(0)}, 0, s), n, 0, s));
  }
  return found;
}

// The kernels that prepare a filter write into both filters' place; this is the one that filter i wrote.
mx::array part(const mx::array& written, int i, mx::Stream s) {
  mx::Shape begin(written.ndim(), 0), end = written.shape();
  begin[1] = i, end[1] = i + 1;
  return mx::slice(written, begin, end, s);
}

struct PackedFilter {
  mx::array values;                  // [H, 1, ...], or [H, distances, ...]
  std::optional<mx::array> scalars;  // [H, 1] or [H, distances] float32
};

PackedFilter pack(const Kernel& kernel, const Filter& f, int i, int count, bool reversed, mx::Stream s) {
  const int L = f.k.shape(0), H = f.k.shape(1);
  switch (kernel.method) {
    case Method::toeplitz: {
      const auto taps = run({"mixer_taps", "mixer_taps", 1, H, 256}, {f.k, f.k_rev}, {H, 2, tap_count(kernel.length)}, mx::uint32,
                            {H, L, kernel.length, i, f.bidirectional, reversed}, s);
      return {part(taps, i, s), mx::reshape(f.D, {H, 1}, s)};
    }
    case Method::monarch: {
      const int n = kernel.sizes().size();
      std::vector<mx::array> spectra, scales;
      for (const auto& transform : transforms(f, n, kernel.segments(), s)) {
        const auto out = run({"mixer_monarch_spectra", "mixer_monarch_spectra", 1, H, 512, 64}, {transform}, {{H, 1, n}, {H, 1}},
                             {mx::uint32, mx::float32}, {n, H, 1, 0, 1}, s);
        spectra.push_back(out[0]), scales.push_back(out[1]);
      }
      return {mx::concatenate(spectra, 1, s), mx::concatenate(scales, 1, s)};
    }
    case Method::fft: break;
  }
  const auto sizes = fft_sizes(kernel.length);
  const auto spectra =
      run({kernel.fatbin(), "mixer_spectra_" + std::to_string(kernel.length), sizes.spectra_parts, H, sizes.spectra_threads,
           sizes.spectra_bytes},
          {f.k, f.k_rev, f.D, constants_of(kernel)}, {H, count, 2 * sizes.transform}, mx::float32, {H, L, count, i, f.bidirectional}, s);
  return {part(spectra, i, s), std::nullopt};
}

// The filters side by side, flat. Without a second filter the first one fills its place, which is never read.
mx::array beside(std::vector<mx::array> parts, size_t count, mx::Stream s) {
  while (parts.size() < count) parts.push_back(parts[0]);
  return mx::reshape(mx::concatenate(parts, 1, s), {-1}, s);
}

}  // namespace

int bias_rows() { return BIAS_ROWS; }

int longest_mixer_core(mx::Dtype dtype) {
  auto longest = [](mx::Dtype dtype) {
    int found = 0;
    for (const int length : lengths_of(dtype)) {
      if (shared_bytes(kernel_for(length, dtype)) <= shared_memory_limit()) found = length;
    }
    return found;
  };
  static const int float32 = longest(mx::float32), bfloat16 = longest(mx::bfloat16);
  return dtype == mx::float32 ? float32 : bfloat16;
}

int packed_mixer_filter_size(int L, int H, bool residual, mx::Dtype dtype) {
  const auto size = packed_size(kernel_for(L, dtype), residual);
  return H * (size.filters + size.scalars);
}

namespace {

mx::array pack(const MixerFilters& filters, mx::Dtype dtype, bool reversed, mx::Stream s) {
  const Kernel kernel = kernel_for(filters.k.shape(0), dtype);
  const auto all = filters_of(filters, s);
  std::vector<mx::array> values, scalars;
  for (size_t i = 0; i < all.size(); ++i) {
    const auto packed = pack(kernel, all[i], int(i), int(all.size()), reversed, s);
    values.push_back(packed.values);
    if (packed.scalars) scalars.push_back(*packed.scalars);
  }
  if (scalars.empty()) return beside(values, all.size(), s);
  return mx::concatenate({beside(values, 2, s), mx::view(beside(scalars, 2, s), mx::uint32, s)}, 0, s);
}

}  // namespace

mx::array pack_mixer_filters(const MixerFilters& filters, mx::Dtype dtype, mx::Stream s) { return pack(filters, dtype, false, s); }

ReversedFilters pack_reversed_filters(const MixerFilters& filters, const mx::array& packed, mx::Stream s) {
  if (kernel_for(filters.k.shape(0), mx::bfloat16).method == Method::monarch) return {packed, true};
  return {pack(filters, mx::bfloat16, true, s), false};
}

mx::array monarch_tables(int length) { return constants_of({Method::monarch, length}); }

mx::array mixer_core(const MixerRows& mixed, const mx::array& u, const mx::array& short_filter, const mx::array& packed, int L,
                     const MixerCoreOptions& options, mx::Stream s) {
  const int H = u.shape(0), B = u.shape(1) / L;
  const Kernel kernel = kernel_for(L, u.dtype());
  const int filters = H * packed_size(kernel, options.residual).filters;
  const auto spectra = mx::slice(packed, {0}, {filters}, s);
  std::vector<mx::array> inputs{mixed.x1, mixed.x2, mixed.v, u, short_filter, spectra};
  if (kernel.method != Method::fft) inputs.push_back(mx::slice(packed, {filters}, {int(packed.size())}, s));
  if (kernel.method != Method::toeplitz) inputs.push_back(constants_of(kernel));
  inputs.push_back(short_filter);  // in place of the lengths, which are not read
  Scalars scalars{H, B, L, mixed.x1_row, mixed.x2_row, mixed.v_row, false, options.residual};
  if (kernel.method != Method::fft) scalars.push_back(options.filter);
  if (kernel.method == Method::monarch) scalars.push_back(options.conjugate);
  const int rows = H + (options.with_bias_rows ? BIAS_ROWS : 0);
  Launch launch{"", "", (B + 1) / 2, rows, 0, shared_bytes(kernel)};
  const std::string fatbin = kernel.fatbin();
  launch.fatbin = fatbin;
  launch.kernel = fatbin;
  if (kernel.method == Method::toeplitz) {
    // Enough sequences a warp that the taps are read seldom, and enough blocks to fill a large GPU.
    constexpr int warps = TOEPLITZ_WARPS, enough_blocks = 132 * 16;
    const int per_warp = int(std::clamp<size_t>(size_t(B) * H / (warps * enough_blocks), 1, 16));
    scalars.push_back(per_warp);
    launch.blocks_x = (B + warps * per_warp - 1) / (warps * per_warp);
    launch.threads = 32 * warps;
  } else if (kernel.method == Method::monarch) {
    const MonarchSizes sizes = kernel.sizes();
    launch.threads = 32 * sizes.warps();
  } else {
    launch.threads = fft_sizes(kernel.length).threads;
  }
  return run(launch, inputs, {rows, u.shape(1)}, u.dtype(), scalars, s);
}

}  // namespace m2bert::ops::cuda
