#pragma once
// A file of named tensors: PyTorch (.pt, .pth, .bin; zip or legacy) or safetensors, told apart by content and read lazily.
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "m2bert/mx.h"

namespace m2bert::checkpoint {

struct TensorInfo {
  std::string name;            // as in the file; nested dicts are joined with dots
  std::string dtype;           // torch's name: "float32", "bfloat16", "complex128", "qint8", ...
  std::vector<int64_t> shape;  // every dimension >= 0
  uint64_t nbytes = 0;         // of the values; the storage may be larger
  std::string storage;         // equal = shared memory
};

// A pickled object that is not a tensor, number, string or container. It was never called.
struct SkippedObject {
  std::string path;     // where in the file: "rng.0.numpy"
  std::string what;     // class or function ("datetime.timedelta"), or the kind of tensor ("a sparse tensor")
  bool tensor = false;  // a tensor in a form that is not read; load_weights throws if it is a weight
};

// Names are unique; order is the file's.
using TensorMap = std::vector<std::pair<std::string, mx::array>>;

class TensorFile {
 public:
  virtual ~TensorFile() = default;

  // Detects the format by content, not by name. Checks everything but the values. Errors name the file, the byte offset and the problem.
  static std::unique_ptr<TensorFile> open(const std::filesystem::path& file);

  virtual const std::vector<TensorInfo>& tensors() const = 0;
  // The values, row-contiguous. Tensors with the same view of a storage return the same array, so tied weights stay tied.
  // Throws for a dtype that MLX lacks, and for values that fail the file's checksum.
  virtual mx::array read(const TensorInfo& tensor) = 0;
  // "PyTorch zip", "PyTorch legacy" or "safetensors".
  virtual std::string format() const = 0;
  // Objects other than tensors, which were skipped (PyTorch files only).
  virtual const std::vector<SkippedObject>& skipped() const = 0;
  // safetensors' __metadata__; empty for PyTorch files.
  virtual const std::map<std::string, std::string>& metadata() const = 0;
  // Numbers and short texts of a PyTorch file, as text: "state.timestamp.Timestamp.batch" -> "100". Empty for safetensors.
  virtual const std::map<std::string, std::string>& scalars() const = 0;

  // The tensor of that name, or nullptr.
  const TensorInfo* find(const std::string& name) const;
};

// MLX's dtype for a torch dtype name. Throws an Error that names `tensor` and the dtype if MLX has none.
mx::Dtype to_mlx_dtype(const std::string& dtype, const std::string& tensor);
// torch's name of an MLX dtype: "float32", "bool", ...
std::string dtype_name(mx::Dtype dtype);

}  // namespace m2bert::checkpoint
