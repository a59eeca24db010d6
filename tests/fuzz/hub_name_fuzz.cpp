// Names from a hub's server: whatever they are, every file stays inside its folder.
#include <cstdlib>
#include <filesystem>

#include "m2bert/error.h"
#include "m2bert/hub/etag.h"
#include "m2bert/hub/model_name.h"
#include "m2bert/hub/selection.h"
#include "m2bert/io/inner_path.h"

namespace {

// Whether folder/name lies below the folder, as the file system will read it.
bool stays_inside(const std::string& name) {
  const std::filesystem::path path = std::filesystem::path("/folder/" + name).lexically_normal();
  return path.string().starts_with("/folder/") && path.string() == "/folder/" + name && name.find('\0') == std::string::npos;
}

void require_inside(const std::string& name) {
  if (!stays_inside(name)) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace m2bert::hub;
  using m2bert::io::why_unsafe;
  const std::string text(reinterpret_cast<const char*>(data), size);
  if (why_unsafe(text).empty()) require_inside(text);
  try {
    const std::string etag = parse_etag(text, "fuzz");
    require_inside(etag);
    if (etag.find('/') != std::string::npos) std::abort();
  } catch (const m2bert::Error&) {
  }
  try {
    const ModelName name = parse_model_name(text);
    require_inside(name.repository);
    require_inside(name.revision);
  } catch (const m2bert::Error&) {
    if (looks_like_model_name(text)) std::abort();
  }
  std::vector<std::string> files;
  for (size_t start = 0; start <= text.size() && files.size() < 20;) {
    const size_t end = std::min(text.find('\n', start), text.size());
    if (const std::string file = text.substr(start, end - start); why_unsafe(file).empty()) files.push_back(file);
    start = end + 1;
  }
  if (select_files(files, {}).size() > files.size()) std::abort();
  return 0;
}
