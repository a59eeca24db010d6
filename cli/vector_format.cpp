#include "cli/vector_format.h"

#include <bit>
#include <cstring>

#include "m2bert/error.h"
#include "m2bert/io/json.h"

namespace m2bert::cli {
namespace {

static_assert(std::endian::native == std::endian::little, "npy and safetensors are written in the machine's byte order");

constexpr size_t npy_size = 128, safetensors_size = 256;

std::string npy_header(uint64_t rows, int dim) {
  std::string header("\x93NUMPY\x01\x00\x76\x00", 10);  // version 1.0, 118 bytes follow
  header += "{'descr': '<f4', 'fortran_order': False, 'shape': (" + std::to_string(rows) + ", " + std::to_string(dim) + "), }";
  header.resize(npy_size - 1, ' ');
  return header + "\n";
}

std::string safetensors_header(uint64_t rows, int dim) {
  const uint64_t bytes = rows * static_cast<uint64_t>(dim) * sizeof(float);
  std::string json = R"({"__metadata__":{"format":"m2bert"},"embeddings":{"dtype":"F32","shape":[)" + std::to_string(rows) + "," +
                     std::to_string(dim) + R"(],"data_offsets":[0,)" + std::to_string(bytes) + "]}}";
  json.resize(safetensors_size - sizeof(uint64_t), ' ');
  const uint64_t length = json.size();
  std::string header(sizeof length, '\0');
  std::memcpy(header.data(), &length, sizeof length);
  return header + json;
}

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

size_t vector_header_size(VectorFormat format) {
  return format == VectorFormat::npy ? npy_size : format == VectorFormat::safetensors ? safetensors_size : 0;
}

std::string vector_header(VectorFormat format, uint64_t rows, int dim) {
  if (format == VectorFormat::npy) return npy_header(rows, dim);
  return format == VectorFormat::safetensors ? safetensors_header(rows, dim) : "";
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
