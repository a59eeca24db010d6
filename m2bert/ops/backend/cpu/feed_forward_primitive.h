#pragma once
// PackedFeedForwardHost as an MLX primitive.
#include "m2bert/ops/feed_forward.h"

namespace m2bert::ops::cpu {

PackedFeedForward pack_feed_forward(const FeedForwardWeights& weights, mx::Stream s);
mx::array feed_forward(const mx::array& x, const PackedFeedForward& prepared, mx::Stream s);

// down(dropout(act(up(x)))), differentiable once in x and the weights. key: absent, no dropout.
bool feed_forward_products_take(const mx::array& x, const FeedForwardWeights& weights, mx::StreamOrDevice s);
mx::array feed_forward_forward(const mx::array& x, const FeedForwardWeights& weights, float p, const std::optional<mx::array>& key,
                                mx::Stream s);

}  // namespace m2bert::ops::cpu
