// Compressed bytes of each codec: the input is the codec, the claimed uncompressed size (16 bits), the bytes.
#include <cstdlib>
#include <cstring>

#include "m2bert/error.h"
#include "m2bert/io/codec.h"

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, size_t size) {
  using namespace m2bert;
  if (size < 3) return 0;
  const auto codec = static_cast<io::Codec>(data[0] % 5);
  uint16_t wanted = 0;
  std::memcpy(&wanted, data + 1, sizeof wanted);
  const std::string_view packed(reinterpret_cast<const char*>(data) + 3, size - 3);
  uint64_t taken = 0;
  try {
    io::decompress(codec, packed, wanted, "fuzz", [&](std::string_view piece) { taken += piece.size(); });
    if (taken != wanted) std::abort();
  } catch (const Error&) {
    if (taken > wanted) std::abort();
  }
  return 0;
}
