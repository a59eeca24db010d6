#include "m2bert/data/documents.h"

#include <algorithm>

#include "m2bert/data/bad_record.h"
#include "m2bert/data/text_head.h"
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

// Without a byte order mark. BadRecord if the file is no text.
std::string read_text(const fs::path& file, size_t most) {
  std::string text = read_whole(file, most);
  try {
    text.erase(0, check_text_head(std::string_view(text).substr(0, kTextHead), file.string()));
  } catch (const Error& e) {
    throw BadRecord(e.what());
  }
  check_text(text, file.string());
  return text;
}

// The options without those that this input has no use for.
SourceOptions options_for(const fs::path& input, SourceOptions options) {
  const Format format = format_of(input, options.format);
  if (format == Format::text) options.field.clear();
  if (format != Format::csv && format != Format::tsv) options.delimiter.clear();
  return options;
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
    else if (can_reread(at->path())) found.push_back(at->path());
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
    const uint64_t bytes = can_reread(input) ? fs::file_size(input, failed) : 0;
    if (!can_reread(input) || failed) {
      bytes_before_.clear();
      return;
    }
    bytes_before_.push_back(bytes_before_.back() + bytes);
  }
}

bool Documents::open_next() {
  if (input_ == inputs_.size()) return false;
  if (!source_) source_ = open_source(inputs_[input_], options_for(inputs_[input_], options_.source));
  return true;
}

void Documents::count_skipped(uint64_t count, const std::string& why) {
  if (skipped_ == 0) first_skipped_ = why;
  skipped_ += count;
}

uint64_t Documents::skipped() const { return skipped_ + (source_ ? source_->skipped() : 0); }

const std::string& Documents::first_skipped() const { return skipped_ == 0 && source_ ? source_->first_skipped() : first_skipped_; }

bool Documents::next_file(std::string& text) {
  while (input_ < inputs_.size()) {
    try {
      text = read_text(inputs_[input_++], options_.source.max_record_bytes);
      return true;
    } catch (const BadRecord& e) {
      if (!options_.source.skip_bad) throw;
      count_skipped(1, e.what());
    }
  }
  return false;
}

bool Documents::next(std::string& text) {
  if (options_.whole_files) return next_file(text);
  while (open_next()) {
    if (source_->next(text)) return true;
    count_skipped(source_->skipped(), source_->first_skipped());
    source_.reset();
    ++input_;
  }
  return false;
}

DocumentPosition Documents::position() const { return {input_, source_ ? source_->position() : Position{}}; }

void Documents::skip_to(const DocumentPosition& position) {
  require(position.input <= inputs_.size(), "cannot go on in input ", position.input + 1, " of ", inputs_.size());
  source_.reset();
  skipped_ = 0;
  first_skipped_.clear();
  input_ = position.input;
  const bool inside = position.inside.record > 0 || position.inside.offset > 0;
  if (inside && open_next()) source_->skip_to(position.inside);
}

std::string Documents::where() const {
  if (options_.whole_files) return inputs_.at(input_ == 0 ? 0 : input_ - 1).string();
  return source_ ? source_->where() : "the end of the input";
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

bool can_reread(const fs::path& input) {
  std::error_code none;
  return input != "-" && fs::is_regular_file(input, none);
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
