// Any JSON that is read is the same after writing and reading it again.
#include <cstdlib>
#include <string_view>

#include "m2bert/error.h"
#include "m2bert/io/json.h"

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, size_t size) {
  using namespace m2bert;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    const io::Tree tree = io::parse_json(text, "fuzz");
    if (!(io::parse_json(io::to_json(tree), "again") == tree)) std::abort();
  } catch (const Error&) {
  }
  return 0;
}
