#include "m2bert/models/packed/recorded_states.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "m2bert/io/log.h"

namespace m2bert::models::packed {

namespace {

std::vector<mx::array> arrays_of(const Inputs& inputs) {
  std::vector<mx::array> arrays{inputs.input_ids};
  if (inputs.token_type_ids) arrays.push_back(*inputs.token_type_ids);
  return arrays;
}

}  // namespace

RecordedStates::Key::Key(const Inputs& inputs) : shape(inputs.input_ids.shape()), ids(inputs.input_ids.dtype()) {
  if (inputs.token_type_ids) types = inputs.token_type_ids->dtype();
}

std::optional<mx::array> RecordedStates::operator()(const Inputs& inputs, const std::function<mx::array(const Inputs&)>& states) {
  if (inputs.input_ids.size() == 0 || inputs.input_ids.size() > size_t(kMostTokens)) return std::nullopt;
  const Key key(inputs);
  const bool again = std::exchange(last_, key) == key;
  const auto found = std::ranges::find(entries_, key, &Entry::key);
  if (found != entries_.end()) {
    std::rotate(found, found + 1, entries_.end());
    auto& pass = entries_.back().pass;
    if (!pass) return std::nullopt;
    if (auto result = (*pass)(arrays_of(inputs))) return result;
    entries_.pop_back();
  }
  if (!again) return std::nullopt;
  entries_.push_back({key, record(inputs, states)});
  make_room();
  const auto& pass = entries_.back().pass;
  return pass ? (*pass)(arrays_of(inputs)) : std::nullopt;
}

std::unique_ptr<ops::RecordedPass> RecordedStates::record(const Inputs& inputs, const std::function<mx::array(const Inputs&)>& states) {
  try {
    return ops::record_pass(arrays_of(inputs), [&](const std::vector<mx::array>& arrays) {
      auto in = inputs;
      in.input_ids = arrays[0];
      if (arrays.size() > 1) in.token_type_ids = arrays[1];
      return states(in);
    });
  } catch (const std::exception& e) {  // such as too little memory: MLX's way still works
    io::debug("passes of ", inputs.input_ids.shape(), " tokens are not recorded: ", e.what());
    return nullptr;
  }
}

void RecordedStates::make_room() {
  auto bytes = [&] {
    return std::accumulate(entries_.begin(), entries_.end(), size_t{0},
                           [](size_t sum, const Entry& e) { return sum + (e.pass ? e.pass->bytes() : 0); });
  };
  while (entries_.size() > 1 && (entries_.size() > kMostShapes || bytes() > kMostBytes)) entries_.erase(entries_.begin());
}

}  // namespace m2bert::models::packed
