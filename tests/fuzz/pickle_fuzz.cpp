// The pickle machine: any bytes give a result or an Error.
#include "m2bert/checkpoint/pickle.h"
#include "m2bert/error.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace m2bert::checkpoint;
  auto bytes = std::as_bytes(std::span(data, size));
  try {
    pickle::read(bytes, "fuzz");
  } catch (const m2bert::Error&) {
  }
  return 0;
}
