// One string of a JSON line: the same result as with the whole document.
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>

#include "m2bert/error.h"
#include "m2bert/io/json.h"

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, size_t size) {
  using namespace m2bert;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  for (const char* path : {"text", "a.b", "a.0.b"}) {
    std::optional<std::string> direct, whole;
    try {
      direct = io::json_string_at(text, path, "fuzz:1");
    } catch (const Error&) {
    }
    try {
      const io::Tree tree = io::parse_json(text, "fuzz");
      const io::Tree* value = io::find_json(tree, path);
      if (value && value->is_string()) whole = value->string();
      if (whole && direct != whole) std::abort();
    } catch (const Error&) {  // duplicate keys off the path are refused only in the whole document
    }
  }
  return 0;
}
