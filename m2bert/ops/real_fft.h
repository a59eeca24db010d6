#pragma once
#include "m2bert/mx.h"

namespace m2bert::ops {

// A good length for a real transform of at least n >= 1 values: even, and half of it without a prime factor above 5.
int real_fft_size(int n);

// The first n / 2 + 1 values of the transform of x along `axis`, x followed by zeros up to length n. complex64 from float32.
mx::array real_fft(const mx::array& x, int n, int axis, mx::StreamOrDevice s);

// The n values whose transform z is, along `axis`. float32 from complex64.
mx::array inverse_real_fft(const mx::array& z, int n, int axis, mx::StreamOrDevice s);

}  // namespace m2bert::ops
