#include "m2bert/ops/backend/cpu/feed_forward_primitive.h"

#include "m2bert/error.h"
#include "m2bert/ops/backend/backend.h"

#ifdef M2BERT_CPU_KERNELS
#include "m2bert/ops/backend/cpu/simd/dropout_simd.h"
#include "m2bert/ops/backend/cpu/simd/packed_feed_forward_host.h"
#include "m2bert/ops/backend/cpu/simd/feed_forward_host.h"
#include "m2bert/ops/backend/cpu/host_arrays.h"
#include "m2bert/threads.h"

namespace m2bert::ops::cpu {

namespace {

// Input: x.
class FeedForwardPrimitive : public FloatKernel<FeedForwardPrimitive> {
 public:
  FeedForwardPrimitive(mx::Stream s, PackedFeedForward prepared) : FloatKernel(s, "feed_forward"), prepared_(std::move(prepared)) {}
  const char* name() const override { return "FeedForward"; }
  bool is_equivalent(const Primitive& other) const override {
    return static_cast<const FeedForwardPrimitive&>(other).prepared_ == prepared_;
  }
  static constexpr bool kInPlace = true;

  template <class T>
  auto task(const std::vector<mx::array>& in, std::vector<mx::array>& out) const {
    return [prepared = prepared_, x = in[0].data<T>(), y = out[0].data<T>(), rows = int64_t(in[0].size()) / in[0].shape(-1)] {
      prepared->run(x, rows, y, threads());
    };
  }

 private:
  PackedFeedForward prepared_;
};

struct ProductsOptions {
  Activation activation;
  bool gated, up_bias, down_bias, dropout;
  float p;
  bool operator==(const ProductsOptions&) const = default;
};

FeedForwardSizes sizes_of(const std::vector<mx::array>& in, bool gated) {
  const auto &x = in[0], &down = in[2];
  const int nb = down.ndim() == 3 ? down.shape(0) : 1, hidden = x.shape(-1);
  return {int64_t(x.size()) / hidden, nb, hidden, nb * down.shape(-1), gated};
}

// Inputs: x, up, down, (up_bias), (down_bias), (key); then those of the gradient. Reads them in this order.
template <class T>
class ProductsInputs {
 public:
  ProductsInputs(const std::vector<mx::array>& in, const ProductsOptions& o) : in_(in) {
    parts = {next<T>(), next<T>(), nullptr, next<T>(), nullptr};
    if (o.up_bias) parts.up_bias = next<T>();
    if (o.down_bias) parts.down_bias = next<T>();
    if (o.dropout) key = next<uint32_t>();
  }
  template <class U>
  const U* next() {
    return in_[at_++].template data<U>();
  }

  FeedForwardTensors<const T> parts{};
  const uint32_t* key = nullptr;

 private:
  const std::vector<mx::array>& in_;
  size_t at_ = 0;
};

// The key's numbers are there when the task runs.
TileDropout dropout_of(const ProductsOptions& o, const uint32_t* key) {
  if (!key) return {};
  return {{key[0], key[1]}, dropout_threshold(o.p), 1 / (1 - o.p), 0, 0};
}

// Inputs: those of Products, h, dy. Outputs: the gradients of x, up, down and the biases.
class ProductsGradient : public FloatKernel<ProductsGradient> {
 public:
  ProductsGradient(mx::Stream s, ProductsOptions options) : FloatKernel(s, "feed_forward"), options_(options) {}
  const char* name() const override { return "FeedForwardGradient"; }
  bool is_equivalent(const Primitive& other) const override { return static_cast<const ProductsGradient&>(other).options_ == options_; }

  template <class T>
  auto task(const std::vector<mx::array>& in, std::vector<mx::array>& out) const {
    ProductsInputs<T> inputs(in, options_);
    const T *h = inputs.template next<T>(), *dy = inputs.template next<T>();
    FeedForwardTensors<T> to{out[0].data<T>(), out[1].data<T>(), nullptr, out[2].data<T>(), nullptr};
    if (options_.up_bias) to.up_bias = out[3].data<T>();
    if (options_.down_bias) to.down_bias = out.back().data<T>();
    return [sizes = sizes_of(in, options_.gated), options = options_, parts = inputs.parts, key = inputs.key, h, dy, to] {
      feed_forward_backward<T>(sizes, options.activation, dropout_of(options, key), parts, h, dy, to, threads());
    };
  }

 private:
  ProductsOptions options_;
};

// Inputs: x, up, down, (up_bias), (down_bias), (key). Outputs: y, and what the gradient wants of the first product.
class Products : public FloatKernel<Products> {
 public:
  Products(mx::Stream s, ProductsOptions options) : FloatKernel(s, "feed_forward"), options_(options) {}
  const char* name() const override { return "FeedForwardProducts"; }
  bool is_equivalent(const Primitive& other) const override { return static_cast<const Products&>(other).options_ == options_; }
  std::vector<mx::array> vjp(const std::vector<mx::array>& in, const std::vector<mx::array>& cotangents, const std::vector<int>& argnums,
                             const std::vector<mx::array>& outputs) override {
    auto inputs = in;
    inputs.push_back(outputs[1]);
    inputs.push_back(mx::contiguous(cotangents[0], false, stream()));
    const std::vector<mx::array> like(in.begin(), in.end() - (options_.dropout ? 1 : 0));
    const auto all = arrays_like(like, std::make_shared<ProductsGradient>(stream(), options_), inputs);
    std::vector<mx::array> wanted;
    for (int argument : argnums) wanted.push_back(all[size_t(argument)]);
    return wanted;
  }

  template <class T>
  auto task(const std::vector<mx::array>& in, std::vector<mx::array>& out) const {
    const ProductsInputs<T> inputs(in, options_);
    return
        [sizes = sizes_of(in, options_.gated), options = options_, parts = inputs.parts, key = inputs.key, y = out[0].data<T>(),
         h = out[1].data<T>()] { feed_forward_forward<T>(sizes, options.activation, dropout_of(options, key), parts, y, h, threads()); };
  }

 private:
  ProductsOptions options_;
};

}  // namespace

bool feed_forward_products_take(const mx::array& x, const FeedForwardWeights& w, mx::StreamOrDevice s) {
  if (!cpu_kernels(s) || x.size() == 0 || !gated_activation_supports(w.activation) || w.up.scale || w.down.scale) return false;
  if (x.dtype() != mx::float32 && !(x.dtype() == mx::bfloat16 && has_bfloat16_gemm())) return false;
  for (const auto* a : {&w.up.values, &w.down.values}) {
    if (a->dtype() != x.dtype() || (a->ndim() != 2 && a->ndim() != 3)) return false;
  }
  for (const auto* a : {&w.up_bias, &w.down_bias}) {
    if (*a && (*a)->dtype() != x.dtype()) return false;
  }
  auto blocks = [](const mx::array& a) { return a.ndim() == 3 ? a.shape(0) : 1; };
  const auto &up = w.up.values, &down = w.down.values;
  const int nb = blocks(down), hidden = x.shape(-1), intermediate = nb * down.shape(-1);
  return blocks(up) == nb && nb * up.shape(-1) == hidden && nb * down.shape(-2) == hidden &&
         nb * up.shape(-2) == intermediate * (w.gated ? 2 : 1) && down.shape(-1) % 16 == 0;
}

mx::array feed_forward_products(const mx::array& x, const FeedForwardWeights& w, float p, const std::optional<mx::array>& key,
                                mx::Stream s) {
  const ProductsOptions options{w.activation, w.gated, w.up_bias.has_value(), w.down_bias.has_value(), key && p > 0, p};
  std::vector<mx::array> inputs;
  for (const auto* a : {&x, &w.up.values, &w.down.values}) inputs.push_back(mx::contiguous(*a, false, s));
  for (const auto* a : {&w.up_bias, &w.down_bias}) {
    if (*a) inputs.push_back(mx::contiguous(**a, false, s));
  }
  if (options.dropout) inputs.push_back(mx::contiguous(*key, false, s));
  const auto sizes = sizes_of(inputs, w.gated);
  const mx::Shape h{sizes.nb, int(sizes.rows), sizes.up_q()};
  return mx::array::make_arrays({x.shape(), h}, {x.dtype(), x.dtype()}, std::make_shared<Products>(s, options), inputs)[0];
}

PackedFeedForward pack_feed_forward(const FeedForwardWeights& w, mx::Stream s) {
  const auto dtype = host_dtype_of(w.up);
  if (!dtype || host_dtype_of(w.down) != dtype) return nullptr;
  HostArrays host(s);
  PackedFeedForwardSource source{*dtype,
                           host.weight(w.up),
                           host.weight(w.down),
                           host.floats(w.up_bias),
                           host.floats(w.down_bias),
                           host.floats(w.norm_weight),
                           host.floats(w.norm_bias),
                           w.eps,
                           w.activation,
                           w.gated};
  if (!packed_feed_forward_supports(source.up, source.down, w.gated)) return nullptr;
  return std::make_shared<const PackedFeedForwardHost>(source);
}

mx::array feed_forward(const mx::array& x, const PackedFeedForward& prepared, mx::Stream s) {
  require(prepared != nullptr, "[feed_forward] the weights are not prepared");
  require(x.ndim() >= 1 && x.shape(-1) == prepared->width(), "[feed_forward] x has shape ", x.shape(), ", the weights want ",
          prepared->width(), " columns");
  require(supports_input(prepared->dtype(), x.dtype()), "[feed_forward] x is ", x.dtype(), ", the weights want another dtype");
  if (x.size() == 0) return x;
  return mx::array(x.shape(), x.dtype(), std::make_shared<FeedForwardPrimitive>(s, prepared), {mx::contiguous(x, false, s)});
}

}  // namespace m2bert::ops::cpu

#else

namespace m2bert::ops::cpu {

PackedFeedForward pack_feed_forward(const FeedForwardWeights&, mx::Stream) { return nullptr; }
bool feed_forward_products_take(const mx::array&, const FeedForwardWeights&, mx::StreamOrDevice) { return false; }
mx::array feed_forward_products(const mx::array&, const FeedForwardWeights&, float, const std::optional<mx::array>&, mx::Stream) {
  fail("[feed_forward] this build has no CPU kernels");
}
mx::array feed_forward(const mx::array&, const PackedFeedForward&, mx::Stream) { fail("[feed_forward] this build has no CPU kernels"); }

}  // namespace m2bert::ops::cpu
#endif
