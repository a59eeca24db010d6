#pragma once
// Bytes read from front to back: a file, standard input, or what is compressed in one (gzip and zstd, told by content).
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>

namespace m2bert::io {

class ByteStream {
 public:
  virtual ~ByteStream() = default;
  // Fills the front of out; 0 only at the end. Errors name the input; a signal (io/interrupt.h) ends a waiting read with an Error.
  virtual size_t read(std::span<char> out) = 0;
  // Goes to a byte of the uncompressed content; false where that is not possible. Error beyond the end.
  virtual bool seek(uint64_t offset) = 0;
  // Share of the input read, 0 to 1; nothing where its size is unknown.
  virtual std::optional<double> fraction() const = 0;
};

// "-": standard input.
std::unique_ptr<ByteStream> open_byte_stream(const std::filesystem::path& path);

}  // namespace m2bert::io
