#pragma once
// The Monarch Mixer's core by FFT, for one channel and a pair of sequences: short convolution, gates, both long convolutions.
//
// The pair is one complex signal: its sequences share a real filter. A linear convolution of up to N PARTS / 2 positions is a circular one
// of PARTS N, whose transform falls into PARTS transforms of length N: part r holds the frequencies r, r + PARTS, ... With 2 parts these
// are the circular (r = 0) and the negacyclic convolution (r = 1) of length N. Each part has a buffer in shared memory and is the work of
// N / POINTS threads, in three passes, N = R1 R2 R3. The last pass leaves the frequencies in the order in which the threads hold them, and
// the inverse takes them in that order, as spectra are stored.
//
// Phases of the work are functions of one thread. The kernel has a barrier between them, and the tests, which run them on a CPU, a loop
// over the threads.
#include "m2bert/ops/backend/cuda/fft.cuh"
#include "m2bert/ops/backend/cuda/mixer_rows.cuh"

namespace m2bert::ops::cuda {

// POINTS: number of complex values that each thread holds.
template <int R1_, int R2_, int R3_, int POINTS_, int PARTS_>
struct MixerPlan {
  static constexpr int R1 = R1_, R2 = R2_, R3 = R3_, POINTS = POINTS_, PARTS = PARTS_;
  static constexpr int N = R1 * R2 * R3, THREADS = N / POINTS, MAX_LENGTH = N * PARTS / 2;
  static constexpr int BLOCKS = PARTS / 2;   // a sequence is that many blocks of N positions
  static constexpr int BUFFER = N + N / 16;  // complex values of padded shared memory
  static constexpr int GROUPS = 2;           // groups of THREADS threads; each does every second part
  static constexpr int CHUNK = POINTS / 2;   // neighbouring positions of each block that a thread loads and writes
  // Bytes of shared memory: the buffers, and with several blocks the gated convolution until the other one is done.
  static constexpr int KEPT = BLOCKS > 1 ? BLOCKS * 2 * CHUNK* GROUPS* THREADS : 0;
  static constexpr int SHARED_BYTES = PARTS * BUFFER * 8 + KEPT * 4;
  static_assert(POINTS % R1 == 0 && POINTS % R2 == 0 && POINTS % R3 == 0 && R2 % R3 == 0 && R3 <= 32 && (PARTS == 2 || PARTS == 4));
};

template <typename Plan>
struct MixerFft {
  static constexpr int N = Plan::N, R1 = Plan::R1, R2 = Plan::R2, R3 = Plan::R3, POINTS = Plan::POINTS, PARTS = Plan::PARTS;
  static constexpr int THREADS = Plan::THREADS, CHUNK = Plan::CHUNK, BLOCKS = Plan::BLOCKS, BUFFER = Plan::BUFFER;
  static constexpr int GROUP = R3;  // passes 2 and 3 exchange values within groups of that many consecutive threads, a part of a warp

  int part, thread;
  const Complex* roots;  // exp(-2 pi i j / (PARTS N)), j < PARTS N

  M2BERT_DEVICE static int padded(int i) { return i + (i >> 4); }

  // The signal at positions t0 ... t0 + CHUNK - 1 of each block, as the parts transform it. buffers: of all parts.
  template <typename T>
  M2BERT_DEVICE static void stage(const MixerPair<T>& pair, int signal, int t0, Complex* buffers) {
    float values[BLOCKS][2][CHUNK];
    M2BERT_UNROLL for (int j = 0; j < BLOCKS; ++j) {
      M2BERT_UNROLL for (int b = 0; b < 2; ++b) pair.template signal_values<CHUNK>(signal, pair.first + b, t0 + j * N, values[j][b]);
    }
    M2BERT_UNROLL for (int i = 0; i < CHUNK; ++i) {
      Complex x[PARTS];
      M2BERT_UNROLL for (int j = 0; j < PARTS; ++j) x[j] = j < BLOCKS ? Complex{values[j][0][i], values[j][1][i]} : Complex{0, 0};
      dft<PARTS, false>(x);
      M2BERT_UNROLL for (int r = 0; r < PARTS; ++r) buffers[r * BUFFER + padded(t0 + i)] = x[r];
    }
  }

  M2BERT_DEVICE void first(Complex* buffer, Complex* x) const {
    read_first(buffer, x);
    M2BERT_UNROLL for (int j = 0; j < POINTS / R1; ++j) {
      const int o = thread + THREADS * j;
      if (part) twist<false>(x + j * R1);
      dft<R1, false>(x + j * R1);
      multiply_by_powers<R1, false>(x + j * R1, roots[PARTS * o], roots[part * o]);
      M2BERT_UNROLL for (int i = 0; i < R1; ++i) buffer[padded(o + N / R1 * i)] = x[j * R1 + i];
    }
  }
  M2BERT_DEVICE void second(Complex* buffer, Complex* x) const {
    M2BERT_UNROLL for (int j = 0; j < POINTS / R2; ++j) {
      const int b = thread + THREADS * j, o = b % R3, begin = b / R3 * (R2 * R3) + o;
      M2BERT_UNROLL for (int i = 0; i < R2; ++i) x[j * R2 + i] = buffer[padded(begin + R3 * i)];
      dft<R2, false>(x + j * R2);
      multiply_by_powers<R2, false>(x + j * R2, roots[PARTS * R1 * o], {1, 0});
      M2BERT_UNROLL for (int i = 0; i < R2; ++i) buffer[padded(begin + R3 * i)] = x[j * R2 + i];
    }
  }
  M2BERT_DEVICE void third(const Complex* buffer, Complex* x) const {
    M2BERT_UNROLL for (int j = 0; j < POINTS / R3; ++j) {
      M2BERT_UNROLL for (int i = 0; i < R3; ++i) x[j * R3 + i] = buffer[padded(third_begin(j) + i)];
      dft<R3, false>(x + j * R3);
    }
  }

  // Spectra [channel, signal, part, POINTS, THREADS].
  M2BERT_DEVICE size_t spectrum_offset(int channel, int signal, int signals) const {
    return ((size_t(channel) * signals + signal) * PARTS + part) * N + thread;
  }
  M2BERT_DEVICE void multiply(const Complex* spectrum, Complex* x) const {
    M2BERT_UNROLL for (int i = 0; i < POINTS; ++i) x[i] = x[i] * spectrum[i * THREADS];
  }

  M2BERT_DEVICE void inverse_third(Complex* buffer, Complex* x) const {
    M2BERT_UNROLL for (int j = 0; j < POINTS / R3; ++j) {
      dft<R3, true>(x + j * R3);
      M2BERT_UNROLL for (int i = 0; i < R3; ++i) buffer[padded(third_begin(j) + i)] = x[j * R3 + i];
    }
  }
  M2BERT_DEVICE void inverse_second(Complex* buffer, Complex* x) const {
    M2BERT_UNROLL for (int j = 0; j < POINTS / R2; ++j) {
      const int b = thread + THREADS * j, o = b % R3, begin = b / R3 * (R2 * R3) + o;
      M2BERT_UNROLL for (int i = 0; i < R2; ++i) x[j * R2 + i] = buffer[padded(begin + R3 * i)];
      multiply_by_powers<R2, true>(x + j * R2, roots[PARTS * R1 * o], {1, 0});
      dft<R2, true>(x + j * R2);
      M2BERT_UNROLL for (int i = 0; i < R2; ++i) buffer[padded(begin + R3 * i)] = x[j * R2 + i];
    }
  }
  M2BERT_DEVICE void inverse_first(Complex* buffer, Complex* x) const {
    read_first(buffer, x);
    M2BERT_UNROLL for (int j = 0; j < POINTS / R1; ++j) {
      const int o = thread + THREADS * j;
      multiply_by_powers<R1, true>(x + j * R1, roots[PARTS * o], roots[part * o]);
      dft<R1, true>(x + j * R1);
      if (part) twist<true>(x + j * R1);
      M2BERT_UNROLL for (int i = 0; i < R1; ++i) buffer[padded(o + N / R1 * i)] = x[j * R1 + i];
    }
  }

  // The convolution at positions t0 ... t0 + CHUNK - 1 of each block, from the buffers of all parts.
  using Values = float[BLOCKS][2][CHUNK];
  M2BERT_DEVICE static void join(const Complex* buffers, int t0, Values& out) {
    M2BERT_UNROLL for (int i = 0; i < CHUNK; ++i) {
      Complex x[PARTS];
      M2BERT_UNROLL for (int r = 0; r < PARTS; ++r) x[r] = buffers[r * BUFFER + padded(t0 + i)];
      dft<PARTS, true>(x);
      M2BERT_UNROLL for (int j = 0; j < BLOCKS; ++j) {
        out[j][0][i] = x[j].re;
        out[j][1][i] = x[j].im;
      }
    }
  }

  template <typename T>
  M2BERT_DEVICE static void apply_gate(const MixerPair<T>& pair, int t0, Values& values) {
    M2BERT_UNROLL for (int j = 0; j < BLOCKS; ++j) {
      M2BERT_UNROLL for (int b = 0; b < 2; ++b) {
        float x2[CHUNK];
        pair.template gate<CHUNK>(pair.first + b, t0 + j * N, x2);
        M2BERT_UNROLL for (int i = 0; i < CHUNK; ++i) values[j][b][i] *= x2[i];
      }
    }
  }

  // y = gated + residual, in the layout of u. Positions of padding become 0.
  template <typename T>
  M2BERT_DEVICE static void write(const MixerPair<T>& pair, int t0, const Values& values, T* y) {
    M2BERT_UNROLL for (int j = 0; j < BLOCKS; ++j) {
      M2BERT_UNROLL for (int b = 0; b < 2; ++b) pair.template store<CHUNK>(pair.first + b, t0 + j * N, values[j][b], y);
    }
  }

  // What the part transforms of a filter k [L], k_rev [L] (null: causal), of elements `stride` apart, and a skip term D; includes the
  // 1 / (PARTS N) of the inverse transform.
  M2BERT_DEVICE void stage_filter(const float* k, const float* k_rev, float D, int L, size_t stride, Complex* buffer) const {
    for (int i = 0; i < POINTS; ++i) {
      const int t = thread + THREADS * i;
      Complex sum{0, 0};
      M2BERT_UNROLL for (int j = 0; j < PARTS; ++j) {
        const int n = t + j * N, reverse = PARTS * N - 1 - n;
        float value = n < L ? k[n * stride] : k_rev && reverse < L - 1 ? k_rev[reverse * stride] : 0.0f;
        if (n == 0) value += D;
        const Complex root = roots[part * j % PARTS * N];
        sum = sum + Complex{value * root.re, value * root.im};
      }
      buffer[padded(t)] = {sum.re / (PARTS * N), sum.im / (PARTS * N)};
    }
  }

 private:
  M2BERT_DEVICE void read_first(const Complex* buffer, Complex* x) const {
    M2BERT_UNROLL for (int j = 0; j < POINTS / R1; ++j) {
      M2BERT_UNROLL for (int i = 0; i < R1; ++i) x[j * R1 + i] = buffer[padded(thread + THREADS * j + N / R1 * i)];
    }
  }
  M2BERT_DEVICE int third_begin(int j) const {
    // Within the groups of the second pass. R3 = 8: neighbours, which then lie 16 apart, without bank conflicts.
    constexpr int ratio = R2 / R3;
    const int q = thread / GROUP + THREADS / GROUP * (j / ratio), i = j % ratio;
    return (q * R2 + (R3 < 16 ? thread % GROUP * ratio + i : thread % GROUP + GROUP * i)) * R3;
  }
  // x[i] *= exp(-2 pi i part i / (PARTS R1)): the part's frequencies are multiples of PARTS plus `part`.
  template <bool inverse>
  M2BERT_DEVICE void twist(Complex* x) const {
    M2BERT_UNROLL for (int i = 1; i < R1; ++i) {
      if constexpr (PARTS == 2) {
        x[i] = times_root_of_64<inverse>(x[i], i * (32 / R1));
      } else {
        x[i] = times<inverse>(x[i], roots[part * i * (N / R1)]);
      }
    }
  }
};

// The plans by the length that they reach.
using MixerPlan256 = MixerPlan<8, 8, 4, 8, 2>;
using MixerPlan512 = MixerPlan<8, 8, 8, 8, 2>;
using MixerPlan1024 = MixerPlan<16, 8, 8, 16, 2>;
using MixerPlan2048 = MixerPlan<16, 16, 8, 16, 2>;
using MixerPlan4096 = MixerPlan<16, 16, 16, 16, 2>;
using MixerPlan8192 = MixerPlan<16, 16, 16, 16, 4>;

}  // namespace m2bert::ops::cuda
