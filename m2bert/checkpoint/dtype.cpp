#include "m2bert/checkpoint/dtype.h"

namespace m2bert::checkpoint {
namespace {

struct Type {
  std::string_view name;
  int bytes;
  std::string_view storage;      // torch.<storage>Storage; empty if only untyped storages hold it
  std::string_view safetensors;  // empty if the format lacks it
};
constexpr Type types[] = {
    {"float32", 4, "Float", "F32"},
    {"float16", 2, "Half", "F16"},
    {"bfloat16", 2, "BFloat16", "BF16"},
    {"float64", 8, "Double", "F64"},
    {"int64", 8, "Long", "I64"},
    {"int32", 4, "Int", "I32"},
    {"int16", 2, "Short", "I16"},
    {"int8", 1, "Char", "I8"},
    {"uint8", 1, "Byte", "U8"},
    {"bool", 1, "Bool", "BOOL"},
    {"uint16", 2, "", "U16"},
    {"uint32", 4, "", "U32"},
    {"uint64", 8, "", "U64"},
    {"complex64", 8, "ComplexFloat", "C64"},
    {"complex128", 16, "ComplexDouble", ""},
    {"complex32", 4, "", ""},
    {"float8_e4m3fn", 1, "", "F8_E4M3"},
    {"float8_e5m2", 1, "", "F8_E5M2"},
    {"float8_e8m0fnu", 1, "", "F8_E8M0"},
    {"float8_e4m3fnuz", 1, "", ""},
    {"float8_e5m2fnuz", 1, "", ""},
    {"float4_e2m1fn_x2", 1, "", ""},
    {"qint8", 1, "QInt8", ""},
    {"quint8", 1, "QUInt8", ""},
    {"qint32", 4, "QInt32", ""},
    {"quint4x2", 1, "QUInt4x2", ""},
    {"quint2x4", 1, "QUInt2x4", ""},
    {"bits8", 1, "", ""},
    {"bits16", 2, "", ""},
    {"bits1x8", 1, "", ""},
    {"bits2x4", 1, "", ""},
    {"bits4x2", 1, "", ""},
};

}  // namespace

std::optional<int> dtype_bytes(std::string_view dtype) {
  for (const auto& t : types)
    if (t.name == dtype) return t.bytes;
  return std::nullopt;
}

std::optional<std::string> storage_dtype(std::string_view c) {
  if (c == "torch.storage.UntypedStorage" || c == "torch.UntypedStorage") return "uint8";
  constexpr std::string_view suffix = "Storage";
  if (c.starts_with("torch.cuda.")) c.remove_prefix(11);
  else if (c.starts_with("torch.")) c.remove_prefix(6);
  else return std::nullopt;
  if (!c.ends_with(suffix)) return std::nullopt;
  c.remove_suffix(suffix.size());
  for (const auto& t : types)
    if (!t.storage.empty() && t.storage == c) return std::string(t.name);
  return std::nullopt;
}

std::optional<std::string> from_safetensors_dtype(std::string_view dtype) {
  for (const auto& t : types)
    if (!t.safetensors.empty() && t.safetensors == dtype) return std::string(t.name);
  return std::nullopt;
}

std::optional<std::string> to_safetensors_dtype(std::string_view dtype) {
  for (const auto& t : types)
    if (t.name == dtype && !t.safetensors.empty()) return std::string(t.safetensors);
  return std::nullopt;
}

std::optional<uint64_t> multiply(uint64_t a, uint64_t b) {
  uint64_t product = 0;
  if (__builtin_mul_overflow(a, b, &product)) return std::nullopt;
  return product;
}

}  // namespace m2bert::checkpoint
