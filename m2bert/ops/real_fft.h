#pragma once
#include "m2bert/mx.h"

namespace m2bert::ops {

// A fast length for a real transform of at least n >= 1 values: even, and half of it has no prime factor above 5.
int real_fft_size(int n);

// The first n / 2 + 1 values of the transform of x along `axis`, with x zero-padded to length n. float32 -> complex64.
mx::array real_fft(const mx::array& x, int n, int axis, mx::StreamOrDevice s);

// The n values along `axis` whose transform is z. complex64 -> float32.
mx::array inverse_real_fft(const mx::array& z, int n, int axis, mx::StreamOrDevice s);

}  // namespace m2bert::ops
