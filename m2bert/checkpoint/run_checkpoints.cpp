#include "m2bert/checkpoint/run_checkpoints.h"

#include <algorithm>
#include <charconv>
#include <string>
#include <utility>

#include "m2bert/checkpoint/tensor_file.h"
#include "m2bert/error.h"
#include "m2bert/io/log.h"

namespace m2bert::checkpoint {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kEnding = ".safetensors";

// The batch in a name like ep0-ba100.safetensors; nullopt for other names.
std::optional<int64_t> batch_of(const fs::path& file) {
  const std::string name = file.filename().string();
  const size_t at = name.find("-ba");
  if (!name.starts_with("ep") || at == std::string::npos || !name.ends_with(kEnding)) return std::nullopt;
  int64_t batch = 0;
  const char* end = name.data() + name.size() - kEnding.size();
  const auto [rest, error] = std::from_chars(name.data() + at + 3, end, batch);
  return error == std::errc() && rest == end ? std::optional(batch) : std::nullopt;
}

}  // namespace

std::vector<fs::path> run_checkpoints(const fs::path& folder) {
  std::vector<std::pair<int64_t, fs::path>> found;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (const auto batch = batch_of(entry.path())) found.emplace_back(*batch, entry.path());
  }
  std::ranges::sort(found, [](const auto& a, const auto& b) { return a > b; });
  std::vector<fs::path> files;
  for (auto& [batch, file] : found) files.push_back(std::move(file));
  return files;
}

std::optional<fs::path> newest_run_checkpoint(const fs::path& folder) {
  const auto files = run_checkpoints(folder);
  for (const auto& file : files) {
    try {
      TensorFile::open(file);
      return file;
    } catch (const Error& e) {
      io::warn(e.what(), "; trying the checkpoint before it");
    }
  }
  require(files.empty(), folder.string(), ": none of its checkpoints can be read");
  return std::nullopt;
}

}  // namespace m2bert::checkpoint
