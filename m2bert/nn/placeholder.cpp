#include "m2bert/nn/placeholder.h"

#include <utility>

#include "m2bert/error.h"
#include "m2bert/ops/interleave.h"

namespace m2bert::nn {

mx::array placeholder(const mx::Shape& shape, mx::Dtype dtype) { return mx::array(shape, dtype, nullptr, Arrays()); }

void bind(mx::array& placeholder, const mx::array& values) {
  require(placeholder.shape() == values.shape() && placeholder.dtype() == values.dtype(), "[bind] the placeholder is ", placeholder.dtype(),
          " ", placeholder.shape(), ", the values are ", values.dtype(), " ", values.shape());
  mx::async_eval({values});
  const auto source = ops::in_order(values, mx::default_stream(mx::default_device()));
  placeholder.copy_shared_buffer(source);
  if (source.event().valid()) placeholder.attach_event(source.event());  // whoever reads them waits for the same event
  placeholder.set_status(source.status());
}

DeferredGrad::DeferredGrad(std::vector<NamedArray> params, const std::function<mx::array()>& loss) : params_(std::move(params)) {
  for (const auto& p : params_) placeholders_.push_back(placeholder(p.array->shape(), p.array->dtype()));
  graph_ = value_and_grad(params_, placeholders_, loss);
}

ValueAndGrad DeferredGrad::bind() && {
  for (size_t i = 0; i < params_.size(); ++i) nn::bind(placeholders_[i], *params_[i].array);
  return std::move(*graph_);
}

}  // namespace m2bert::nn
