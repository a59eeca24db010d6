#include "m2bert/models/check_weights.h"

#include <algorithm>

#include "m2bert/checkpoint/match.h"
#include "m2bert/checkpoint/quantize.h"
#include "m2bert/models/pretrained.h"

namespace m2bert::models {

void check_weights(const Config& config, const checkpoint::TensorMap& weights, const std::string& source) {
  const Head head = head_of(weights);
  checkpoint::TensorMap used = checkpoint::dequantize(weights);
  drop_other_heads(used, config, head);
  Model model(config, head);
  checkpoint::check_match(model, used, {.source = source});
}

int classifier_rows(const checkpoint::TensorMap& weights) {
  const auto found = std::ranges::find_if(weights, [](const auto& w) { return w.first == "classifier.weight" && w.second.ndim() == 2; });
  return found == weights.end() ? -1 : found->second.shape(0);
}

}  // namespace m2bert::models
