#include "cli/row_stream.h"

#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "cli/command.h"
#include "cli/temporary_file.h"
#include "m2bert/error.h"
#include "m2bert/io/path.h"

namespace m2bert::cli {

RowStream::RowStream(const std::string& output, bool has_header) : output_(output == "-" ? "stdout" : output), out_(stdout) {
  if (output != "-") out_ = ::fdopen(io::open_stream(output), "wb");
  require(out_ != nullptr, "cannot write ", output_, ": ", std::strerror(errno));
  if (!has_header) return;
  if (::isatty(::fileno(out_)) != 0)
    throw UsageError("vectors of this format are binary and are not written to a terminal: name a file with --output, or pipe them on");
  const TemporaryFile rows = make_temporary_file("m2bert-rows-", "rows of npy and safetensors wait in a temporary file");
  ::unlink(rows.name.c_str());
  buffered_ = ::fdopen(rows.fd, "w+b");
  require(buffered_ != nullptr, "cannot write ", rows.name, ": ", std::strerror(errno));
}

RowStream::~RowStream() {
  if (buffered_ != nullptr) std::fclose(buffered_);
  if (out_ != nullptr && out_ != stdout) std::fclose(out_);
}

void RowStream::put(std::FILE* file, std::string_view bytes) const {
  const bool written = std::fwrite(bytes.data(), 1, bytes.size(), file) == bytes.size() && (file != out_ || std::fflush(file) == 0);
  require(written, "cannot write ", output_, ": ", std::strerror(errno));
}

void RowStream::write(std::string_view rows) { put(buffered_ != nullptr ? buffered_ : out_, rows); }

void RowStream::finish(std::string_view header) {
  put(out_, header);
  if (buffered_ == nullptr) return;
  require(std::fflush(buffered_) == 0 && std::fseek(buffered_, 0, SEEK_SET) == 0,
          "cannot read back the temporary file: ", std::strerror(errno));
  std::array<char, 1 << 16> block;
  while (const size_t size = std::fread(block.data(), 1, block.size(), buffered_)) put(out_, {block.data(), size});
  require(std::ferror(buffered_) == 0, "cannot read back the temporary file");
}

}  // namespace m2bert::cli
