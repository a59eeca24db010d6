#include "m2bert/ops/backend/cpu/simd/packed_weight.h"

#include <algorithm>
#include <dnnl.hpp>
#include <map>
#include <tuple>
#include <vector>

#ifdef _OPENMP
#include <omp.h>
#endif

#include "m2bert/error.h"

namespace m2bert::ops::cpu {

namespace {

using dnnl::memory;

dnnl::engine& engine() {
  static dnnl::engine cpu(dnnl::engine::kind::cpu, 0);
  return cpu;
}

memory::data_type type_of(Number n) {
  return n == Number::float32 ? memory::data_type::f32 : n == Number::bfloat16 ? memory::data_type::bf16 : memory::data_type::s8;
}

memory::desc rows_desc(int rows, int columns, Number n) { return {{rows, columns}, type_of(n), memory::format_tag::ab}; }
memory::desc bias_desc(int q) { return {{1, q}, memory::data_type::f32, memory::format_tag::ab}; }

// oneDNN plans for as many threads as the one that makes the primitive may use: here it is always one.
class OneThread {
 public:
#ifdef _OPENMP
  OneThread() : before_(omp_get_max_threads()) { omp_set_num_threads(1); }
  ~OneThread() { omp_set_num_threads(before_); }

 private:
  int before_;
#endif
};

dnnl::matmul::primitive_desc describe(int rows, int p, int q, Number number, Number result, bool biased, const memory::desc& weight) {
  const auto x = rows_desc(rows, p, number), y = rows_desc(rows, q, result);
#if DNNL_VERSION_MAJOR >= 3
  return biased ? dnnl::matmul::primitive_desc(engine(), x, weight, bias_desc(q), y) : dnnl::matmul::primitive_desc(engine(), x, weight, y);
#else
  auto what = biased ? dnnl::matmul::desc(x, weight, bias_desc(q), y) : dnnl::matmul::desc(x, weight, y);
  return {what, engine()};
#endif
}

// A product for one number of rows, with the memory objects that a call only points elsewhere: one thread's own.
struct Product {
  dnnl::matmul matmul;
  memory x, weight, bias, y;
};

}  // namespace

struct PackedWeight::Layout {
  memory::desc desc;
  memory weight;
  std::vector<float> bias;
};

PackedWeight::PackedWeight(const void* weight, Number number, int q, int p, const float* bias)
    : layout_(std::make_unique<Layout>()), number_(number), q_(q), p_(p) {
  require(!bias || number != Number::int8, "[packed_weight] int8 products have no bias");
  if (bias) layout_->bias.assign(bias, bias + q);
  const OneThread one;
  const memory::desc any({p, q}, type_of(number), memory::format_tag::any);
  layout_->desc = describe(kTileRows, p, q, number, number == Number::int8 ? Number::float32 : number, bias != nullptr, any).weights_desc();
  layout_->weight = memory(layout_->desc, engine());
  memory plain({{p, q}, type_of(number), memory::dims{1, p}}, engine(), const_cast<void*>(weight));
  dnnl::stream line(engine());
  dnnl::reorder(plain, layout_->weight).execute(line, plain, layout_->weight);
  line.wait();
}

bool has_int8_gemm() {
  static const bool exact = [] {
    constexpr int kSize = 64, kMost = 127;
    const std::vector<int8_t> all(size_t(kSize) * kSize, kMost);
    std::vector<float> y(size_t(kSize) * kSize);
    PackedWeight(all.data(), Number::int8, kSize, kSize).multiply(kSize, all.data(), y.data(), Number::float32, StageKind::linear);
    return std::ranges::all_of(y, [](float sum) { return sum == float(kSize * kMost * kMost); });
  }();
  return exact;
}

PackedWeight::PackedWeight(PackedWeight&&) noexcept = default;
PackedWeight::~PackedWeight() = default;

size_t PackedWeight::bytes() const { return layout_->desc.get_size() + layout_->bias.size() * sizeof(float); }

void PackedWeight::multiply(int rows, const void* x, void* y, Number result, StageKind stage) const {
  const Stage timed(stage, int64_t(2) * rows * p_ * q_,
                    int64_t(rows) * (p_ * int64_t(size_of(number_)) + q_ * int64_t(size_of(result))) + int64_t(bytes()));
  static thread_local dnnl::stream line(engine());
  // Layers of a model share their shapes, and oneDNN's layout of a weight follows from those.
  using Key = std::tuple<int, int, int, Number, Number, bool>;
  static thread_local std::map<Key, Product> products;
  const bool biased = !layout_->bias.empty();
  const int computed = round_up(rows);
  const Key key{computed, p_, q_, number_, result, biased};
  auto found = products.find(key);
  if (found == products.end()) {
    const OneThread one;
    const auto desc = describe(computed, p_, q_, number_, result, biased, layout_->desc);
    Product made{dnnl::matmul(desc), memory(desc.src_desc(), engine(), nullptr), memory(layout_->desc, engine(), nullptr),
                 memory(bias_desc(q_), engine(), nullptr), memory(desc.dst_desc(), engine(), nullptr)};
    found = products.emplace(key, std::move(made)).first;
  }
  Product& product = found->second;
  product.x.set_data_handle(const_cast<void*>(x));
  product.weight.set_data_handle(layout_->weight.get_data_handle());
  product.y.set_data_handle(y);
  dnnl_exec_arg_t arguments[4] = {
      {DNNL_ARG_SRC, product.x.get()}, {DNNL_ARG_WEIGHTS, product.weight.get()}, {DNNL_ARG_DST, product.y.get()}};
  if (biased) {
    product.bias.set_data_handle(const_cast<float*>(layout_->bias.data()));
    arguments[3] = {DNNL_ARG_BIAS, product.bias.get()};
  }
  dnnl::error::wrap_c_api(dnnl_primitive_execute(product.matmul.get(), line.get(), biased ? 4 : 3, arguments), "could not multiply");
}

}  // namespace m2bert::ops::cpu
