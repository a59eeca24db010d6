#pragma once
// Discrete Fourier transforms in registers: radix 2 to 32, forward (exp(-2 pi i n k / R)) and inverse (without 1 / R).
#include "m2bert/ops/backend/cuda/scalar.cuh"

namespace m2bert::ops::cuda {

struct alignas(8) Complex {
  float re, im;
};

M2BERT_DEVICE Complex operator+(Complex a, Complex b) { return {a.re + b.re, a.im + b.im}; }
M2BERT_DEVICE Complex operator-(Complex a, Complex b) { return {a.re - b.re, a.im - b.im}; }
M2BERT_DEVICE Complex operator*(Complex a, Complex b) { return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re}; }
// a * conj(b)
M2BERT_DEVICE Complex times_conj(Complex a, Complex b) { return {a.re * b.re + a.im * b.im, a.im * b.re - a.re * b.im}; }
template <bool inverse>
M2BERT_DEVICE Complex times(Complex a, Complex b) {
  return inverse ? times_conj(a, b) : a * b;
}

// exp(-2 pi i k / 64) for 0 <= k < 64; a constant once loops are unrolled.
M2BERT_DEVICE Complex root_of_64(int k) {
  constexpr float cosines[17] = {1.0f,
                                 0.995184726672f,
                                 0.980785280403f,
                                 0.956940335732f,
                                 0.923879532511f,
                                 0.881921264348f,
                                 0.831469612303f,
                                 0.773010453363f,
                                 0.707106781187f,
                                 0.634393284164f,
                                 0.555570233020f,
                                 0.471396736826f,
                                 0.382683432365f,
                                 0.290284677254f,
                                 0.195090322016f,
                                 0.098017140330f,
                                 0.0f};
  const int quarter = k >> 4, r = k & 15;
  const float c = cosines[r], s = cosines[16 - r];
  return quarter == 0 ? Complex{c, -s} : quarter == 1 ? Complex{-s, -c} : quarter == 2 ? Complex{-c, s} : Complex{s, c};
}

// a * exp(-2 pi i k / 64), or its conjugate if inverse; k is a constant once loops are unrolled.
template <bool inverse>
M2BERT_DEVICE Complex times_root_of_64(Complex a, int k) {
  switch ((inverse ? 64 - k : k) & 63) {
    case 0: return a;
    case 16: return {a.im, -a.re};
    case 32: return {-a.re, -a.im};
    case 48: return {-a.im, a.re};
    default: return times<inverse>(a, root_of_64(k & 63));
  }
}

// x[k] = sum over n of x[n] exp(-2 pi i n k / R).
template <int R, bool inverse>
M2BERT_DEVICE void dft(Complex* x) {
  if constexpr (R == 2) {
    const Complex a = x[0], b = x[1];
    x[0] = a + b;
    x[1] = a - b;
  } else if constexpr (R == 4) {
    const Complex a = x[0] + x[2], b = x[0] - x[2], c = x[1] + x[3], d = times_root_of_64<inverse>(x[1] - x[3], 16);
    x[0] = a + c;
    x[1] = b + d;
    x[2] = a - c;
    x[3] = b - d;
  } else {
    constexpr int A = R == 8 ? 2 : 4, B = R / A;
    Complex y[R];
    M2BERT_UNROLL for (int j = 0; j < B; ++j) {
      Complex column[A];
      M2BERT_UNROLL for (int i = 0; i < A; ++i) column[i] = x[j + B * i];
      dft<A, inverse>(column);
      M2BERT_UNROLL for (int a = 0; a < A; ++a) y[a * B + j] = times_root_of_64<inverse>(column[a], a * j * (64 / R));
    }
    M2BERT_UNROLL for (int a = 0; a < A; ++a) {
      dft<B, inverse>(y + a * B);
      M2BERT_UNROLL for (int b = 0; b < B; ++b) x[a + A * b] = y[a * B + b];
    }
  }
}

// x[k] *= start * base^k, or the conjugate of the factor if inverse.
template <int R, bool inverse>
M2BERT_DEVICE void multiply_by_powers(Complex* x, Complex base, Complex start) {
  const Complex square = base * base;
  const Complex low[4] = {start, start * base, start * square, start * (square * base)};
  const Complex step = square * square;
  Complex high = step;
  M2BERT_UNROLL for (int a = 0; a < 4 && a < R; ++a) x[a] = times<inverse>(x[a], low[a]);
  M2BERT_UNROLL for (int g = 4; g < R; g += 4) {
    M2BERT_UNROLL for (int a = 0; a < 4; ++a) x[g + a] = times<inverse>(x[g + a], low[a] * high);
    high = high * step;
  }
}

}  // namespace m2bert::ops::cuda
