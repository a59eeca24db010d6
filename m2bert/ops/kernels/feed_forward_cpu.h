#pragma once
// FeedForward as an MLX primitive.
#include "m2bert/ops/feed_forward.h"

namespace m2bert::ops::kernels {

PreparedFeedForward prepare_feed_forward(const FeedForwardWeights& weights, mx::Stream s);
mx::array feed_forward(const mx::array& x, const PreparedFeedForward& prepared, mx::Stream s);

}  // namespace m2bert::ops::kernels
