#pragma once
#include <functional>

#include "m2bert/nn/pass.h"

namespace m2bert::infer {

// A pass without padding. after_layer, if there is one, is called after each encoder layer but the last, once its states are there.
nn::Pass inference_pass(const std::function<void()>& after_layer);

// Whether a pass is worth launching before the values of the last one are read (see PassQueue): on a GPU, unless the passes are
// evaluated layer by layer.
bool launches_ahead(const std::function<void()>& after_layer);

}  // namespace m2bert::infer
