#pragma once
// Vectors to stdout, a pipe or a device.
#include <cstdio>
#include <string>
#include <string_view>

#include "cli/vector_format.h"

namespace m2bert::cli {

// JSON lines are written at once. The headers of npy and safetensors count the rows, so their rows are buffered in a temporary file.
class VectorStream {
 public:
  // output: "-" or a path. Error if it cannot be opened.
  VectorStream(std::string output, VectorFormat format, int dim);
  ~VectorStream();
  VectorStream(const VectorStream&) = delete;
  VectorStream& operator=(const VectorStream&) = delete;

  // Error if the bytes cannot be written (disk full).
  void write(std::string_view rows);
  // Writes what is buffered.
  void finish(uint64_t rows);

 private:
  void put(std::FILE* file, std::string_view bytes) const;

  std::string output_;
  VectorFormat format_;
  int dim_;
  std::FILE* out_;
  std::FILE* waiting_ = nullptr;
};

}  // namespace m2bert::cli
