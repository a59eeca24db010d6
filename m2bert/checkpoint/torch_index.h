#pragma once
// The contents of a PyTorch file: tensors, their storages, and skipped objects. Reads no values and does not need MLX.
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace m2bert::checkpoint {

struct TorchStorage {
  std::string key;
  uint64_t offset = 0;  // in the file
  uint64_t bytes = 0;
  std::optional<uint32_t> crc;  // of all its bytes (zip format)
};

// A strided view of a storage. Checked: every value lies inside the storage.
struct TorchTensor {
  std::string name;   // path in the pickled object, joined with dots
  std::string dtype;  // torch's name
  int itemsize = 0;
  std::vector<int64_t> shape, strides;  // strides in values, >= 0
  uint64_t first = 0;                   // of the storage, in values
  uint64_t count = 0;                   // product of the shape
  size_t storage = 0;                   // index into TorchIndex::storages
  bool conj = false, neg = false;       // PyTorch's lazy bits: the values are the complex conjugate, or the negative, of the stored ones
  bool contiguous() const;
};

struct TorchObject {
  std::string path;
  std::string what;     // the class or function, or what kind of tensor it is
  bool tensor = false;  // holds a tensor's values in a form that is not read (sparse, nested, a wrapper class, a NumPy array)
};

struct TorchIndex {
  std::string format;                // "PyTorch zip" or "PyTorch legacy"
  std::vector<TorchTensor> tensors;  // unique names
  std::vector<TorchStorage> storages;
  std::vector<TorchObject> skipped;
  std::vector<std::pair<std::string, std::string>> scalars;  // numbers and short texts by path, as text
};

enum class FileKind { torch_zip, torch_legacy, safetensors, unknown };

// By content. A zip archive counts as torch_zip.
FileKind file_kind(std::span<const std::byte> file);
// What an unknown file seems to be, for error messages: "an HTML page", "a gzip file", "empty", ...
std::string describe_unknown(std::span<const std::byte> file);

// Reads the index of a whole mapped file. Errors name `name`, the byte offset and the problem.
TorchIndex read_torch_index(std::span<const std::byte> file, const std::string& name);

}  // namespace m2bert::checkpoint
