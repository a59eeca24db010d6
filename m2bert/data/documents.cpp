#include "m2bert/data/documents.h"

#include <algorithm>

#include "m2bert/error.h"
#include "m2bert/io/byte_stream.h"

namespace m2bert::data {
namespace {

namespace fs = std::filesystem;

constexpr size_t kPiece = size_t{1} << 20;

std::string read_whole(const fs::path& file, size_t most) {
  const auto stream = io::open_byte_stream(file);
  std::string text;
  for (;;) {
    const size_t before = text.size();
    text.resize(before + kPiece);
    const size_t n = stream->read(std::span(text).subspan(before));
    text.resize(before + n);
    require(text.size() <= most, file.string(), ": is longer than ", most, " bytes, the most that a document may have");
    if (n == 0) return text;
  }
}

bool is_hidden(const fs::path& path) { return path.filename().string().starts_with('.'); }

void add_folder(const fs::path& folder, std::vector<fs::path>& files) {
  std::vector<fs::path> found;
  std::error_code failed;
  fs::recursive_directory_iterator at(folder, failed);
  require(!failed, folder.string(), ": cannot list this folder: ", failed.message());
  for (const fs::recursive_directory_iterator end; at != end; at.increment(failed)) {
    require(!failed, folder.string(), ": cannot list this folder: ", failed.message());
    if (is_hidden(at->path())) at.disable_recursion_pending();
    else if (at->is_regular_file()) found.push_back(at->path());
  }
  require(!found.empty(), folder.string(), ": has no files");
  std::sort(found.begin(), found.end());
  files.insert(files.end(), found.begin(), found.end());
}

}  // namespace

Documents::Documents(std::vector<fs::path> inputs, DocumentOptions options) : inputs_(std::move(inputs)), options_(std::move(options)) {
  bytes_before_ = {0};
  for (const fs::path& input : inputs_) {
    std::error_code failed;
    const uint64_t bytes = fs::file_size(input, failed);
    if (input == "-" || failed) {
      bytes_before_.clear();
      return;
    }
    bytes_before_.push_back(bytes_before_.back() + bytes);
  }
}

bool Documents::open_next() {
  if (input_ == inputs_.size()) return false;
  if (!source_) source_ = open_source(inputs_[input_], options_.source);
  return true;
}

bool Documents::next(std::string& text) {
  if (options_.whole_files) {
    if (input_ == inputs_.size()) return false;
    text = read_whole(inputs_[input_++], options_.source.max_record_bytes);
    return true;
  }
  while (open_next()) {
    if (source_->next(text)) return true;
    source_.reset();
    ++input_;
  }
  return false;
}

DocumentPosition Documents::position() const { return {input_, source_ ? source_->position() : Position{}}; }

void Documents::skip_to(const DocumentPosition& position) {
  require(position.input <= inputs_.size(), "cannot go on in input ", position.input + 1, " of ", inputs_.size());
  source_.reset();
  input_ = position.input;
  const bool inside = position.inside.record > 0 || position.inside.offset > 0;
  if (inside && open_next()) source_->skip_to(position.inside);
}

std::string Documents::where() const {
  if (options_.whole_files) return inputs_.at(input_ == 0 ? 0 : input_ - 1).string();
  return source_ ? source_->name() + ":" + std::to_string(source_->position().line) : "the end of the input";
}

std::optional<double> Documents::fraction() const {
  if (bytes_before_.empty() || bytes_before_.back() == 0) return std::nullopt;
  double bytes = static_cast<double>(bytes_before_[input_]);
  if (source_) {
    const auto inside = source_->fraction();
    if (!inside) return std::nullopt;
    bytes += *inside * static_cast<double>(bytes_before_[input_ + 1] - bytes_before_[input_]);
  }
  return bytes / static_cast<double>(bytes_before_.back());
}

std::vector<fs::path> input_files(const std::vector<std::string>& given) {
  std::vector<fs::path> files;
  for (const std::string& path : given) {
    if (path == "-") {
      files.emplace_back(path);
      continue;
    }
    require(fs::exists(path), path, ": no such file or folder");
    if (fs::is_directory(path)) add_folder(path, files);
    else files.emplace_back(path);
  }
  return files;
}

}  // namespace m2bert::data
