#pragma once
// Vectors as bytes: npy, safetensors or JSON lines. Headers have a fixed size, so that they can be written last.
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

#include "m2bert/io/tree.h"

namespace m2bert::cli {

enum class VectorFormat { npy, safetensors, jsonl };

// By the file's extension (.npy, .safetensors, .jsonl, .json, .ndjson). Error for any other.
VectorFormat vector_format_of(const std::filesystem::path& file);
VectorFormat vector_format_named(const std::string& name);  // "npy", "safetensors", "jsonl"
const char* name_of(VectorFormat format);

// The header of a file with that many float32 rows: 128 bytes for npy, 256 for safetensors (one tensor "embeddings"), none for jsonl.
std::string vector_header(VectorFormat format, uint64_t rows, int dim);
size_t vector_header_size(VectorFormat format);

// Rows as they are in the file. truncated: [rows]; heads: [rows], what each JSON row begins with, such as {"index": 3}.
std::string vector_rows(VectorFormat format, std::span<const float> vectors, int dim, std::span<const uint8_t> truncated,
                        std::span<const io::Tree> heads);

}  // namespace m2bert::cli
