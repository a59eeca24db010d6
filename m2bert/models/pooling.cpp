#include "m2bert/models/pooling.h"

#include <algorithm>
#include <limits>

#include "m2bert/error.h"

namespace m2bert::models {
namespace {

constexpr Pooling kPoolings[] = {Pooling::pooler,       Pooling::cls,      Pooling::max, Pooling::mean, Pooling::mean_sqrt_len_tokens,
                                 Pooling::weightedmean, Pooling::lasttoken};

// The mask as float32, [B, L, 1], without the skipped positions.
mx::array kept_tokens(const mx::array& mask, int skipped) {
  const auto at = mx::reshape(mx::arange(0, mask.shape(1), 1, mx::int32), {1, mask.shape(1)});
  const auto kept = mx::logical_and(mx::not_equal(mask, mx::array(0, mask.dtype())), mx::greater_equal(at, mx::array(skipped)));
  return mx::expand_dims(mx::astype(kept, mx::float32), -1);
}

// states [B, L, H] at index [B] -> [B, H].
mx::array state_at(const mx::array& states, const mx::array& index) {
  return mx::squeeze(mx::take_along_axis(states, mx::reshape(index, {states.shape(0), 1, 1}), 1), 1);
}

mx::array weighted_sum(const mx::array& states, const mx::array& weights, const mx::array& divisor) {
  return mx::sum(states * weights, 1) / mx::maximum(divisor, mx::array(1e-9f));
}

}  // namespace

const char* name(Pooling pooling) {
  switch (pooling) {
    case Pooling::pooler: return "pooler";
    case Pooling::cls: return "cls";
    case Pooling::max: return "max";
    case Pooling::mean: return "mean";
    case Pooling::mean_sqrt_len_tokens: return "mean_sqrt_len_tokens";
    case Pooling::weightedmean: return "weightedmean";
    case Pooling::lasttoken: return "lasttoken";
  }
  return "?";
}

std::string name(const Poolings& poolings) {
  std::string text;
  for (const Pooling p : poolings) text += (text.empty() ? "" : "+") + std::string(name(p));
  return text;
}

Pooling pooling_named(const std::string& text) {
  for (const Pooling p : kPoolings)
    if (text == name(p)) return p;
  std::string names;
  for (const Pooling p : kPoolings) names += (names.empty() ? "" : ", ") + std::string(name(p));
  fail("there is no pooling \"", text, "\"; there are ", names, ", and several joined by +, such as cls+mean");
}

Poolings poolings_named(const std::string& text) {
  Poolings all;
  for (size_t from = 0; from <= text.size();) {
    const size_t to = std::min(text.find('+', from), text.size());
    all.push_back(pooling_named(text.substr(from, to - from)));
    from = to + 1;
  }
  return all;
}

mx::array first_state(const mx::array& hidden) { return mx::astype(mx::take(hidden, 0, 1), mx::float32); }

mx::array masked_mean(const mx::array& states, const mx::array& mask) {
  auto hidden = mx::astype(states, mx::float32);
  auto m = mx::astype(mask, hidden.dtype());
  return mx::sum(hidden * mx::expand_dims(m, -1), 1) / mx::sum(m, 1, true);
}

mx::array pool_states(const mx::array& hidden, const mx::array& mask, Pooling pooling, int skipped) {
  if (skipped == 0 && pooling == Pooling::cls) return first_state(hidden);
  const auto states = mx::astype(hidden, mx::float32);
  const auto kept = kept_tokens(mask, skipped);  // [B, L, 1]
  const auto at = mx::reshape(mx::arange(0, hidden.shape(1), 1, mx::float32), {1, hidden.shape(1), 1});
  switch (pooling) {
    case Pooling::pooler: break;
    case Pooling::cls: return state_at(states, mx::argmax(kept, 1));
    case Pooling::max: {
      const auto lowest = mx::array(-std::numeric_limits<float>::infinity());
      return mx::max(mx::where(mx::greater(kept, mx::array(0.0f)), states, lowest), 1);
    }
    case Pooling::mean: return weighted_sum(states, kept, mx::sum(kept, 1));
    case Pooling::mean_sqrt_len_tokens: return weighted_sum(states, kept, mx::sqrt(mx::sum(kept, 1)));
    case Pooling::weightedmean: {
      const auto weights = kept * (at + mx::array(1.0f));
      return weighted_sum(states, weights, mx::sum(weights, 1));
    }
    case Pooling::lasttoken: return state_at(states * kept, mx::argmax(kept * (at + mx::array(1.0f)), 1));
  }
  fail("[pool_states] the pooler is a part of the model");
}

}  // namespace m2bert::models
