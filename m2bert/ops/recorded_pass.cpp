#include "m2bert/ops/recorded_pass.h"

#include "m2bert/ops/backend/backend.h"

namespace m2bert::ops {

bool records_passes(mx::StreamOrDevice s) { return backend_for(s).records_passes(mx::to_stream(s)); }

std::unique_ptr<RecordedPass> record_pass(const std::vector<mx::array>& inputs, const PassFunction& f, mx::StreamOrDevice s) {
  return backend_for(s).record_pass(inputs, f, mx::to_stream(s));
}

}  // namespace m2bert::ops
