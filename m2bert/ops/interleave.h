#pragma once
// The order of operations that do not depend on one another.
#include <vector>

#include "m2bert/mx.h"

namespace m2bert::ops {

// For work beside a path of large operations, such as the networks of a layer's filters: what reads the side arrays is launched after x,
// and in the backward pass what reads the gradient of x after the gradients of the side arrays. MLX would otherwise launch all such work of
// a model at the beginning and at the end. It is the order of launching alone: in a GPU's graph they may still run at once. Returns x and
// the side arrays, with their values and without copies.
std::vector<mx::array> interleave(const mx::array& x, const std::vector<mx::array>& side);

// The array for an operation of stream s. MLX asks for the event of an array that is still computed at every use; where an earlier
// operation of the same stream of a GPU computes it, its place in the stream is enough, and this returns a view without the event. Not for
// the host to read. Other arrays are returned as they are.
mx::array in_order(const mx::array& a, mx::Stream s);

}  // namespace m2bert::ops
