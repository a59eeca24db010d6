#include "cli/vector_format.h"

#include <bit>
#include <cstring>

#include "m2bert/error.h"
#include "m2bert/io/json.h"
#include "m2bert/io/npy.h"

namespace m2bert::cli {
namespace {

static_assert(std::endian::native == std::endian::little, "npy and safetensors are written in the machine's byte order");

void append_json_row(std::string& out, std::span<const float> vector, bool truncated, const io::Tree& head) {
  out += io::to_json(head);
  out.pop_back();  // the brace
  out += std::string(",\"truncated\":") + (truncated ? "true" : "false") + ",\"embedding\":[";
  for (size_t i = 0; i < vector.size(); ++i) {
    if (i > 0) out += ',';
    io::append_json_number(out, vector[i]);
  }
  out += "]}\n";
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

VectorHeader::VectorHeader(VectorFormat format, int dim, std::map<std::string, std::string> metadata)
    : format_(format), dim_(dim), metadata_(std::move(metadata)) {
  constexpr size_t alignment = 64;
  if (format == VectorFormat::npy) size_ = io::kNpyHeader;
  if (format != VectorFormat::safetensors) return;
  const uint64_t most_rows = INT64_MAX / (static_cast<uint64_t>(dim) * sizeof(float));
  size_ = (sizeof(uint64_t) + safetensors_json(most_rows).size() + alignment) / alignment * alignment;
}

std::string VectorHeader::safetensors_json(uint64_t rows) const {
  io::Tree metadata = {{"format", "m2bert"}};
  for (const auto& [key, value] : metadata_) metadata.set(key, value);
  const uint64_t bytes = rows * static_cast<uint64_t>(dim_) * sizeof(float);
  const io::Tree tensor = {{"dtype", "F32"}, {"shape", io::Tree::list({rows, dim_})}, {"data_offsets", io::Tree::list({0, bytes})}};
  return io::to_json(io::Tree{{"__metadata__", metadata}, {"embeddings", tensor}});
}

std::string VectorHeader::text(uint64_t rows) const {
  if (format_ == VectorFormat::npy) return io::npy_header(io::NpyType::float32, rows, static_cast<uint64_t>(dim_));
  if (format_ == VectorFormat::jsonl) return "";
  std::string json = safetensors_json(rows);
  json.resize(size_ - sizeof(uint64_t), ' ');
  const uint64_t length = json.size();
  std::string header(sizeof length, '\0');
  std::memcpy(header.data(), &length, sizeof length);
  return header + json;
}

std::string vector_rows(VectorFormat format, std::span<const float> vectors, int dim, std::span<const uint8_t> truncated,
                        std::span<const io::Tree> heads) {
  const size_t width = static_cast<size_t>(dim);
  if (format != VectorFormat::jsonl) return {reinterpret_cast<const char*>(vectors.data()), vectors.size_bytes()};
  std::string out;
  for (size_t row = 0; row < truncated.size(); ++row)
    append_json_row(out, vectors.subspan(row * width, width), truncated[row] != 0, heads[row]);
  return out;
}

}  // namespace m2bert::cli
