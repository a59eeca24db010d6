#include "cli/vector_format.h"

#include <bit>
#include <cstring>

#include "m2bert/error.h"
#include "m2bert/io/json.h"
#include "m2bert/io/npy.h"

namespace m2bert::cli {
namespace {

static_assert(std::endian::native == std::endian::little, "npy and safetensors are written in the machine's byte order");

constexpr size_t alignment = 64;

io::NpyType npy_type(search::Precision precision) {
  if (precision == search::Precision::float32) return io::NpyType::float32;
  const bool is_signed = precision == search::Precision::int8 || precision == search::Precision::binary;
  return is_signed ? io::NpyType::int8 : io::NpyType::uint8;
}

const char* safetensors_type(search::Precision precision) {
  const io::NpyType type = npy_type(precision);
  return type == io::NpyType::float32 ? "F32" : type == io::NpyType::int8 ? "I8" : "U8";
}

// Of int8 as signed numbers.
void append_bytes(std::string& out, std::span<const uint8_t> bytes, bool is_signed) {
  for (size_t i = 0; i < bytes.size(); ++i)
    out += (i > 0 ? "," : "") + std::to_string(is_signed ? static_cast<int>(static_cast<int8_t>(bytes[i])) : static_cast<int>(bytes[i]));
}

void append_floats(std::string& out, std::span<const float> values) {
  for (size_t i = 0; i < values.size(); ++i) {
    if (i > 0) out += ',';
    io::append_json_number(out, values[i]);
  }
}

}  // namespace

VectorFormat vector_format_of(const std::filesystem::path& file) {
  const std::string extension = file.extension().string();
  if (extension == ".npy") return VectorFormat::npy;
  if (extension == ".safetensors") return VectorFormat::safetensors;
  if (extension == ".jsonl" || extension == ".ndjson" || extension == ".json") return VectorFormat::jsonl;
  fail("output ", file.string(), ": its name does not tell the format; end it in .npy, .safetensors or .jsonl, or give --output-format");
}

VectorFormat vector_format_named(const std::string& name) {
  return name == "npy" ? VectorFormat::npy : name == "safetensors" ? VectorFormat::safetensors : VectorFormat::jsonl;
}

const char* name_of(VectorFormat format) {
  return format == VectorFormat::npy ? "npy" : format == VectorFormat::safetensors ? "safetensors" : "jsonl";
}

VectorHeader::VectorHeader(VectorFormat format, const search::Quantizer& quantizer, std::map<std::string, std::string> metadata,
                           VectorIndex index)
    : format_(format),
      precision_(quantizer.precision()),
      row_bytes_(quantizer.row_bytes()),
      columns_(precision_ == search::Precision::float32 ? quantizer.dim() : row_bytes_),
      metadata_(std::move(metadata)),
      index_(std::move(index)) {
  if (search::is_scalar(precision_)) {
    ranges_ = quantizer.ranges().low;
    ranges_.insert(ranges_.end(), quantizer.ranges().high.begin(), quantizer.ranges().high.end());
  }
  if (format == VectorFormat::npy) size_ = io::kNpyHeader;
  if (format == VectorFormat::safetensors) size_ = json_size() + ranges_.size() * sizeof(float);
}

// Of the longest JSON and its length, rounded up.
size_t VectorHeader::json_size() const {
  const uint64_t most_rows = INT64_MAX / (row_bytes_ + ranges_.size() * sizeof(float) + index_.columns * sizeof(int64_t));
  return (sizeof(uint64_t) + safetensors_json(most_rows).size() + alignment) / alignment * alignment;
}

std::string VectorHeader::safetensors_json(uint64_t rows) const {
  io::Tree metadata = {{"format", "m2bert"}};
  for (const auto& [key, value] : metadata_) metadata.set(key, value);
  io::Tree header = {{"__metadata__", metadata}};
  uint64_t offset = 0;
  const auto add = [&](const std::string& name, const char* type, uint64_t count, uint64_t columns, uint64_t bytes) {
    const io::Tree offsets = io::Tree::list({offset, offset + bytes});
    header.set(name, io::Tree{{"dtype", type}, {"shape", io::Tree::list({count, columns})}, {"data_offsets", offsets}});
    offset += bytes;
  };
  if (!ranges_.empty()) add("ranges", "F32", 2, ranges_.size() / 2, ranges_.size() * sizeof(float));
  add("embeddings", safetensors_type(precision_), rows, columns_, rows * row_bytes_);
  if (!index_.name.empty()) add(index_.name, "I64", rows, index_.columns, rows * index_.columns * sizeof(int64_t));
  return io::to_json(header);
}

std::string VectorHeader::text(uint64_t rows) const {
  if (format_ == VectorFormat::npy) return io::npy_header(npy_type(precision_), rows, columns_);
  if (format_ == VectorFormat::jsonl) return "";
  std::string json = safetensors_json(rows);
  json.resize(size_ - ranges_.size() * sizeof(float) - sizeof(uint64_t), ' ');
  const uint64_t length = json.size();
  std::string header(sizeof length, '\0');
  std::memcpy(header.data(), &length, sizeof length);
  return header + json + std::string(reinterpret_cast<const char*>(ranges_.data()), ranges_.size() * sizeof(float));
}

void append_json_vector(std::string& out, const search::Quantizer& quantizer, std::span<const float> vector) {
  out += '[';
  if (quantizer.precision() == search::Precision::float32) append_floats(out, vector);
  else append_bytes(out, quantizer.encode(vector), npy_type(quantizer.precision()) == io::NpyType::int8);
  out += ']';
}

std::string vector_rows(VectorFormat format, const search::Quantizer& quantizer, std::span<const float> vectors,
                        std::span<const io::Tree> heads) {
  const size_t width = quantizer.dim();
  std::string out;
  if (format != VectorFormat::jsonl) {
    const std::vector<uint8_t> bytes = quantizer.encode(vectors);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  for (size_t row = 0; row < heads.size(); ++row) {
    out += io::to_json(heads[row]);
    out.pop_back();  // the brace
    if (quantizer.precision() != search::Precision::float32)
      out += std::string(",\"precision\":\"") + search::name_of(quantizer.precision()) + '"';
    out += ",\"embedding\":";
    append_json_vector(out, quantizer, vectors.subspan(row * width, width));
    out += "}\n";
  }
  return out;
}

}  // namespace m2bert::cli
