#pragma once
#include "m2bert/ops/backend/backend.h"

namespace m2bert::testing_ops {

// Whether the tests run on a CPU whose kernels are built and enabled.
inline bool has_cpu_kernels() { return mx::default_device() == mx::Device(mx::Device::cpu) && ops::has_kernels({}); }

}  // namespace m2bert::testing_ops
