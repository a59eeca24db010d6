#pragma once
// Sequential reading of a file or of standard input, decompressed if it is gzip or zstd (detected by content).
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
  // Reads into the front of out and returns the number of bytes; 0 only at the end. Errors name the input. A signal (io/interrupt.h) ends
  // a blocked read with an Error.
  virtual size_t read(std::span<char> out) = 0;
  // Moves to a byte of the uncompressed content. Returns false if the stream cannot seek; throws beyond the end.
  virtual bool seek(uint64_t offset) = 0;
  // Fraction of the input that was read, 0 to 1; nullopt if its size is unknown.
  virtual std::optional<double> fraction() const = 0;
};

// "-": standard input.
std::unique_ptr<ByteStream> open_byte_stream(const std::filesystem::path& path);

}  // namespace m2bert::io
