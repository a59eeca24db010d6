#include "m2bert/infer/inference_pass.h"

namespace m2bert::infer {

nn::Pass inference_pass(const std::function<void()>& after_layer) {
  auto pass = nn::Pass::without_padding();
  if (!after_layer) return pass;
  pass.after_layer = [&after_layer](mx::array states) {
    states.eval();
    after_layer();
  };
  return pass;
}

bool launches_ahead(const std::function<void()>& after_layer) { return !after_layer && mx::default_device() == mx::Device::gpu; }

}  // namespace m2bert::infer
