#include "m2bert/checkpoint/tensor_file.h"

#include "m2bert/checkpoint/safetensors.h"
#include "m2bert/checkpoint/torch_file.h"
#include "m2bert/checkpoint/torch_index.h"
#include "m2bert/error.h"
#include "m2bert/io/file.h"

namespace m2bert::checkpoint {
namespace {

const std::vector<std::pair<std::string, mx::Dtype>>& shared_dtypes() {
  static const std::vector<std::pair<std::string, mx::Dtype>> table = {
      {"bool", mx::bool_},      {"uint8", mx::uint8},     {"uint16", mx::uint16},     {"uint32", mx::uint32},      {"uint64", mx::uint64},
      {"int8", mx::int8},       {"int16", mx::int16},     {"int32", mx::int32},       {"int64", mx::int64},        {"float16", mx::float16},
      {"float32", mx::float32}, {"float64", mx::float64}, {"bfloat16", mx::bfloat16}, {"complex64", mx::complex64}};
  return table;
}

}  // namespace

std::unique_ptr<TensorFile> TensorFile::open(const std::filesystem::path& file) {
  FileKind kind;
  {
    io::MappedFile map(file);
    kind = file_kind(map.bytes());
    if (kind == FileKind::unknown) fail(file.string(), ": neither a PyTorch nor a safetensors file: ", describe_unknown(map.bytes()));
  }
  return kind == FileKind::safetensors ? open_safetensors(file) : open_torch_file(file);
}

const TensorInfo* TensorFile::find(const std::string& name) const {
  for (const auto& t : tensors())
    if (t.name == name) return &t;
  return nullptr;
}

mx::Dtype to_mlx_dtype(const std::string& dtype, const std::string& tensor) {
  for (const auto& [name, value] : shared_dtypes())
    if (name == dtype) return value;
  fail(tensor, " has dtype ", dtype, ", which MLX does not have; convert it with PyTorch first");
}

std::string dtype_name(mx::Dtype dtype) {
  for (const auto& [name, value] : shared_dtypes())
    if (value == dtype) return name;
  fail("[dtype_name] a dtype of MLX that PyTorch does not have");
}

}  // namespace m2bert::checkpoint
