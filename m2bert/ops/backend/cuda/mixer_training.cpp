#include "m2bert/ops/backend/cuda/mixer_training.h"

#include <algorithm>
#include <bit>

#include "m2bert/ops/backend/cuda/channel_major.h"
#include "m2bert/ops/backend/cuda/kernel.h"
#include "m2bert/ops/backend/cuda/mixer_core.h"
#include "m2bert/ops/backend/cuda/mixer_monarch.cuh"
#include "m2bert/ops/backend/cuda/mixer_weights.h"

namespace m2bert::ops::cuda {

namespace {

using Arrays = std::vector<mx::array>;

// The filters that are there, in this order.
void append_filters(const MixerFilters& f, Arrays& all) {
  all.push_back(f.k), all.push_back(f.D);
  for (const auto* a : {&f.k_rev, &f.k2, &f.D2, &f.k2_rev}) {
    if (*a) all.push_back(**a);
  }
}

// The core between the projections, and its gradients.
struct Core {
  int L;
  bool bidirectional, residual;
  std::optional<mx::array> sequences;  // CuSeqlens::table()
  mx::Stream s;

  Core(const MixerFilters& f, int length, const std::optional<mx::array>& table, mx::Stream stream)
      : L(length), bidirectional(f.k_rev.has_value()), residual(f.k2.has_value()), sequences(table), s(stream) {}

  // The length that the kernel of the filters' gradient is compiled for.
  int filter_gradient_length() const { return std::max(1024, int(std::bit_ceil(unsigned(L)))); }
  int count(int columns) const { return sequences ? sequences->shape(0) / 2 : columns / L; }
  // What a kernel reads as the table of sequences, and its scalar: 0 if there is none.
  mx::array table_or(const mx::array& other) const { return sequences.value_or(other); }
  int columns_of(const mx::array& a) const { return sequences ? a.shape(1) : 0; }

  // From append_filters()'s place on.
  MixerFilters filters(const Arrays& all, size_t at) const {
    MixerFilters f{all[at], all[at + 1]};
    at += 2;
    if (bidirectional) f.k_rev = all[at++];
    if (residual) f.k2 = all[at++], f.D2 = all[at++];
    if (residual && bidirectional) f.k2_rev = all[at++];
    return f;
  }

  // projected [3 H, columns], u [H, columns].
  struct Result {
    mx::array y;
    mx::array packed, reversed;  // the filters, for backward()
  };
  Result forward(const mx::array& projected, const mx::array& u, const mx::array& short_filter, const MixerFilters& f,
                 bool with_bias_rows) const {
    const auto packed = pack_training_filters(f, s);
    const MixerCoreOptions options{residual, with_bias_rows, 0, false, sequences};
    return {mixer_core(MixerInputRows::of(projected), u, short_filter, packed.packed, L, options, s), packed.packed, packed.reversed};
  }

  struct Gradients {
    mx::array projected;
    mx::array sums;              // of the short filter, [parts, 3 H, 8], to add up
    std::optional<mx::array> u;  // through the residual convolution alone
    Arrays filters;              // as in append_filters()
  };
  Gradients backward(const mx::array& projected, const mx::array& u, const mx::array& short_filter, const mx::array& packed,
                     const mx::array& reversed, const mx::array& dy, const MixerFilters& f) const {
    const int H = u.shape(0);
    // y = x2 conv(x1 v; k) + conv(u; k2). Each gradient is again of the form x2 conv(x1 v), with conv' for the reversed filter:
    //   dx2 = dy conv(x1 v; k), d(x1 v) = conv'(x2 dy; k), du = conv'(dy; k2).
    const int identity = 3 * H, one = 4 * H;  // rows of short_filter (mixer_core.h)
    auto convolve = [&](const MixerInputRows& rows, const mx::array& packed, int filter, bool reverses) {
      return mixer_core(rows, dy, short_filter, packed, L, {false, false, filter, reverses && reverses_by_conjugate(L), sequences}, s);
    };
    const MixerRows gradient{dy, 0, identity}, ones{dy, 0, one};
    const auto rows = MixerInputRows::of(projected);
    const auto dx2 = convolve({rows.x1, gradient, rows.v}, packed, 0, false);
    const auto ds = convolve({rows.x2, ones, gradient}, reversed, 0, true);
    const auto [dprojected, sums, gated] = local_gradient(projected, dx2, ds, short_filter, dy);
    Gradients g{dprojected, sums, {}, {}};
    if (residual) g.u = convolve({gradient, ones, ones}, reversed, 1, true);
    add_filter_gradients(filter_gradients(gated, u, short_filter, dy), f, g.filters);
    return g;
  }

  // Of the projected rows, and of the short filter, [parts, 3 H, 8] to add up; and what filter_gradients() reads of the gated convolution.
  struct LocalGradient {
    mx::array dprojected, sums;
    MixerInputRows gated;
  };
  LocalGradient local_gradient(const mx::array& projected, const mx::array& dx2, const mx::array& ds, const mx::array& short_filter,
                               const mx::array& dy) const {
    constexpr int threads = 256, positions = 8, shared_bytes = threads / 32 * 15 * 4;
    const int H = dx2.shape(0), columns = columns_of(dx2), B = count(dx2.shape(1));
    const int items = columns ? columns / positions : B * ((L + positions - 1) / positions);
    const int parts = std::clamp(items / (4 * threads), 1, 16);
    const bool with_gated_rows = filter_gradient_sizes(filter_gradient_length()).groups > 1;
    Arrays inputs{projected, dx2, ds, short_filter};
    std::vector<mx::Shape> shapes{projected.shape(), {parts, 3 * H, 8}};
    std::vector<mx::Dtype> dtypes{mx::bfloat16, mx::float32};
    if (with_gated_rows) inputs.push_back(dy), shapes.push_back({2 * H, dx2.shape(1)}), dtypes.push_back(mx::bfloat16);
    inputs.push_back(table_or(short_filter));
    const std::string kernel = with_gated_rows ? "mixer_local_gradient_gated_rows" : "mixer_local_gradient";
    const auto out = run({"mixer_local_gradient", kernel, parts, H, threads, shared_bytes}, inputs, shapes, dtypes, {H, B, L, columns}, s);
    if (!with_gated_rows) return {out[0], out[1], MixerInputRows::of(projected)};
    const MixerRows signal{out[2], 0, 0}, gradient{out[2], H, 0};
    return {out[0], out[1], {signal, gradient, signal}};
  }

  // Of the filters at each lag: [H, filters, n] float32, or [H, n] complex64, k's the real part; lag t in place t modulo n.
  mx::array filter_gradients(const MixerInputRows& mixed, const mx::array& u, const mx::array& short_filter, const mx::array& dy) const {
    const int H = u.shape(0), B = count(u.shape(1)), filters = residual ? 2 : 1;
    auto inputs = mixed.arrays();
    inputs.insert(inputs.end(), {u, short_filter, dy});
    Scalars scalars{H, B, L};
    const auto places = mixed.places(columns_of(u));
    scalars.insert(scalars.end(), places.begin(), places.end());
    if (L <= 128) {
      constexpr int threads = 256, shared_bytes = 128 * 132 * 4;
      inputs.push_back(table_or(short_filter));
      return run({"mixer_outer_gradient", "mixer_outer_gradient", filters, H, threads, shared_bytes}, inputs, {H, filters, 256},
                 mx::float32, scalars, s);
    }
    const int length = filter_gradient_length();
    const int slot = std::min(length, int(std::bit_ceil(unsigned(2 * L))));  // positions from a sequence to the next
    const MonarchSizes sizes = filter_gradient_sizes(length);
    const std::string kernel = "mixer_filter_gradient_" + std::to_string(length);
    const Launch launch{kernel, kernel, sizes.groups, H, 32 * sizes.warps, sizes.shared_bytes()};
    const int n = sizes.size();
    inputs.push_back(monarch_tables(sizes)), inputs.push_back(table_or(short_filter));
    scalars.push_back(filters), scalars.push_back(slot);
    const auto spectra = run(launch, inputs, {H, 2 * n}, mx::float32, scalars, s);
    return mx::fft::fft(mx::view(spectra, mx::complex64, s), n, 1, mx::fft::FFTNorm::Backward, s);  // without a pass that scales
  }

  // Appends those of the filters, in the order of append_filters().
  void add_filter_gradients(const mx::array& lags, const MixerFilters& f, Arrays& gradients) const {
    const int H = lags.shape(0), n = lags.shape(-1), count = residual ? 2 : 1;
    const bool interleaved = lags.dtype() == mx::complex64;
    const mx::Shape none{1}, filter{L, H}, skip{H};
    const auto out = run({"mixer_weights", "mixer_filter_gradients", ceil_div(L, 32), ceil_div(H, 32), 256, 32 * 33 * 4}, {lags},
                         {filter, skip, bidirectional ? filter : none, residual ? filter : none, residual ? skip : none,
                          residual && bidirectional ? filter : none},
                         std::vector(6, mx::float32), {H, L, n, count, interleaved, bidirectional}, s);
    auto add = [&](const mx::array& gradient, const std::optional<mx::array>& of) {
      if (of) gradients.push_back(mx::astype(mx::reshape(gradient, of->shape(), s), of->dtype(), s));
    };
    add(out[0], f.k), add(out[1], f.D), add(out[2], f.k_rev), add(out[3], f.k2), add(out[4], f.D2), add(out[5], f.k2_rev);
  }
};

// The block as a function of a list of arrays.
struct Block {
  Core core;
  bool in_biased, out_biased;

  enum { U, IN_WEIGHT, SHORT_WEIGHT, SHORT_BIAS, OUT_WEIGHT, FILTERS };  // then in_bias and out_bias
  enum { Y, PROJECTED, CORE, SHORT, PACKED, REVERSED };

  Block(const MixerWeights& w, const Core& core) : core(core), in_biased(w.in_bias.has_value()), out_biased(w.out_bias.has_value()) {}

  static Arrays flat(const mx::array& u, const MixerWeights& w, const MixerFilters& f) {
    Arrays all{u, w.in_weight.values, w.short_weight, w.short_bias, w.out_weight.values};
    append_filters(f, all);
    for (const auto* a : {&w.in_bias, &w.out_bias}) {
      if (*a) all.push_back(**a);
    }
    return all;
  }
  MixerWeights weights(const Arrays& all) const {
    MixerWeights w{{all[IN_WEIGHT]}, {}, all[SHORT_WEIGHT], all[SHORT_BIAS], {all[OUT_WEIGHT]}, {}};
    if (in_biased) w.in_bias = all[all.size() - (out_biased ? 2 : 1)];
    if (out_biased) w.out_bias = all.back();
    return w;
  }

  // The result, and what the backward pass reads.
  Arrays forward(const Arrays& in) const {
    const auto s = core.s;
    const auto w = weights(in);
    const auto short_filter = cuda::short_filter(w.short_weight, w.short_bias, w.in_bias, s), out = out_weight(w, s);
    const auto projected = mx::matmul(in[IN_WEIGHT], in[U], s);
    const auto made = core.forward(projected, in[U], short_filter, core.filters(in, FILTERS), out_biased);
    return {mx::matmul(out, made.y, s), projected, made.y, short_filter, made.packed, made.reversed};
  }

  Arrays backward(const Arrays& in, const mx::array& dy, const Arrays& made) const {
    const auto s = core.s;
    const auto w = weights(in);
    const auto dcore = mx::matmul(transposed(in[OUT_WEIGHT], s), dy, s);
    const auto of_out = mx::matmul(dy, transposed(made[CORE], s), s);
    const auto out = out_weight_gradient(w, of_out, s);
    const auto g = core.backward(made[PROJECTED], in[U], made[SHORT], made[PACKED], made[REVERSED], dcore, core.filters(in, FILTERS));
    const auto back = transposed(in[IN_WEIGHT], s);
    const auto du = g.u ? mx::addmm(*g.u, back, g.projected, 1.0f, 1.0f, s) : mx::matmul(back, g.projected, s);
    const auto shorts = short_filter_gradient(w.short_weight, w.short_bias, w.in_bias, g.sums, s);
    const auto of_in = mx::matmul(g.projected, transposed(in[U], s), s);
    // The rest of the backward pass waits for what reads large arrays, so that these are freed first.
    Arrays gradients = mx::depends({du}, {of_out, of_in, g.filters[0]});
    gradients.insert(gradients.end(), {of_in, shorts.weight, shorts.bias, out.weight});
    gradients.insert(gradients.end(), g.filters.begin(), g.filters.end());
    if (in_biased) gradients.push_back(*shorts.in_bias);
    if (out_biased) gradients.push_back(*out.bias);
    return gradients;
  }
};

// The core as a function of a list of arrays: projected, u, short_weight, short_bias, the filters.
struct Mix {
  Core core;

  enum { PROJECTED, U, SHORT_WEIGHT, SHORT_BIAS, FILTERS };
  enum { Y, SHORT, PACKED, REVERSED };

  Arrays forward(const Arrays& in) const {
    const auto short_filter = cuda::short_filter(in[SHORT_WEIGHT], in[SHORT_BIAS], {}, core.s);
    const auto made = core.forward(in[PROJECTED], in[U], short_filter, core.filters(in, FILTERS), false);
    return {made.y, short_filter, made.packed, made.reversed};
  }

  Arrays backward(const Arrays& in, const mx::array& dy, const Arrays& made) const {
    const auto rows = mx::contiguous(dy, false, core.s);
    const auto g = core.backward(in[PROJECTED], in[U], made[SHORT], made[PACKED], made[REVERSED], rows, core.filters(in, FILTERS));
    const auto shorts = short_filter_gradient(in[SHORT_WEIGHT], in[SHORT_BIAS], {}, g.sums, core.s);
    Arrays gradients{g.projected, g.u ? *g.u : mx::zeros_like(in[U], core.s), shorts.weight, shorts.bias};
    gradients.insert(gradients.end(), g.filters.begin(), g.filters.end());
    return gradients;
  }
};

// A function of arrays whose first result has a gradient.
template <typename Function>
mx::array differentiable(const Function& f, const Arrays& in) {
  auto backward = [f](const Arrays& in, const Arrays& cotangents, const Arrays& made) { return f.backward(in, cotangents[0], made); };
  return mx::custom_vjp([f](const Arrays& in) { return f.forward(in); }, backward)(in)[0];
}

}  // namespace

mx::array differentiable_mixer_block(const mx::array& u, const MixerWeights& weights, const MixerFilters& filters, int L,
                                     const std::optional<mx::array>& sequences, mx::Stream s) {
  return differentiable(Block(weights, Core(filters, L, sequences, s)), Block::flat(u, weights, filters));
}

mx::array differentiable_mixer_core(const mx::array& projected, const mx::array& u, const mx::array& short_weight,
                                    const mx::array& short_bias, const MixerFilters& filters, int L, mx::Stream s) {
  Arrays in{projected, u, short_weight, short_bias};
  append_filters(filters, in);
  return differentiable(Mix{Core(filters, L, {}, s)}, in);
}

}  // namespace m2bert::ops::cuda
