#include "m2bert/ops/backend/cpu/simd/packed_weight_host.h"

#include <algorithm>
#include <dnnl.hpp>
#include <map>
#include <tuple>
#include <vector>

#ifdef _OPENMP
#include <omp.h>
#endif

#include "m2bert/error.h"
#include "m2bert/ops/backend/cpu/simd/gemm_simd.h"
#include "m2bert/ops/backend/cpu/simd/scratch.h"
#include "m2bert/ops/backend/cpu/simd/tile.h"

namespace m2bert::ops::cpu {

namespace {

using dnnl::memory;

dnnl::engine& engine() {
  static dnnl::engine cpu(dnnl::engine::kind::cpu, 0);
  return cpu;
}

memory::data_type onednn_type(HostDtype t) {
  return t == HostDtype::float32 ? memory::data_type::f32 : t == HostDtype::bfloat16 ? memory::data_type::bf16 : memory::data_type::s8;
}

memory::desc rows_desc(int rows, int columns, HostDtype t) { return {{rows, columns}, onednn_type(t), memory::format_tag::ab}; }
memory::desc bias_desc(int q) { return {{1, q}, memory::data_type::f32, memory::format_tag::ab}; }

// oneDNN plans a primitive for as many threads as its creator may use; here that is always one.
class OneThread {
 public:
#ifdef _OPENMP
  OneThread() : before_(omp_get_max_threads()) { omp_set_num_threads(1); }
  ~OneThread() { omp_set_num_threads(before_); }

 private:
  int before_;
#endif
};

dnnl::matmul::primitive_desc matmul_desc(int rows, int p, int q, HostDtype dtype, HostDtype y_dtype, bool biased,
                                         const memory::desc& weight) {
  const auto x = rows_desc(rows, p, dtype), y = rows_desc(rows, q, y_dtype);
#if DNNL_VERSION_MAJOR >= 3
  return biased ? dnnl::matmul::primitive_desc(engine(), x, weight, bias_desc(q), y) : dnnl::matmul::primitive_desc(engine(), x, weight, y);
#else
  auto desc = biased ? dnnl::matmul::desc(x, weight, bias_desc(q), y) : dnnl::matmul::desc(x, weight, y);
  return {desc, engine()};
#endif
}

// A matmul for one number of rows, with memory objects whose pointers each call replaces. Every thread has its own.
struct CachedMatmul {
  dnnl::matmul matmul;
  memory x, weight, bias, y;
};

}  // namespace

// In the layout of oneDNN, or of row_gemm if `panels` is not null.
struct PackedWeight::Layout {
  memory::desc desc;
  memory weight;
  Scratch panel_memory;
  float* panels = nullptr;
  std::vector<float> bias;
};

PackedWeight::PackedWeight(const void* weight, HostDtype dtype, int q, int p, const float* bias)
    : layout_(std::make_unique<Layout>()), dtype_(dtype), q_(q), p_(p) {
  require(!bias || dtype != HostDtype::int8, "[packed_weight] an int8 matmul has no bias");
  if (bias) layout_->bias.assign(bias, bias + q);
  if (dtype == HostDtype::float32 && q % kRowGemmOutputs == 0 && has_row_gemm()) {
    layout_->panels = layout_->panel_memory.of<float>(size_t(q) * size_t(p));
    pack_row_gemm(static_cast<const float*>(weight), q, p, layout_->panels);
    return;
  }
  const OneThread one;
  const memory::desc any({p, q}, onednn_type(dtype), memory::format_tag::any);
  layout_->desc =
      matmul_desc(kTileRows, p, q, dtype, dtype == HostDtype::int8 ? HostDtype::float32 : dtype, bias != nullptr, any).weights_desc();
  layout_->weight = memory(layout_->desc, engine());
  memory plain({{p, q}, onednn_type(dtype), memory::dims{1, p}}, engine(), const_cast<void*>(weight));
  dnnl::stream stream(engine());
  dnnl::reorder(plain, layout_->weight).execute(stream, plain, layout_->weight);
  stream.wait();
}

bool has_int8_gemm() {
  static const bool exact = [] {
    const OneThread one;  // or the thread that asks would start a pool of its own
    constexpr int kSize = 64, kMax = 127;
    const std::vector<int8_t> all(size_t(kSize) * kSize, kMax);
    std::vector<float> y(size_t(kSize) * kSize);
    PackedWeight(all.data(), HostDtype::int8, kSize, kSize).matmul(kSize, all.data(), y.data(), HostDtype::float32, ProfileStage::linear);
    return std::ranges::all_of(y, [](float sum) { return sum == float(kSize * kMax * kMax); });
  }();
  return exact;
}

PackedWeight::PackedWeight(PackedWeight&&) noexcept = default;
PackedWeight::~PackedWeight() = default;

size_t PackedWeight::bytes() const {
  const size_t values = layout_->panels ? size_t(q_) * size_t(p_) * sizeof(float) : layout_->desc.get_size();
  return values + layout_->bias.size() * sizeof(float);
}

bool PackedWeight::exact_rows() const { return layout_->panels != nullptr; }
int PackedWeight::row_multiple() const { return exact_rows() ? kRowGemmRows : kRowAlignment; }

void PackedWeight::matmul(int rows, const void* x, void* y, HostDtype y_dtype, ProfileStage stage, int y_stride) const {
  const ProfileScope timed(stage, int64_t(2) * rows * p_ * q_,
                           int64_t(rows) * (p_ * int64_t(size_of(dtype_)) + q_ * int64_t(size_of(y_dtype))) + int64_t(bytes()));
  if (layout_->panels)
    return row_gemm(static_cast<const float*>(x), rows, p_, layout_->panels, layout_->bias.empty() ? nullptr : layout_->bias.data(), q_,
                    static_cast<float*>(y), y_stride ? y_stride : q_);
  require(y_stride == 0, "[packed_weight] this matmul writes dense rows only");
  static thread_local dnnl::stream stream(engine());
  // The layers of a model have the same shapes, and oneDNN's layout of a weight depends on those alone.
  using Key = std::tuple<int, int, int, HostDtype, HostDtype, bool>;
  static thread_local std::map<Key, CachedMatmul> cache;
  const bool biased = !layout_->bias.empty();
  const int computed = round_up(rows);
  const Key key{computed, p_, q_, dtype_, y_dtype, biased};
  auto found = cache.find(key);
  if (found == cache.end()) {
    const OneThread one;
    const auto desc = matmul_desc(computed, p_, q_, dtype_, y_dtype, biased, layout_->desc);
    CachedMatmul made{dnnl::matmul(desc), memory(desc.src_desc(), engine(), nullptr), memory(layout_->desc, engine(), nullptr),
                      memory(bias_desc(q_), engine(), nullptr), memory(desc.dst_desc(), engine(), nullptr)};
    found = cache.emplace(key, std::move(made)).first;
  }
  CachedMatmul& call = found->second;
  call.x.set_data_handle(const_cast<void*>(x));
  call.weight.set_data_handle(layout_->weight.get_data_handle());
  call.y.set_data_handle(y);
  dnnl_exec_arg_t arguments[4] = {{DNNL_ARG_SRC, call.x.get()}, {DNNL_ARG_WEIGHTS, call.weight.get()}, {DNNL_ARG_DST, call.y.get()}};
  if (biased) {
    call.bias.set_data_handle(const_cast<float*>(layout_->bias.data()));
    arguments[3] = {DNNL_ARG_BIAS, call.bias.get()};
  }
  dnnl::error::wrap_c_api(dnnl_primitive_execute(call.matmul.get(), stream.get(), biased ? 4 : 3, arguments), "could not multiply");
}

}  // namespace m2bert::ops::cpu
