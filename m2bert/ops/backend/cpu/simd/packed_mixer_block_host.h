#pragma once
// The sequence mixer of an M2-BERT layer at inference: projection in, short convolution, gates, long convolutions, projection out. Host
// memory only, no MLX.
#include <cstdint>
#include <type_traits>
#include <vector>

#include "m2bert/ops/backend/cpu/simd/monarch_mix_simd.h"
#include "m2bert/ops/backend/cpu/simd/packed_weight.h"
#include "m2bert/ops/backend/cpu/simd/tile_simd.h"

namespace m2bert::ops::cpu {

struct MonarchMixerSource {
  Number number;
  HostWeight in, out;                      // H -> 3 H, H -> H; dense
  const float *in_bias, *out_bias;         // or null
  const float *short_weight, *short_bias;  // [3 H, 3], [3 H]
  bool residual;                           // has a second long convolution
};

// Whether the sizes suit: H a multiple of 16.
bool mixer_block_takes(const HostWeight& in, const HostWeight& out);

// How the filters of texts of T are prepared.
template <class T>
using FilterValue = std::conditional_t<sizeof(T) == 4, float, uint32_t>;

// The filters of one length: laid out beforehand by mixer_prepare, or as networks, from which they are computed a few channels a time, so
// that they never lie in memory as a whole.
template <class T>
struct FilterSource {
  const FilterValue<T>* prepared = nullptr;
  const HostFilterNetworks* networks = nullptr;

  // Those of channels [h, h + kChannelBlock). Valid until the thread asks again.
  const FilterValue<T>* channels(int L, int h) const;
};

class MonarchMixer {
 public:
  explicit MonarchMixer(const MonarchMixerSource& source);

  // y [B, L, H] from u [B, L, H], float or bfloat16 (uint16_t) as in FeedForward::run. y may be u.
  template <class T>
  void run(const T* u, int B, int L, const FilterSource<T>& filters, T* y, int threads) const;

  bool residual() const { return residual_; }
  int width() const { return hidden_; }
  Number number() const { return number_; }
  size_t bytes() const;

 private:
  template <class T>
  struct Planes;
  struct Group;
  Group group(int first, int width) const;
  int group_width(int64_t rows, size_t value_size) const;
  template <class T>
  void project_in(const T* u, int64_t row, int rows, const Planes<T>& planes, const Group& g) const;
  template <class T>
  void project_out(const Planes<T>& planes, int64_t row, int rows, T* y) const;
  template <class T>
  MixerRows<T> rows_of(const Planes<T>& planes, const Group& g) const;
  template <class T>
  void mix_group(const Planes<T>& planes, const Group& g, int B, int L, const FilterSource<T>& filters, int threads) const;
  template <class T>
  void run_by_texts(const T* u, int B, int L, const FilterSource<T>& filters, T* y, int threads) const;
  template <class T>
  void run_by_phases(const T* u, int B, int L, const FilterSource<T>& filters, T* y, int threads) const;

  Number number_;
  int hidden_, chunk_;
  bool residual_;
  std::vector<PackedWeight> in_;  // one a chunk of its outputs
  std::vector<PackedWeight> out_;
  std::vector<float> in_scale_, in_bias_, out_scale_, out_bias_, short_weight_, short_bias_;
};

}  // namespace m2bert::ops::cpu
