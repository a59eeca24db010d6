#include "cli/vector_stream.h"

#include <array>
#include <cerrno>
#include <cstring>

#include "m2bert/error.h"

namespace m2bert::cli {

VectorStream::VectorStream(std::string output, VectorFormat format, int dim)
    : output_(output == "-" ? "stdout" : std::move(output)), format_(format), dim_(dim), out_(stdout) {
  if (output_ != "stdout") out_ = std::fopen(output_.c_str(), "wb");
  require(out_ != nullptr, "cannot write ", output_, ": ", std::strerror(errno));
  if (format_ == VectorFormat::jsonl) return;
  waiting_ = std::tmpfile();
  require(waiting_ != nullptr, "cannot make a temporary file for ", output_, ": ", std::strerror(errno), ". JSON lines need none");
}

VectorStream::~VectorStream() {
  if (waiting_ != nullptr) std::fclose(waiting_);
  if (out_ != nullptr && out_ != stdout) std::fclose(out_);
}

void VectorStream::put(std::FILE* file, std::string_view bytes) const {
  const bool written = std::fwrite(bytes.data(), 1, bytes.size(), file) == bytes.size() && (file != out_ || std::fflush(file) == 0);
  require(written, "cannot write ", output_, ": ", std::strerror(errno));
}

void VectorStream::write(std::string_view rows) { put(waiting_ != nullptr ? waiting_ : out_, rows); }

void VectorStream::finish(uint64_t rows) {
  put(out_, vector_header(format_, rows, dim_));
  if (waiting_ == nullptr) return;
  require(std::fflush(waiting_) == 0 && std::fseek(waiting_, 0, SEEK_SET) == 0,
          "cannot read back the temporary file: ", std::strerror(errno));
  std::array<char, 1 << 16> block;
  while (const size_t size = std::fread(block.data(), 1, block.size(), waiting_)) put(out_, {block.data(), size});
  require(std::ferror(waiting_) == 0, "cannot read back the temporary file");
}

}  // namespace m2bert::cli
