#pragma once
// A function of arrays that a device repeats without building and encoding its graph again.
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "m2bert/mx.h"

namespace m2bert::ops {

class RecordedPass {
 public:
  virtual ~RecordedPass() = default;
  // f(inputs), evaluated, for inputs of the shapes and dtypes that were recorded. Null if the pass is no longer valid, because an array
  // that f reads has moved: record it again. Not thread-safe.
  virtual std::optional<mx::array> operator()(const std::vector<mx::array>& inputs) = 0;
  virtual size_t bytes() const = 0;  // of device memory, beside the arrays that f reads
};

// Calls f once, for inputs like these, and keeps what it launches. All else that f reads is taken as constant; f must not evaluate anything
// that depends on the inputs. Null if the device cannot
// record f: it has no kernels for it, or f does anything beside launching kernels of ours, multiplying matrices, and reshaping. For passes
// over few positions, whose kernels take the GPU less time than the host takes to launch them. Source: CUDA graphs.
using PassFunction = std::function<mx::array(const std::vector<mx::array>& inputs)>;
bool records_passes(mx::StreamOrDevice s = {});  // whether the device can record any
std::unique_ptr<RecordedPass> record_pass(const std::vector<mx::array>& inputs, const PassFunction& f, mx::StreamOrDevice s = {});

}  // namespace m2bert::ops
