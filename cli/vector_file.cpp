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
  constexpr std::pair<const char*, Type> types[] = {
      {"<f2", Type::float16}, {"<f4", Type::float32}, {"<f8", Type::float64}, {"|i1", Type::int8}, {"|u1", Type::uint8}};
  type_ = std::find_if(std::begin(types), std::end(types), [&](const auto& known) { return view.type == known.first; })->second;
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
  constexpr std::pair<const char*, Type> types[] = {{"float16", Type::float16}, {"bfloat16", Type::bfloat16}, {"float32", Type::float32},
                                                    {"float64", Type::float64}, {"int8", Type::int8},         {"uint8", Type::uint8}};
  const auto type = std::find_if(std::begin(types), std::end(types), [&](const auto& known) { return tensor->dtype == known.first; });
  require(type != std::end(types), path_.string(), ": the tensor ", tensor->name, " is ", tensor->dtype,
          ", wants float16, bfloat16, float32, float64, int8 or uint8");
  type_ = type->second;
  rows_ = static_cast<uint64_t>(tensor->shape[0]);
  dim_ = static_cast<size_t>(tensor->shape[1]);
  metadata_ = header.metadata;
  data_ = mapped_->bytes().data() + tensor->offset;
  if (const auto known = metadata_.find("precision"); known != metadata_.end()) precision_ = known->second;
  const auto unit = metadata_.find("vectors");
  require(unit == metadata_.end() || unit->second != "token", path_.string(), ": its vectors are those of tokens (embed --tokens)");
  for (const auto& entry : entries) {
    if (entry.name == "ranges" && tensor->name != "ranges") read_ranges(entry);
    if (entry.name == "passages" && tensor->name != "passages") read_passages(entry);
  }
}

void VectorFile::read_ranges(const checkpoint::SafetensorsEntry& tensor) {
  const bool fits = tensor.dtype == "float32" && tensor.shape.size() == 2 && tensor.shape[0] == 2;
  require(fits, path_.string(), ": the tensor ranges is not float32 [2, dimensions]");
  for (auto* ends : {&ranges_.low, &ranges_.high}) {
    ends->resize(static_cast<size_t>(tensor.shape[1]));
    const size_t before = ends == &ranges_.low ? 0 : ends->size() * sizeof(float);
    std::memcpy(ends->data(), mapped_->bytes().data() + tensor.offset + before, ends->size() * sizeof(float));
  }
}

void VectorFile::read_passages(const checkpoint::SafetensorsEntry& tensor) {
  const bool fits =
      tensor.dtype == "int64" && tensor.shape.size() == 2 && static_cast<uint64_t>(tensor.shape[0]) == rows_ && tensor.shape[1] == 3;
  require(fits, path_.string(), ": the tensor passages is not int64 [", rows_, ", 3]");
  for (uint64_t row = 0; row < rows_; ++row) {
    uint64_t values[3];
    std::memcpy(values, mapped_->bytes().data() + tensor.offset + row * sizeof values, sizeof values);
    indices_.push_back(values[0]);
    passages_.emplace_back(values[1], values[2]);
  }
}

search::Precision VectorFile::precision(size_t dim) const {
  using search::Precision;
  if (is_float()) return Precision::float32;
  if (!precision_.empty()) return search::precision_named(precision_);
  const bool is_signed = type_ == Type::int8, packed = dim_ == search::bytes_of(Precision::ubinary, dim) && dim_ != dim;
  require(packed || dim_ == dim, path_.string(), ": its rows of ", dim_, " bytes fit no vectors of ", dim, " dimensions: int8 would be ",
          dim, " bytes, binary ", search::bytes_of(Precision::ubinary, dim));
  if (packed) return is_signed ? Precision::binary : Precision::ubinary;
  return is_signed ? Precision::int8 : Precision::uint8;
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
  const io::Tree *start = row.find("start"), *end = row.find("end");
  const bool passage = start != nullptr && start->is_integer() && end != nullptr && end->is_integer();
  if (passage && passages_.size() == rows_) passages_.emplace_back(start->as<uint64_t>(), end->as<uint64_t>());
  require(passages_.empty() || passages_.size() == rows_ + 1, where, ": has no start and end, but the lines before have them");
  const bool rises = indices_.empty() || number > indices_.back() || (passage && number == indices_.back());
  require(rises, where, ": has the index ", number, " after ", indices_.empty() ? 0 : indices_.back(), ": the lines are not in order");
  indices_.push_back(number);
}

void VectorFile::read_json_lines() {
  mapped_.reset();
  data::LineReader lines(path_, longest_line);
  for (std::string line; lines.next(line); ++rows_) {
    const io::Tree row = io::parse_json(line, lines.where());
    require(row.is_map() && row.contains("embedding"), lines.where(), ": has no \"embedding\"");
    read_index(row, lines.where());
    read_precision(row, lines.where());
    read_values(row, lines.where());
  }
  data_ = is_float() ? reinterpret_cast<const std::byte*>(values_.data()) : reinterpret_cast<const std::byte*>(codes_.data());
}

void VectorFile::read_precision(const io::Tree& row, const std::string& where) {
  const std::string precision = row.get<std::string>("precision", "");
  if (rows_ == 0) {
    precision_ = precision;
    if (!precision.empty()) {
      const search::Precision known = search::precision_named(precision);
      const bool is_signed = known == search::Precision::int8 || known == search::Precision::binary;
      if (known != search::Precision::float32) type_ = is_signed ? Type::int8 : Type::uint8;
    }
  }
  require(precision == precision_, where, ": its precision is '", precision, "', that of the lines before '", precision_, "'");
}

void VectorFile::read_values(const io::Tree& row, const std::string& where) {
  const auto& values = row.at("embedding").items();
  if (rows_ == 0) dim_ = values.size();
  require(values.size() == dim_, where, ": its vector has ", values.size(), " dimensions, those before have ", dim_);
  for (const io::Tree& value : values) {
    if (is_float()) values_.push_back(static_cast<float>(value.number()));
    else codes_.push_back(static_cast<uint8_t>(type_ == Type::int8 ? value.integer(-128, 127) : value.integer(0, 255)));
  }
}

size_t VectorFile::width() const {
  if (!is_float()) return 1;
  return type_ == Type::float64 ? 8 : type_ == Type::float32 ? 4 : 2;
}

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
