#pragma once
// Small data sets for tests.
#include <filesystem>
#include <string>
#include <vector>

#include "m2bert/data/mds_writer.h"
#include "tests/support/scratch.h"

namespace m2bert::test {

// "text number 0", "text number 1!", ...
inline std::vector<std::string> numbered_texts(int count) {
  std::vector<std::string> texts;
  for (int i = 0; i < count; ++i) texts.push_back("text number " + std::to_string(i) + std::string(static_cast<size_t>(i % 7), '!'));
  return texts;
}

// Writes the texts as a data set with a column `text`.
inline data::MdsIndex write_texts(const std::filesystem::path& folder, const std::vector<std::string>& texts, data::MdsFormat format = {}) {
  format.columns = {{"text", "str", {}}};
  data::MdsWriter writer(folder, format);
  for (const std::string& text : texts) writer.write({text});
  return writer.finish();
}

// Writes token samples as a data set with a column `tokens` (bytes).
inline data::MdsIndex write_tokens(const std::filesystem::path& folder, const std::vector<std::vector<int64_t>>& samples,
                                   data::MdsFormat format = {}) {
  format.columns = {{"tokens", "bytes", {}}};
  data::MdsWriter writer(folder, format);
  for (const auto& ids : samples) writer.write({std::string(reinterpret_cast<const char*>(ids.data()), ids.size() * sizeof(int64_t))});
  return writer.finish();
}

inline std::string content_of(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

inline void overwrite(const std::filesystem::path& file, std::string_view content) {
  std::ofstream(file, std::ios::binary).write(content.data(), static_cast<std::streamsize>(content.size()));
}

}  // namespace m2bert::test
