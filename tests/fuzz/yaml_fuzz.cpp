// A YAML configuration; the part after the first zero byte is an override.
#include <string>
#include <string_view>
#include <vector>

#include "m2bert/error.h"
#include "m2bert/io/yaml.h"

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, size_t size) {
  using namespace m2bert;
  std::string_view text(reinterpret_cast<const char*>(data), size);
  std::vector<std::string> overrides;
  if (const size_t zero = text.find('\0'); zero != std::string_view::npos) {
    overrides.emplace_back(text.substr(zero + 1));
    text = text.substr(0, zero);
  }
  try {
    const io::Tree tree = io::parse_yaml(text, "fuzz", overrides, {.bytes = 1 << 16, .values = 1 << 12});
    for (const char* key : {"a", "model", "model_config"}) {
      if (const io::Tree* value = tree.find(key)) (void)(value->where() + value->shown());
    }
  } catch (const Error&) {
  }
  return 0;
}
