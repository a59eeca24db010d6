// The header of a safetensors file: any bytes give a result or an Error.
#include "m2bert/checkpoint/safetensors_header.h"
#include "m2bert/error.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace m2bert::checkpoint;
  auto bytes = std::as_bytes(std::span(data, size));
  try {
    read_safetensors_header(bytes, "fuzz");
  } catch (const m2bert::Error&) {
  }
  return 0;
}
