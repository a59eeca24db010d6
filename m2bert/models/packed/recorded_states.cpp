#include "m2bert/models/packed/recorded_states.h"

#include <algorithm>
#include <bit>
#include <numeric>

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

bool RecordedStates::records(const mx::Shape& shape) {
  const size_t B = size_t(shape[0]), L = size_t(shape[1]);
  return std::has_single_bit(B) && std::has_single_bit(L) && B * L <= size_t(kMostTokens);
}

std::optional<mx::array> RecordedStates::operator()(const Inputs& inputs, const std::function<mx::array(const Inputs&)>& states) {
  if (!records(inputs.input_ids.shape()) || !ops::records_passes()) return std::nullopt;
  const Key key(inputs);
  auto found = std::ranges::find(entries_, key, &Entry::key);
  if (found == entries_.end()) found = entries_.insert(found, {key, record(inputs, states)});
  std::rotate(found, found + 1, entries_.end());
  make_room();
  auto& pass = entries_.back().pass;
  if (!pass) return std::nullopt;
  try {
    if (auto result = (*pass)(arrays_of(inputs))) return result;
    pass = record(inputs, states);
    return pass ? (*pass)(arrays_of(inputs)) : std::nullopt;
  } catch (const std::exception& e) {
    io::debug("passes of ", key.shape, " tokens are not repeated: ", e.what());
    pass.reset();
    return std::nullopt;
  }
}

// The filters of a length are cached when it comes again.
std::unique_ptr<ops::RecordedPass> RecordedStates::record(const Inputs& inputs, const std::function<mx::array(const Inputs&)>& states) {
  try {
    for (int i = 0; i < 2; ++i) mx::eval(states(inputs));
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
  while (entries_.size() > 1 && bytes() > kMostBytes) entries_.erase(entries_.begin());
}

}  // namespace m2bert::models::packed
