// Names that a hub's server gives: whatever they are, what is taken stays inside its folder.
#include <cstdlib>
#include <filesystem>

#include "m2bert/checkpoint/hub_name.h"
#include "m2bert/error.h"

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
  using namespace m2bert::checkpoint;
  const std::string text(reinterpret_cast<const char*>(data), size);
  if (why_unsafe(text).empty()) require_inside(text);
  try {
    const std::string etag = plain_etag(text, "fuzz");
    require_inside(etag);
    if (etag.find('/') != std::string::npos) std::abort();
  } catch (const m2bert::Error&) {
  }
  try {
    const HubName name = parse_hub_name(text);
    require_inside(name.repository);
    require_inside(name.revision);
  } catch (const m2bert::Error&) {
    if (looks_like_hub_name(text)) std::abort();
  }
  std::vector<std::string> files;
  for (size_t start = 0; start <= text.size() && files.size() < 20;) {
    const size_t end = std::min(text.find('\n', start), text.size());
    if (const std::string file = text.substr(start, end - start); why_unsafe(file).empty()) files.push_back(file);
    start = end + 1;
  }
  if (selected_files(files, {}).size() > files.size()) std::abort();
  return 0;
}
