// The networks of a mixer's filters, all in the same launches: stacked arrays [networks, rows, ...].
#include "m2bert/ops/filter_network.h"

#include <algorithm>
#include <climits>

#include "m2bert/ops/backend/cuda/cuda_backend.h"
#include "m2bert/ops/backend/cuda/filter_network.cuh"
#include "m2bert/ops/backend/cuda/kernel.h"

namespace m2bert::ops {

namespace {

using Arrays = std::vector<mx::array>;

constexpr int THREADS = 256, MOST = 4;        // of filter_network.cu
constexpr int LAYERS = 3, KEPT = LAYERS + 1;  // arrays that the backward pass reads

// One array of each network, or all of them as one array.
struct Four {
  Arrays arrays;
  int stride = 0;

  static Four stacked(const mx::array& all) { return {{all}, int(all.size() / size_t(all.shape(0)))}; }
  void append_to(Arrays& inputs) const {
    for (size_t i = 0; i < MOST; ++i) inputs.push_back(arrays[std::min(i, arrays.size() - 1)]);
  }
};

Arrays inputs_of(std::initializer_list<const Four*> fours) {
  Arrays all;
  for (const auto* four : fours) four->append_to(all);
  return all;
}

mx::array part(const mx::array& stacked, int i, mx::Stream s) {
  mx::Shape begin(stacked.ndim(), 0), end = stacked.shape(), shape(stacked.shape().begin() + 1, stacked.shape().end());
  begin[0] = i, end[0] = i + 1;
  return mx::reshape(mx::slice(stacked, begin, end, s), shape, s);
}

struct Layer {
  Four weight, bias;
  int in() const { return weight.arrays[0].shape(1); }
  int out() const { return weight.arrays[0].shape(0); }
};

struct Networks {
  int count, rows;
  Four positions, freq, last, times, deltas;
  Layer layers[LAYERS];
  mx::Stream s;

  int width() const { return last.arrays[0].shape(0); }

  mx::array sine(const Layer& layer, const Four& x) const {
    return cuda::run(sine_launch("sine_linear"), inputs_of({&x, &layer.weight, &layer.bias, &freq}), {count, rows, layer.out()},
                     mx::float32, {rows, layer.in(), layer.out(), x.stride}, s);
  }
  cuda::Launch sine_launch(const std::string& kernel) const {
    const cuda::SineSizes sizes{rows};
    return {"filter_network", kernel + (sizes.few() ? "_few" : ""), sizes.blocks(), count, sizes.THREADS, sizes.shared_bytes()};
  }

  // left^T right over the rows, [count, out, in], of left [count, rows, out]. With also_summed, also the sums over the rows of left and of
  // also_summed, [count, out] each, the latter added to `before` if that is given.
  Arrays row_product(const mx::array& left, const Four& right, int in, const std::optional<mx::array>& also_summed = {},
                     const std::optional<mx::array>& before = {}) const {
    const int out = left.shape(2);
    const cuda::RowProductSizes sizes{rows, out, in, count};
    const int parts = sizes.parts();
    const bool with_columns = also_summed.has_value(), adds = before.has_value();
    const std::vector dtypes(3, mx::float32);
    auto shapes = [&](int parts) {  // parts before networks
      const auto columns = with_columns ? mx::Shape{parts * count, out} : mx::Shape{1};
      return std::vector{mx::Shape{parts * count, out, in}, columns, columns};
    };
    Arrays inputs{left};
    right.append_to(inputs);
    inputs.insert(inputs.end(), {also_summed.value_or(left), before.value_or(left)});
    auto found = cuda::run(
        {"filter_network", "row_products", sizes.right_tiles(), sizes.left_tiles() * count * parts, sizes.THREADS, sizes.SHARED_BYTES},
        inputs, shapes(parts), dtypes, {rows, out, in, count, right.stride, with_columns, adds && parts == 1}, s);
    if (parts == 1) return found;
    const int n = count * out * (in + (with_columns ? 2 : 0));
    return cuda::run({"filter_network", "row_product_sums", cuda::ceil_div(n, THREADS), 1, THREADS},
                     {found[0], found[1], found[2], before.value_or(found[1])}, shapes(1), dtypes,
                     {parts, count, out, in, with_columns, adds}, s);
  }

  // The gradients of x [count, rows, in], weight [count, out, in], bias and freq [count, out]; that of freq added to dfreq.
  Arrays sine_gradients(const Layer& layer, const Four& x, const mx::array& dy, const std::optional<mx::array>& dfreq) const {
    auto inputs = inputs_of({&x, &layer.weight, &layer.bias, &freq});
    inputs.push_back(dy);
    const auto by_row = cuda::run(sine_launch("sine_linear_gradient"), inputs, {{count, rows, layer.in()}, dy.shape(), dy.shape()},
                                  std::vector(3, mx::float32), {rows, layer.in(), layer.out(), x.stride}, s);
    const auto sums = row_product(by_row[1], x, layer.in(), by_row[2], dfreq);
    return {by_row[0], sums[0], sums[1], sums[2]};
  }

  mx::array decay(const Four& x) const {
    return cuda::run({"filter_network", "exponential_decay", cuda::ceil_div(rows * width(), 4 * THREADS), count, THREADS},
                     inputs_of({&x, &times, &deltas}), {count, rows, width()}, mx::float32, {rows, width(), x.stride}, s);
  }

  mx::array last_layers() const {
    const auto& shape = last.arrays[0].shape();
    const int n = shape[0] * shape[1];
    return cuda::run({"filter_network", "stack_arrays", cuda::ceil_div(n, THREADS), count, THREADS}, inputs_of({&last}),
                     {count, shape[0], shape[1]}, mx::float32, {n}, s);
  }

  // The results of the three layers, the last layers as one array, then the filters.
  Arrays forward() const {
    Arrays all;
    for (const auto& layer : layers) all.push_back(sine(layer, all.empty() ? positions : Four::stacked(all.back())));
    const auto weights = last_layers();
    const auto product = mx::matmul(all.back(), mx::swapaxes(weights, 1, 2, s), s);
    all.push_back(weights);
    const auto filters = decay(Four::stacked(product));
    for (int i = 0; i < count; ++i) all.push_back(part(filters, i, s));
    return all;
  }

  // Of flat()'s arrays, from those of the filters and the layers' results.
  Arrays backward(const Arrays& dfilters, const Arrays& results) const {
    const auto dproduct = decay({dfilters});
    const auto dlast = row_product(dproduct, Four::stacked(results[LAYERS - 1]), results[LAYERS - 1].shape(2))[0];
    auto dy = mx::matmul(dproduct, results[LAYERS], s);
    Arrays of_weights, of_biases;
    std::optional<mx::array> dfreq;
    for (int i = LAYERS - 1; i >= 0; --i) {
      const auto found = sine_gradients(layers[i], i == 0 ? positions : Four::stacked(results[size_t(i) - 1]), dy, dfreq);
      dy = found[0];
      of_weights.insert(of_weights.begin(), found[1]), of_biases.insert(of_biases.begin(), found[2]);
      dfreq = found[3];
    }
    Arrays gradients;
    for (int i = 0; i < count; ++i) {
      gradients.push_back(part(dy, i, s)), gradients.push_back(part(*dfreq, i, s));
      for (size_t layer = 0; layer < LAYERS; ++layer) {
        gradients.push_back(part(of_weights[layer], i, s)), gradients.push_back(part(of_biases[layer], i, s));
      }
      gradients.push_back(part(dlast, i, s));
    }
    return gradients;
  }
};

// The arrays with gradients, those of a network together.
Arrays flat(const std::vector<SineNetwork>& networks, mx::Stream s) {
  Arrays all;
  auto add = [&](const mx::array& a) { all.push_back(mx::astype(a, mx::float32, s)); };
  for (const auto& n : networks) {
    add(n.positions), add(n.freq);
    for (const auto& layer : n.layers) add(layer.weight), add(layer.bias);
    add(n.last);
  }
  return all;
}

bool supports(const std::vector<SineNetwork>& networks) {
  const auto& first = networks[0];
  auto equal = [&](const SineNetwork& n) {
    bool same = n.positions.shape() == first.positions.shape() && n.last.shape() == first.last.shape();
    for (size_t i = 0; i < LAYERS; ++i) {
      const auto& shape = n.layers[i].weight.shape();
      same = same && shape == first.layers[i].weight.shape() && std::max(shape[0], shape[1]) <= cuda::SineSizes::WIDTH;
    }
    return same && !n.times.is_tracer() && !n.deltas.is_tracer();  // the decay has no gradient here
  };
  const bool fits = int64_t(first.positions.shape(0)) * first.last.shape(0) <= INT_MAX - 4 * THREADS;
  return networks.size() <= MOST && first.positions.size() > 0 && fits && std::ranges::all_of(networks, equal);
}

}  // namespace

std::optional<Arrays> CudaBackend::filters_of_networks(const std::vector<SineNetwork>& networks, mx::Stream s) const {
  if (networks.empty() || !supports(networks)) return {};
  Four times, deltas;
  for (const auto& n : networks) {
    times.arrays.push_back(mx::astype(n.times, mx::float32, s));
    deltas.arrays.push_back(mx::astype(n.deltas, mx::float32, s));
  }
  const int count = int(networks.size()), rows = networks[0].positions.shape(0);
  auto from = [=](const Arrays& all) {
    Networks n{count, rows, {}, {}, {}, times, deltas, {}, s};
    for (size_t at = 0; at < all.size();) {
      n.positions.arrays.push_back(all[at++]), n.freq.arrays.push_back(all[at++]);
      for (auto& layer : n.layers) layer.weight.arrays.push_back(all[at++]), layer.bias.arrays.push_back(all[at++]);
      n.last.arrays.push_back(all[at++]);
    }
    return n;
  };
  auto backward = [=](const Arrays& all, const Arrays& cotangents, const Arrays& results) {
    return from(all).backward({cotangents.begin() + KEPT, cotangents.end()}, results);
  };
  const auto results = mx::custom_vjp([=](const Arrays& all) { return from(all).forward(); }, backward)(flat(networks, s));
  return Arrays(results.begin() + KEPT, results.end());
}

}  // namespace m2bert::ops
