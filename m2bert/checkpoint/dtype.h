#pragma once
// torch's dtypes by name and size; tensor_file.cpp decides which of them MLX has.
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace m2bert::checkpoint {

// Bits per value of a torch dtype, or of one that safetensors has and torch lacks ("float4_e2m1fn"). nullopt for an unknown name.
std::optional<int> dtype_bits(std::string_view dtype);
// Bytes per value of a torch dtype ("float32", "qint8", "float8_e4m3fn", ...), nullopt for an unknown name.
std::optional<int> dtype_bytes(std::string_view dtype);
// The dtype of a torch storage class ("torch.FloatStorage", also under torch.cuda). UntypedStorage counts bytes: "uint8".
std::optional<std::string> storage_dtype(std::string_view storage_class);
// safetensors' names ("F32", "BF16", ...) and torch's.
std::optional<std::string> from_safetensors_dtype(std::string_view dtype);
std::optional<std::string> to_safetensors_dtype(std::string_view dtype);

// a * b; nullopt on overflow of 64 bits.
std::optional<uint64_t> multiply(uint64_t a, uint64_t b);

}  // namespace m2bert::checkpoint
