#pragma once
// The Monarch Mixer between its projections, channel-major: which kernel does which length, and the filters as it takes them.
#include "m2bert/mx.h"
#include "m2bert/ops/monarch_mix.h"

namespace m2bert::ops::cuda {

struct MonarchSizes;

// The longest sequence that a kernel reaches: 32768 in bfloat16, 8192 in float32; less on GPUs whose blocks have less shared memory.
int longest_mixer_core(mx::Dtype dtype);
// The same with gradients, bfloat16. That of the filters needs more shared memory.
int longest_trained_mixer();
// The shortest length that has a kernel of its own.
int shortest_mixer_core(mx::Dtype dtype);

// Filters for sequences of `dtype`, bfloat16 or float32, and of a length up to the longest one: one array [n] of uint32 or float32.
mx::array pack_mixer_filters(const MixerFilters& filters, mx::Dtype dtype, mx::Stream s);

// The same, and the reversed filters, k[-t], which gradients go through, bfloat16. At some lengths these are the filters themselves, of
// whose spectra mixer_core takes the conjugates.
struct TrainingFilters {
  mx::array packed, reversed;
};
TrainingFilters pack_training_filters(const MixerFilters& filters, mx::Stream s);
bool reverses_by_conjugate(int L);

int packed_mixer_filter_size(int L, int H, bool residual, mx::Dtype dtype);

// What a short convolution reads: [H, B L] of an array from a row on, and H rows of short_filter (below) from a row on.
struct MixerRows {
  mx::array values;
  int row, taps;
};
struct MixerInputRows {
  MixerRows x1, x2, v;

  // projected [3 H, B L]
  static MixerInputRows of(const mx::array& projected) {
    const int H = projected.shape(0) / 3;
    return {{projected, 0, 0}, {projected, H, H}, {projected, 2 * H, 2 * H}};
  }
  std::vector<mx::array> arrays() const { return {x1.values, x2.values, v.values}; }
  // After the sizes: the kernels' scalars for what is read where. columns: of a row, if the kernel gets a table of sequences.
  std::vector<mx::fast::ScalarArg> places(int columns = 0) const { return {x1.row, x2.row, v.row, x1.taps, x2.taps, v.taps, columns}; }
};

struct MixerCoreOptions {
  bool residual = false, with_bias_rows = false;
  int filter = 0;          // of the gated convolution: 1 is k2; bfloat16
  bool conjugate = false;  // the reversed filters, where reverses_by_conjugate(L)
  // Sequences of up to L positions: their part of CuSeqlens::table(). Columns that are not theirs are undefined in the result; those behind
  // each sequence become 0.
  std::optional<mx::array> sequences = {};
};

// monarch_mix for u [H, B L], or [H, columns] of sequences of different lengths; returns [H, columns], or [H + BIAS_ROWS, columns]
// (mixer_inputs.cuh) with one row of ones and then zeros, for a product that adds a bias. short_filter [5 H, 8] float32: the rows of x1, x2
// and v, three taps, the bias and what the channel has before position 0 (the rest is unused); then H rows whose result is the input, then
// H rows whose result is 1.
mx::array mixer_core(const MixerInputRows& rows, const mx::array& u, const mx::array& short_filter, const mx::array& packed_filters, int L,
                     const MixerCoreOptions& options, mx::Stream s);

// The DFT matrices and twiddles of a Monarch transform (mixer_monarch.cuh), shared by all layers. The number of warps does not matter.
mx::array monarch_tables(const MonarchSizes& sizes);

}  // namespace m2bert::ops::cuda
