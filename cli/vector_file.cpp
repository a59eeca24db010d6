#include "cli/vector_file.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "m2bert/checkpoint/safetensors_header.h"
#include "m2bert/data/line_reader.h"
#include "m2bert/error.h"
#include "m2bert/io/json.h"
#include "m2bert/io/npy.h"

namespace m2bert::cli {
namespace {

constexpr size_t longest_line = size_t{1} << 26;  // bytes
constexpr size_t block_values = size_t{1} << 20;  // that are converted at a time
constexpr size_t safetensors_length = sizeof(uint64_t);

bool starts_like_safetensors(std::string_view start) {
  return start.size() > safetensors_length && start[safetensors_length - 1] == '\0' && start[safetensors_length] == '{';
}

template <class T, class Convert>
void convert_each(const std::byte* data, std::span<float> out, Convert value) {
  for (size_t i = 0; i < out.size(); ++i) {
    T raw;
    std::memcpy(&raw, data + i * sizeof raw, sizeof raw);
    out[i] = value(raw);
  }
}

// The float of each of the 65,536 half precision numbers.
std::vector<float> all_of_float16() {
  std::vector<float> floats(size_t{1} << 16);
  for (size_t bits = 0; bits < floats.size(); ++bits) floats[bits] = io::from_float16(static_cast<uint16_t>(bits));
  return floats;
}

}  // namespace

VectorFile::VectorFile(const std::filesystem::path& file) : path_(file) {
  mapped_.emplace(file);
  const auto bytes = mapped_->bytes();
  require(!bytes.empty(), file.string(), ": is empty, wants vectors");
  const std::string_view start(reinterpret_cast<const char*>(bytes.data()), std::min<size_t>(bytes.size(), 16));
  constexpr std::string_view gzip = "\x1f\x8b", zstd = "\x28\xb5\x2f\xfd";
  if (start.starts_with("\x93NUMPY")) open_npy();
  else if (starts_like_safetensors(start)) open_safetensors();
  else if (start.starts_with("{") || start.starts_with(gzip) || start.starts_with(zstd)) read_json_lines();
  else
    fail(file.string(), ": is no file of vectors, wants .npy, .safetensors, or JSON lines with \"embedding\", as m2bert embed writes them");
  require(rows_ > 0 && dim_ > 0, file.string(), ": has no vectors");
}

void VectorFile::open_npy() {
  io::NpyView view = io::map_npy(path_);
  type_ = view.type == "<f2" ? Type::float16 : view.type == "<f8" ? Type::float64 : Type::float32;
  rows_ = view.rows;
  dim_ = view.columns;
  mapped_ = std::move(view.file);
  data_ = mapped_->bytes().data() + view.offset;
}

void VectorFile::open_safetensors() {
  const auto header = checkpoint::read_safetensors_header(mapped_->bytes(), path_.string());
  const auto& entries = header.entries;
  auto tensor = std::find_if(entries.begin(), entries.end(), [](const auto& entry) { return entry.name == "embeddings"; });
  if (tensor == entries.end() && entries.size() == 1) tensor = entries.begin();
  require(tensor != entries.end(), path_.string(), ": has ", entries.size(), " tensors, none of them named embeddings");
  require(tensor->shape.size() == 2, path_.string(), ": the tensor ", tensor->name, " has ", tensor->shape.size(),
          " dimensions, wants 2: rows of vectors");
  constexpr std::pair<const char*, Type> types[] = {
      {"float16", Type::float16}, {"bfloat16", Type::bfloat16}, {"float32", Type::float32}, {"float64", Type::float64}};
  const auto type = std::find_if(std::begin(types), std::end(types), [&](const auto& known) { return tensor->dtype == known.first; });
  require(type != std::end(types), path_.string(), ": the tensor ", tensor->name, " is ", tensor->dtype,
          ", wants float16, bfloat16, float32 or float64");
  type_ = type->second;
  rows_ = static_cast<uint64_t>(tensor->shape[0]);
  dim_ = static_cast<size_t>(tensor->shape[1]);
  metadata_ = header.metadata;
  data_ = mapped_->bytes().data() + tensor->offset;
}

const std::string& VectorFile::recorded(const std::string& key) const {
  const auto found = metadata_.find(key);
  require(found != metadata_.end(), path_.string(), ": its metadata lack \"", key, "\", which m2bert embed records; embed the texts again");
  return found->second;
}

// Texts that embed passed over (--skip-bad) leave gaps.
void VectorFile::read_index(const io::Tree& row, const std::string& where) {
  const io::Tree* index = row.find("index");
  require(rows_ == 0 || has_indices() == (index != nullptr), where,
          index ? ": has an index, but the lines before have none" : ": has no index, but the lines before have one");
  if (index == nullptr) return;
  const auto number = index->as<uint64_t>();
  require(indices_.empty() || number > indices_.back(), where, ": has the index ", number, " after ",
          indices_.empty() ? 0 : indices_.back(), ": the lines are not in order");
  indices_.push_back(number);
}

void VectorFile::read_json_lines() {
  mapped_.reset();
  data::LineReader lines(path_, longest_line);
  for (std::string line; lines.next(line); ++rows_) {
    const io::Tree row = io::parse_json(line, lines.where());
    require(row.is_map() && row.contains("embedding"), lines.where(), ": has no \"embedding\"");
    read_index(row, lines.where());
    const auto& values = row.at("embedding").items();
    if (rows_ == 0) dim_ = values.size();
    require(values.size() == dim_, lines.where(), ": its vector has ", values.size(), " dimensions, those before have ", dim_);
    for (const io::Tree& value : values) values_.push_back(static_cast<float>(value.number()));
  }
  data_ = reinterpret_cast<const std::byte*>(values_.data());
}

size_t VectorFile::width() const { return type_ == Type::float64 ? 8 : type_ == Type::float32 ? 4 : 2; }

bool VectorFile::is_view() const { return type_ == Type::float32 && reinterpret_cast<uintptr_t>(data_) % alignof(float) == 0; }

// The values from the first on as float32.
void VectorFile::convert(uint64_t first, std::span<float> out) const {
  const std::byte* at = data_ + first * width();
  if (type_ == Type::float32) std::memcpy(out.data(), at, out.size_bytes());
  if (type_ == Type::float64) convert_each<double>(at, out, [](double value) { return static_cast<float>(value); });
  if (type_ == Type::bfloat16) convert_each<uint16_t>(at, out, [](uint32_t bits) { return std::bit_cast<float>(bits << 16); });
  if (type_ == Type::float16) {
    static const std::vector<float> floats = all_of_float16();
    convert_each<uint16_t>(at, out, [](uint16_t bits) { return floats[bits]; });
  }
}

void VectorFile::for_each_block(const std::function<void(std::span<const float> rows)>& use) const {
  if (is_view()) return use({reinterpret_cast<const float*>(data_), rows_ * dim_});
  const uint64_t rows_a_block = std::max<uint64_t>(1, block_values / dim_);
  std::vector<float> block;
  for (uint64_t row = 0; row < rows_; row += rows_a_block) {
    block.resize(std::min(rows_a_block, rows_ - row) * dim_);
    convert(row * dim_, block);
    use(block);
  }
}

void VectorFile::require_finite() const {
  uint64_t first = 0;
  for_each_block([&](std::span<const float> rows) {
    const auto bad = std::find_if(rows.begin(), rows.end(), [](float value) { return !std::isfinite(value); });
    require(bad == rows.end(), path_.string(), ": row ", first + static_cast<uint64_t>(bad - rows.begin()) / dim_ + 1,
            " has NaN or infinite values");
    first += rows.size() / dim_;
  });
}

}  // namespace m2bert::cli
