#pragma once
// The Monarch Mixer between its projections, channel-major: which kernel does which length, and the filters as it takes them.
#include "m2bert/mx.h"
#include "m2bert/ops/monarch_mix.h"

namespace m2bert::ops::cuda {

// The longest sequence that a kernel reaches: 32768 in bfloat16, 8192 in float32; less on GPUs whose blocks have less shared memory.
int longest_mixer_core(mx::Dtype dtype);

// Filters for sequences of `dtype`, bfloat16 or float32, and of a length up to the longest one: one array [n] of uint32 or float32.
mx::array pack_mixer_filters(const MixerFilters& filters, mx::Dtype dtype, mx::Stream s);

// The same of the reversed filters, k[-t], which gradients go through, bfloat16: `packed` are the filters themselves.
struct ReversedFilters {
  mx::array packed;
  bool conjugate;  // they are the filters, and mixer_core takes the conjugates of their spectra
};
ReversedFilters pack_reversed_filters(const MixerFilters& filters, const mx::array& packed, mx::Stream s);

int packed_mixer_filter_size(int L, int H, bool residual, mx::Dtype dtype);

// What the short convolutions of x1, x2 and v read: rows of channels, [H, B L] of each array from a row on.
struct MixerRows {
  mx::array x1, x2, v;
  int x1_row = 0, x2_row = 0, v_row = 0;

  // projected [3 H, B L]
  static MixerRows of(const mx::array& projected) {
    const int H = projected.shape(0) / 3;
    return {projected, projected, projected, 0, H, 2 * H};
  }
};

struct MixerCoreOptions {
  bool residual = false, with_bias_rows = false;
  int filter = 0;  // of the gated convolution: 1 is k2; bfloat16
  bool conjugate = false;
};

// monarch_mix for u [H, B L]; returns [H, B L], or [H + bias_rows(), B L] with one row of ones and then zeros, for a product that adds a
// bias.
// short_filter [3 H, 8] float32, for x1, x2 and v: three taps, the bias and what the row has before position 0; the rest is unused.
mx::array mixer_core(const MixerRows& rows, const mx::array& u, const mx::array& short_filter, const mx::array& packed_filters, int L,
                     const MixerCoreOptions& options, mx::Stream s);
int bias_rows();

// The tables that the kernels by Monarch transform of sequences of up to `length` positions read, shared by all layers.
mx::array monarch_tables(int length);

}  // namespace m2bert::ops::cuda
