#include "m2bert/ops/backend/cpu/simd/blockdiag_gemm_host.h"

#include <algorithm>
#include <cstring>
#include <dnnl.hpp>
#include <map>
#include <tuple>
#include <unordered_map>

#include "m2bert/error.h"
#include "m2bert/ops/backend/cpu/simd/scratch.h"

namespace m2bert::ops::cpu {

namespace {

using dnnl::memory;

dnnl::engine& engine() {
  static dnnl::engine cpu(dnnl::engine::kind::cpu, 0);
  return cpu;
}

memory::desc desc(const Operand& m, memory::data_type type) {
  return m.transposed ? memory::desc({m.rows, m.columns}, type, {1, m.rows}) : memory::desc({m.rows, m.columns}, type, {m.columns, 1});
}

memory::desc bias_desc(int64_t columns, memory::data_type type) { return {{1, columns}, type, memory::format_tag::ab}; }

// Cached for each shape and thread: creating one costs more than a small matmul.
const dnnl::matmul& matmul_primitive(const Operand& a, const Operand& b, memory::data_type type, bool biased) {
  using Key = std::tuple<int64_t, int64_t, int64_t, bool, bool, int, bool>;
  static thread_local std::map<Key, dnnl::matmul> cache;
  const Key key{a.rows, a.columns, b.columns, a.transposed, b.transposed, int(type), biased};
  if (auto it = cache.find(key); it != cache.end()) return it->second;
  if (cache.size() > 512) cache.clear();  // each unpadded batch has another number of rows
  const auto c = desc({nullptr, a.rows, b.columns}, type);
#if DNNL_VERSION_MAJOR >= 3
  auto primitive_desc = biased ? dnnl::matmul::primitive_desc(engine(), desc(a, type), desc(b, type), bias_desc(b.columns, type), c)
                               : dnnl::matmul::primitive_desc(engine(), desc(a, type), desc(b, type), c);
#else
  dnnl::matmul::primitive_desc primitive_desc(biased ? dnnl::matmul::desc(desc(a, type), desc(b, type), bias_desc(b.columns, type), c)
                                                     : dnnl::matmul::desc(desc(a, type), desc(b, type), c),
                                              engine());
#endif
  return cache.emplace(key, dnnl::matmul(primitive_desc)).first->second;
}

// Memory for dense copies of blocks; `which` tells the buffers of a thread apart.
template <int which>
char* block_memory(int64_t bytes) {
  static thread_local Scratch memory;
  return memory.of<char>(size_t(bytes));
}

}  // namespace

void matmul(HostDtype dtype, const Operand& a, const Operand& b, const void* bias, void* c) {
  static thread_local dnnl::stream stream(engine());
  const auto type = dtype == HostDtype::bfloat16 ? memory::data_type::bf16 : memory::data_type::f32;
  auto view = [&](const memory::desc& d, const void* at) { return memory(d, engine(), const_cast<void*>(at)); };
  std::unordered_map<int, memory> arguments{{DNNL_ARG_SRC, view(desc(a, type), a.at)},
                                            {DNNL_ARG_WEIGHTS, view(desc(b, type), b.at)},
                                            {DNNL_ARG_DST, view(desc({c, a.rows, b.columns}, type), c)}};
  if (bias) arguments.emplace(DNNL_ARG_BIAS, view(bias_desc(b.columns, type), bias));
  matmul_primitive(a, b, type, bias != nullptr).execute(stream, arguments);
  stream.wait();
}

void gather_columns(const void* x, size_t stride, size_t first, size_t width, int64_t rows, void* y, int threads) {
  const char* from = static_cast<const char*>(x) + first;
  char* to = static_cast<char*>(y);
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int64_t r = 0; r < rows; ++r) std::memcpy(to + size_t(r) * width, from + size_t(r) * stride, width);
}

void scatter_columns(const void* x, size_t stride, size_t first, size_t width, int64_t rows, void* y, int threads) {
  const char* from = static_cast<const char*>(x);
  char* to = static_cast<char*>(y) + first;
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int64_t r = 0; r < rows; ++r) std::memcpy(to + size_t(r) * stride, from + size_t(r) * width, width);
}

namespace {

// Block k of the columns of a matrix with nb blocks of `width`: the matrix itself if there is one block, else a dense copy in `memory`.
const void* block_of(const void* x, const BlockSizes& s, int64_t k, int64_t width, size_t size, char* memory, int threads) {
  if (s.nb == 1) return x;
  const size_t bytes = size_t(width) * size;
  gather_columns(x, size_t(s.nb) * bytes, size_t(k) * bytes, bytes, s.M, memory, threads);
  return memory;
}

void put_block(const void* x, const BlockSizes& s, int64_t k, int64_t width, size_t size, void* y, int threads) {
  const size_t bytes = size_t(width) * size;
  scatter_columns(x, size_t(s.nb) * bytes, size_t(k) * bytes, bytes, s.M, y, threads);
}

const char* at(const void* base, int64_t elements, size_t size) { return static_cast<const char*>(base) + elements * int64_t(size); }

}  // namespace

void blockdiag_forward(HostDtype dtype, const BlockSizes& s, const void* x, const void* weight, const void* bias, void* y, int threads) {
  const size_t size = size_of(dtype);
  const bool one = s.nb == 1;
  char *in = one ? nullptr : block_memory<0>(s.M * s.p * int64_t(size)), *out = one ? nullptr : block_memory<1>(s.M * s.q * int64_t(size));
  for (int64_t k = 0; k < s.nb; ++k) {
    const void* xk = block_of(x, s, k, s.p, size, in, threads);
    matmul(dtype, {xk, s.M, s.p}, {at(weight, k * s.q * s.p, size), s.p, s.q, true}, bias ? at(bias, k * s.q, size) : nullptr,
           one ? y : out);
    if (!one) put_block(out, s, k, s.q, size, y, threads);
  }
}

void blockdiag_input_grad(HostDtype dtype, const BlockSizes& s, const void* dy, const void* weight, void* dx, int threads) {
  const size_t size = size_of(dtype);
  const bool one = s.nb == 1;
  char *in = one ? nullptr : block_memory<0>(s.M * s.q * int64_t(size)), *out = one ? nullptr : block_memory<1>(s.M * s.p * int64_t(size));
  for (int64_t k = 0; k < s.nb; ++k) {
    const void* dyk = block_of(dy, s, k, s.q, size, in, threads);
    matmul(dtype, {dyk, s.M, s.q}, {at(weight, k * s.q * s.p, size), s.q, s.p}, nullptr, one ? dx : out);
    if (!one) put_block(out, s, k, s.p, size, dx, threads);
  }
}

void blockdiag_weight_grad(HostDtype dtype, const BlockSizes& s, const void* dy, const void* x, void* dw, int threads) {
  const size_t size = size_of(dtype);
  const bool one = s.nb == 1;
  char *of_dy = one ? nullptr : block_memory<0>(s.M * s.q * int64_t(size)),
       *of_x = one ? nullptr : block_memory<1>(s.M * s.p * int64_t(size));
  for (int64_t k = 0; k < s.nb; ++k) {
    const void* dyk = block_of(dy, s, k, s.q, size, of_dy, threads);
    const void* xk = block_of(x, s, k, s.p, size, of_x, threads);
    matmul(dtype, {dyk, s.q, s.M, true}, {xk, s.M, s.p}, nullptr, static_cast<char*>(dw) + k * s.q * s.p * int64_t(size));
  }
}

}  // namespace m2bert::ops::cpu
