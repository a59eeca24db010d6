#include <algorithm>
#include <climits>
#include <cmath>
#include <iterator>
#include <optional>

#include "m2bert/ops/backend/cuda/array_parts.h"
#include "m2bert/ops/backend/cuda/cuda_backend.h"
#include "m2bert/ops/backend/cuda/kernel.h"
#include "m2bert/ops/interleave.h"

namespace m2bert::ops {

namespace {

constexpr size_t ARRAYS = 32;  // of a launch (adamw.cu)

// What a launch takes of arrays: these, and the first one with size 0 in place of each that is not there.
struct ArrayList {
  std::vector<mx::array> inputs;
  cuda::Scalars sizes;
  int parts = 0;

  ArrayList(const std::vector<mx::array>& arrays, size_t first) {
    for (size_t i = first; i < first + ARRAYS; ++i) {
      inputs.push_back(arrays[i < arrays.size() ? i : first]);
      const int n = i < arrays.size() ? int(inputs.back().size()) : 0;
      parts += cuda::parts_of(n), sizes.push_back(n);
    }
  }
};

// Whether a kernel may write the new values over the old ones.
bool is_own(const mx::array& a) { return a.is_donatable() && a.flags().row_contiguous; }

// The values of an array that a kernel overwrites are there once the kernel's other results are: whoever reads them waits for these.
void wait_with(const mx::array& made, const mx::array& a) {
  a.attach_event(made.event());
  a.set_status(mx::array::evaluated);
}

// Starts the update of all these parameters. In place, their arrays stay the same; otherwise they are new ones.
void update(const std::vector<AdamWParameter>& parameters, const AdamWOptions& o, bool in_place, mx::Stream s) {
  const float root = float(1 / std::sqrt(bias_correction(o.beta2, o.step)));
  const auto scale = o.scale_array.value_or(mx::array(float(o.gradient_scale)));
  std::vector<size_t> order;  // of those that are not empty
  for (size_t i = 0; i < parameters.size(); ++i) {
    if (parameters[i].value->size() > 0) order.push_back(i);
  }
  std::vector<mx::array> made;
  for (size_t first = 0; first < order.size(); first += ARRAYS) {
    std::vector<mx::array> inputs;
    std::vector<mx::Shape> shapes;
    cuda::Scalars scalars{float(o.gradient_limit), float(o.beta1), float(o.beta2), float(o.eps), root};
    int parts = 0;
    for (size_t i = first; i < first + ARRAYS; ++i) {
      const bool there = i < order.size();
      const auto& p = parameters[order[there ? i : first]];
      for (const auto* a : {p.value, p.gradient, p.m, p.v}) inputs.push_back(in_order(*a, s));
      shapes.insert(shapes.end(), 3, there ? p.value->shape() : mx::Shape{1});
      const int n = there ? int(p.value->size()) : 0;
      parts += cuda::parts_of(n);
      scalars.insert(scalars.end(), {n, float(1 - p.decay), float(p.learning_rate / bias_correction(o.beta1, o.step))});
    }
    inputs.push_back(scale);
    if (in_place) shapes = {{1}};
    const auto out = cuda::run({"adamw", in_place ? "adamw_in_place" : "adamw", parts, 1, cuda::PART_THREADS}, inputs, shapes,
                               std::vector(shapes.size(), mx::float32), scalars, s);
    made.push_back(out[0]);  // the others come with it, and MLX's search for them would take longer than the launch
    for (size_t i = first; i < std::min(first + ARRAYS, order.size()) && !in_place; ++i) {
      const auto& p = parameters[order[i]];
      const auto* results = &out[3 * (i - first)];
      *p.value = results[0], *p.m = results[1], *p.v = results[2];
    }
  }
  mx::async_eval(made);
  for (size_t i = 0; i < order.size() && in_place; ++i) {
    const auto& p = parameters[order[i]];
    for (const auto* a : {p.value, p.m, p.v}) wait_with(made[0], *a);
  }
}

// Until MLX's thread lets go of what finished kernels have read, some time after they have: is_own() looks at that.
void finish_readers(const std::vector<AdamWParameter>& parameters, mx::Stream s) {
  std::vector<mx::array> needed;
  for (const auto& p : parameters) {
    for (const auto* a : {p.value, p.gradient, p.m, p.v}) needed.push_back(*a);
  }
  mx::eval(std::move(needed));
  mx::synchronize(s);
}

}  // namespace

// Nothing waits for the kernels: what is launched after them comes after them on the stream. With scale_array nothing waits for the
// gradients either. The kernels that compute them still hold the parameters then, so that the new ones have memory of their own.
bool CudaBackend::adamw_update(const std::vector<AdamWParameter>& parameters, const AdamWOptions& options, mx::Stream s) const {
  if (!options.scale_array) finish_readers(parameters, s);
  std::vector<AdamWParameter> own, shared;
  for (const auto& p : parameters) (is_own(*p.value) && is_own(*p.m) && is_own(*p.v) ? own : shared).push_back(p);
  update(own, options, true, s);
  update(shared, options, false, s);
  return true;
}

Backend::Array CudaBackend::sum_of_squares(const std::vector<mx::array>& arrays, mx::Stream s) const {
  constexpr int threads = cuda::PART_THREADS;
  std::vector<mx::array> present, sums;
  std::ranges::copy_if(arrays, std::back_inserter(present), [](const mx::array& a) { return a.size() > 0; });
  for (size_t first = 0; first < present.size(); first += ARRAYS) {
    const ArrayList list(present, first);
    sums.push_back(
        cuda::run({"adamw", "sum_of_squares", list.parts, 1, threads, threads / 8}, list.inputs, {list.parts}, mx::float32, list.sizes, s));
  }
  if (sums.empty()) return mx::array(0.0f);
  return mx::sum(mx::concatenate(sums, 0, s), s);
}

// As many as a launch takes.
Backend::Array CudaBackend::flatten_together(const std::vector<mx::array>& arrays, mx::Stream s) const {
  size_t total = 0;
  for (const auto& a : arrays) total += a.size();
  if (total == 0 || total > INT_MAX || arrays.size() > ARRAYS) return {};
  const ArrayList list(arrays, 0);
  return cuda::run({"adamw", "flatten_arrays", list.parts, 1, cuda::PART_THREADS}, list.inputs, {int(total)}, mx::float32, list.sizes, s);
}

}  // namespace m2bert::ops
