#pragma once
// Runs CUDA kernels on a CPU: a .cu file that uses tensor_core.cuh compiles with g++, and each thread of a block is a fiber. A fiber runs
// until a barrier or an operation of its warp, and the last one to arrive computes the operation for all. Slow, but exact in what the
// kernel reads, writes and rounds. Include it before the .cu file.
#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <deque>
#include <functional>
#include <memory>
#include <vector>

#include "m2bert/ops/backend/cuda/scalar.cuh"

#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define M2BERT_SHARED_MEMORY(name) char* const name = ::emulation::block().shared.data()

struct uint2 {
  uint32_t x, y;
};
struct alignas(16) uint4 {
  uint32_t x, y, z, w;
};
struct float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};

namespace emulation {

struct Index {
  unsigned x = 1, y = 1, z = 1;
};

struct Barrier {
  int arrived = 0;
  unsigned generation = 0;
};

struct Block {
  struct Copy {
    void* shared;
    const void* global;  // null: zeros
  };
  struct Fiber {
    ucontext_t context;
    std::unique_ptr<char[]> stack;
    bool done = false;
    std::deque<std::vector<Copy>> copies{1};  // asynchronous ones, in groups; the last one is not committed
  };
  struct Warp {
    Barrier barrier;
    void* slots[32];
  };
  struct Warpgroup {
    Barrier barrier;
    void* slots[128];
  };
  Index index, size, grid;
  std::vector<char> shared;
  std::vector<Warpgroup> warpgroups;
  Barrier named[16];
  std::vector<Fiber> fibers;
  std::vector<Warp> warps;
  Barrier barrier;
  ucontext_t scheduler;
  int current = 0;
  std::function<void()> kernel;
};

inline Block*& current_block() {
  static Block* block = nullptr;
  return block;
}
inline Block& block() { return *current_block(); }
inline void yield() {
  auto& b = block();
  swapcontext(&b.fibers[b.current].context, &b.scheduler);
}
template <typename F>
void wait(Barrier& barrier, int count, F last) {
  const unsigned generation = barrier.generation;
  if (++barrier.arrived == count) {
    last();
    barrier.arrived = 0;
    ++barrier.generation;
  } else {
    while (barrier.generation == generation) yield();
  }
}
// Every lane passes its argument; the last one calls f on all 32. All return after that.
template <typename T, typename F>
void collective(T& own, F f) {
  auto& warp = block().warps[block().current / 32];
  warp.slots[block().current % 32] = &own;
  wait(warp.barrier, 32, [&] {
    T* lanes[32];
    for (int i = 0; i < 32; ++i) lanes[i] = static_cast<T*>(warp.slots[i]);
    f(lanes);
  });
}
inline void enter() {
  block().kernel();
  block().fibers[block().current].done = true;
  yield();
}

// Runs kernel() for each thread of each block; blocks one after the other.
inline void launch(Index grid, unsigned threads, size_t shared_bytes, std::function<void()> kernel) {
  Block b;
  current_block() = &b;
  b.size = {threads, 1, 1};
  b.grid = grid;
  b.kernel = std::move(kernel);
  b.fibers.resize(threads);
  for (auto& f : b.fibers) f.stack = std::make_unique<char[]>(1 << 16);
  for (b.index.y = 0; b.index.y < grid.y; ++b.index.y) {
    for (b.index.x = 0; b.index.x < grid.x; ++b.index.x) {
      b.shared.assign(shared_bytes + 16, char(0x7f));
      b.warps.assign((threads + 31) / 32, {});
      b.warpgroups.assign((threads + 127) / 128, {});
      std::fill(std::begin(b.named), std::end(b.named), Barrier{});
      b.barrier = {};
      for (auto& f : b.fibers) {
        f.done = false;
        f.copies.assign(1, {});
        getcontext(&f.context);
        f.context.uc_stack = {f.stack.get(), 0, 1 << 16};
        f.context.uc_link = nullptr;
        makecontext(&f.context, enter, 0);
      }
      for (bool running = true; running;) {
        running = false;
        for (b.current = 0; b.current < int(threads); ++b.current) {
          if (b.fibers[b.current].done) continue;
          running = true;
          swapcontext(&b.scheduler, &b.fibers[b.current].context);
        }
      }
    }
  }
  current_block() = nullptr;
}

inline float half_value(uint16_t bits) {
  const int exponent = bits >> 10 & 31, fraction = bits & 1023;
  const float magnitude = exponent == 31  ? (fraction ? NAN : INFINITY)
                          : exponent == 0 ? std::ldexp(float(fraction), -24)
                                          : std::ldexp(float(1024 + fraction), exponent - 25);
  return bits & 0x8000 ? -magnitude : magnitude;
}

}  // namespace emulation

#define threadIdx (::emulation::Index{unsigned(::emulation::block().current), 0, 0})
#define blockIdx (::emulation::block().index)
#define blockDim (::emulation::block().size)
#define gridDim (::emulation::block().grid)

inline void __syncthreads() {
  auto& b = emulation::block();
  emulation::wait(b.barrier, int(b.fibers.size()), [] {});
}
inline void __syncwarp() {
  int none = 0;
  emulation::collective(none, [](int**) {});
}
inline uint32_t __float_as_uint(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  return bits;
}
inline float __uint_as_float(uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, 4);
  return x;
}
inline float __expf(float x) { return std::exp(x); }
inline float __fdividef(float x, float y) { return x / y; }
template <typename T>
T __ldg(const T* x) {
  return *x;
}
inline float rsqrtf(float x) { return 1 / std::sqrt(x); }
struct Shuffle {
  uint32_t value, result;
  int from;
};
inline uint32_t shuffle(uint32_t value, int from) {
  Shuffle s{value, 0, from};
  emulation::collective(s, [](Shuffle** lanes) {
    for (int i = 0; i < 32; ++i) lanes[i]->result = lanes[lanes[i]->from]->value;
  });
  return s.result;
}
inline uint32_t __shfl_sync(uint32_t, uint32_t value, int lane) { return shuffle(value, lane & 31); }
inline uint32_t __shfl_up_sync(uint32_t, uint32_t value, int delta) {
  const int lane = emulation::block().current % 32;
  return shuffle(value, lane < delta ? lane : lane - delta);
}
inline uint32_t __shfl_down_sync(uint32_t, uint32_t value, int delta) {
  const int lane = emulation::block().current % 32;
  return shuffle(value, lane + delta > 31 ? lane : lane + delta);
}
inline uint32_t __shfl_xor_sync(uint32_t, uint32_t value, int mask) { return shuffle(value, emulation::block().current % 32 ^ mask); }
inline float __shfl_xor_sync(uint32_t all, float value, int mask) {
  return __uint_as_float(__shfl_xor_sync(all, __float_as_uint(value), mask));
}
using std::max;
using std::min;

namespace m2bert::ops::cuda {

inline float2 unpack_f16(uint32_t word) { return {emulation::half_value(uint16_t(word)), emulation::half_value(uint16_t(word >> 16))}; }
inline uint32_t pack_f16(float low, float high) { return uint32_t(half_bits(low)) | uint32_t(half_bits(high)) << 16; }
inline float2 unpack_bf16(uint32_t word) { return {__uint_as_float(word << 16), __uint_as_float(word & 0xffff0000u)}; }
inline uint32_t pack_bf16(float low, float high) {
  return uint32_t(from_float<BFloat16>(low).bits) | uint32_t(from_float<BFloat16>(high).bits) << 16;
}
inline uint32_t mul_f16(uint32_t a, uint32_t b) {
  const float2 x = unpack_f16(a), y = unpack_f16(b);
  return pack_f16(x.x * y.x, x.y * y.y);
}
inline uint32_t neg_f16(uint32_t x) { return x ^ 0x80008000u; }
inline uint32_t fma_f16(uint32_t a, uint32_t b, uint32_t c) {
  const float2 x = unpack_f16(a), y = unpack_f16(b), z = unpack_f16(c);
  return pack_f16(float(double(x.x) * y.x + z.x), float(double(x.y) * y.y + z.y));
}

inline uint32_t warp_max(uint32_t x) {
  uint32_t value = x;
  emulation::collective(value, [](uint32_t** lanes) {
    uint32_t most = 0;
    for (int i = 0; i < 32; ++i) most = std::max(most, *lanes[i]);
    for (int i = 0; i < 32; ++i) *lanes[i] = most;
  });
  return value;
}

// async_copy.cuh. A copy is made when it is waited for, the latest time on a GPU, or at once with copies_at_once: a kernel is right with
// both.
inline bool copies_at_once = false;
inline void make_copy(void* shared, const void* global) { global ? std::memcpy(shared, global, 16) : std::memset(shared, 0, 16); }
inline void copy_async(void* shared, const void* global, bool exists = true) {
  if (copies_at_once) return void(make_copy(shared, exists ? global : nullptr));
  ::emulation::block().fibers[::emulation::block().current].copies.back().push_back({shared, exists ? global : nullptr});
}
inline void commit_copies() { ::emulation::block().fibers[::emulation::block().current].copies.emplace_back(); }
template <int N>
void wait_for_copies() {
  auto& groups = ::emulation::block().fibers[::emulation::block().current].copies;
  for (; groups.size() > N + 1; groups.pop_front()) {
    for (const auto& copy : groups.front()) make_copy(copy.shared, copy.global);
  }
}

struct Mma {
  float* c;
  const uint32_t* a;
  uint32_t b0, b1;
};
template <typename Unpack>
void mma(float* c, const uint32_t* a, uint32_t b0, uint32_t b1, Unpack unpack) {
  Mma own{c, a, b0, b1};
  emulation::collective(own, [&](Mma** lanes) {
    float left[16][16], right[16][8];
    auto put = [&](float& first, float& second, uint32_t word) {
      const float2 v = unpack(word);
      first = v.x, second = v.y;
    };
    for (int l = 0; l < 32; ++l) {
      const int g = l / 4, q = l % 4;
      for (int i = 0; i < 4; ++i) {
        float* row = left[g + 8 * (i % 2)] + 2 * q + 8 * (i / 2);
        put(row[0], row[1], lanes[l]->a[i]);
      }
      put(right[2 * q][g], right[2 * q + 1][g], lanes[l]->b0);
      put(right[2 * q + 8][g], right[2 * q + 9][g], lanes[l]->b1);
    }
    for (int l = 0; l < 32; ++l) {
      for (int i = 0; i < 4; ++i) {
        const int row = l / 4 + 8 * (i / 2), column = 2 * (l % 4) + i % 2;
        float sum = 0;
        for (int k = 0; k < 16; ++k) sum += left[row][k] * right[k][column];
        lanes[l]->c[i] += sum;
      }
    }
  });
}
inline void mma_f16(float* c, const uint32_t* a, uint32_t b0, uint32_t b1) { mma(c, a, b0, b1, unpack_f16); }
inline void mma_bf16(float* c, const uint32_t* a, uint32_t b0, uint32_t b1) { mma(c, a, b0, b1, unpack_bf16); }

// warpgroup.cuh.
inline uint32_t shared_address(const void* p) { return uint32_t(static_cast<const char*>(p) - emulation::block().shared.data()); }

using ArrivalBarrier = uint64_t;
struct ArrivalState {
  uint16_t count, pending;
  uint32_t phase;
};
static_assert(sizeof(ArrivalState) == sizeof(ArrivalBarrier));
inline void init_barrier(ArrivalBarrier* b, int count) {
  const ArrivalState state{uint16_t(count), uint16_t(count), 0};
  std::memcpy(b, &state, sizeof(state));
}
inline void arrive(ArrivalBarrier* b) {
  ArrivalState state;
  std::memcpy(&state, b, sizeof(state));
  if (--state.pending == 0) state.pending = state.count, ++state.phase;
  std::memcpy(b, &state, sizeof(state));
}
inline void wait(ArrivalBarrier* b, int parity) {
  for (;;) {
    ArrivalState state;
    std::memcpy(&state, b, sizeof(state));
    if (int(state.phase % 2) != parity) return;
    emulation::yield();
  }
}
inline void sync_barrier(int id, int threads) {
  emulation::wait(emulation::block().named[id], threads, [] {});
}
inline void arrive_barrier(int id, int threads) {
  auto& b = emulation::block().named[id];
  if (++b.arrived == threads) b.arrived = 0, ++b.generation;
}
inline void publish_to_products() {}
template <int COUNT>
void take_registers() {}
template <int COUNT>
void give_registers() {}
inline void begin_products() {}
inline void commit_products() {}
inline void finish_products() {}
inline void pin(float (&)[32]) {}

// 16 rows of 64 values in shared memory as PTX describes them: eight rows every `stride` bytes, swizzled by 128 bytes.
struct Rows {
  float values[16][64];
  explicit Rows(uint64_t described) {
    const uint32_t start = uint32_t(described & 0x3fff) << 4, stride = uint32_t(described >> 32 & 0x3fff) << 4;
    for (int k = 0; k < 16; ++k) {
      for (int n = 0; n < 64; ++n) {
        uint32_t address = start + uint32_t(k / 8) * stride + uint32_t(k % 8) * 128 + uint32_t(n) * 2;
        address ^= (address >> 7 & 7) << 4;
        BFloat16 value;
        std::memcpy(&value, emulation::block().shared.data() + address, 2);
        values[k][n] = to_float(value);
      }
    }
  }
};
struct WarpgroupMultiply {
  float* d;
  const uint32_t* a;  // or null: the left operand is in shared memory
  uint64_t columns, b;
  bool accumulate;
};
inline void multiply(float* d, const uint32_t* a, uint64_t columns, uint64_t b, bool accumulate) {
  auto& group = emulation::block().warpgroups[emulation::block().current / 128];
  WarpgroupMultiply own{d, a, columns, b, accumulate};
  group.slots[emulation::block().current % 128] = &own;
  emulation::wait(group.barrier, 128, [&] {
    const Rows right(b), left_columns(a ? b : columns);
    for (int thread = 0; thread < 128; ++thread) {
      auto* lane = static_cast<WarpgroupMultiply*>(group.slots[thread]);
      const int q = thread % 4;
      for (int half = 0; half < 2; ++half) {
        float left[16];
        if (a) {  // the row's values are spread over the four lanes
          for (int from = 0; from < 4; ++from) {
            const auto* words = static_cast<WarpgroupMultiply*>(group.slots[thread - q + from])->a;
            for (int high = 0; high < 2; ++high) {
              const float2 v = unpack_bf16(words[half + 2 * high]);
              left[2 * from + 8 * high] = v.x, left[2 * from + 8 * high + 1] = v.y;
            }
          }
        } else {
          for (int k = 0; k < 16; ++k) left[k] = left_columns.values[k][thread / 32 * 16 + thread % 32 / 4 + 8 * half];
        }
        for (int j = 0; j < 8; ++j) {
          for (int i = 0; i < 2; ++i) {
            float sum = 0;
            for (int k = 0; k < 16; ++k) sum += left[k] * right.values[k][8 * j + 2 * q + i];
            float& result = lane->d[4 * j + 2 * half + i];
            result = lane->accumulate ? result + sum : sum;
          }
        }
      }
    }
  });
}
inline void multiply(float (&d)[32], const uint32_t* a, uint64_t b, bool accumulate) { multiply(d, a, 0, b, accumulate); }
inline void multiply(float (&d)[32], uint64_t columns, uint64_t b, bool accumulate) { multiply(d, nullptr, columns, b, accumulate); }

struct Load {
  uint32_t* r;
  const uint16_t* row;
};
inline void load(uint32_t* r, const void* row, bool transposed) {
  Load own{r, static_cast<const uint16_t*>(row)};
  emulation::collective(own, [&](Load** lanes) {
    for (int l = 0; l < 32; ++l) {
      const int g = l / 4, q = l % 4;
      for (int m = 0; m < 4; ++m) {
        auto element = [&](int i, int j) { return uint32_t(lanes[8 * m + i]->row[j]); };
        lanes[l]->r[m] = transposed ? element(2 * q, g) | element(2 * q + 1, g) << 16 : element(g, 2 * q) | element(g, 2 * q + 1) << 16;
      }
    }
  });
}
inline void load_matrices(uint32_t* r, const void* row) { load(r, row, false); }
inline void load_transposed(uint32_t* r, const void* row) { load(r, row, true); }

}  // namespace m2bert::ops::cuda
