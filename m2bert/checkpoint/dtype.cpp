#include "m2bert/checkpoint/dtype.h"

namespace m2bert::checkpoint {
namespace {

struct Type {
  std::string_view name;
  int bits;
  std::string_view storage;      // torch.<storage>Storage; empty if only untyped storages hold it
  std::string_view safetensors;  // empty if the format lacks it
};
constexpr Type types[] = {
    {"float32", 32, "Float", "F32"},
    {"float16", 16, "Half", "F16"},
    {"bfloat16", 16, "BFloat16", "BF16"},
    {"float64", 64, "Double", "F64"},
    {"int64", 64, "Long", "I64"},
    {"int32", 32, "Int", "I32"},
    {"int16", 16, "Short", "I16"},
    {"int8", 8, "Char", "I8"},
    {"uint8", 8, "Byte", "U8"},
    {"bool", 8, "Bool", "BOOL"},
    {"uint16", 16, "", "U16"},
    {"uint32", 32, "", "U32"},
    {"uint64", 64, "", "U64"},
    {"complex64", 64, "ComplexFloat", "C64"},
    {"complex128", 128, "ComplexDouble", ""},
    {"complex32", 32, "", ""},
    {"float8_e4m3fn", 8, "", "F8_E4M3"},
    {"float8_e5m2", 8, "", "F8_E5M2"},
    {"float8_e8m0fnu", 8, "", "F8_E8M0"},
    {"float8_e4m3fnuz", 8, "", "F8_E4M3FNUZ"},
    {"float8_e5m2fnuz", 8, "", "F8_E5M2FNUZ"},
    {"float6_e2m3fn", 6, "", "F6_E2M3"},
    {"float6_e3m2fn", 6, "", "F6_E3M2"},
    {"float4_e2m1fn", 4, "", "F4"},
    {"float4_e2m1fn_x2", 8, "", ""},  // two of them
    {"qint8", 8, "QInt8", ""},
    {"quint8", 8, "QUInt8", ""},
    {"qint32", 32, "QInt32", ""},
    {"quint4x2", 8, "QUInt4x2", ""},
    {"quint2x4", 8, "QUInt2x4", ""},
    {"bits8", 8, "", ""},
    {"bits16", 16, "", ""},
    {"bits1x8", 8, "", ""},
    {"bits2x4", 8, "", ""},
    {"bits4x2", 8, "", ""},
};

}  // namespace

std::optional<int> dtype_bits(std::string_view dtype) {
  for (const auto& t : types)
    if (t.name == dtype) return t.bits;
  return std::nullopt;
}

std::optional<int> dtype_bytes(std::string_view dtype) {
  auto bits = dtype_bits(dtype);
  return bits && *bits % 8 == 0 ? std::optional(*bits / 8) : std::nullopt;
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
