#include "cli/row_stream.h"

#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "cli/command.h"
#include "m2bert/error.h"
#include "m2bert/io/path.h"

namespace m2bert::cli {
namespace {

// A file in the temporary folder (TMPDIR) that vanishes when it is closed.
std::FILE* temporary_file(const std::string& output) {
  std::error_code error;
  const std::filesystem::path folder = std::filesystem::temp_directory_path(error);
  const char* variable = std::getenv("TMPDIR");
  require(!error, "rows for ", output, " wait in a temporary file, but ", variable != nullptr ? variable : "/tmp",
          " is not a folder; set TMPDIR to one. JSON lines need none");
  std::string name = (folder / "m2bert-rows-XXXXXX").string();
  const int fd = ::mkstemp(name.data());
  require(fd >= 0, "cannot make a temporary file for ", output, " in ", folder.string(), ": ", std::strerror(errno),
          "; set TMPDIR to another folder. JSON lines need none");
  ::unlink(name.c_str());
  return ::fdopen(fd, "w+b");
}

}  // namespace

RowStream::RowStream(std::string output, bool has_header) : output_(output == "-" ? "stdout" : std::move(output)), out_(stdout) {
  if (output_ != "stdout") out_ = ::fdopen(io::open_stream(output_), "wb");
  require(out_ != nullptr, "cannot write ", output_, ": ", std::strerror(errno));
  if (!has_header) return;
  if (::isatty(::fileno(out_)) != 0)
    throw UsageError("vectors of this format are binary and are not written to a terminal: name a file with --output, or pipe them on");
  waiting_ = temporary_file(output_);
}

RowStream::~RowStream() {
  if (waiting_ != nullptr) std::fclose(waiting_);
  if (out_ != nullptr && out_ != stdout) std::fclose(out_);
}

void RowStream::put(std::FILE* file, std::string_view bytes) const {
  const bool written = std::fwrite(bytes.data(), 1, bytes.size(), file) == bytes.size() && (file != out_ || std::fflush(file) == 0);
  require(written, "cannot write ", output_, ": ", std::strerror(errno));
}

void RowStream::write(std::string_view rows) { put(waiting_ != nullptr ? waiting_ : out_, rows); }

void RowStream::finish(std::string_view header) {
  put(out_, header);
  if (waiting_ == nullptr) return;
  require(std::fflush(waiting_) == 0 && std::fseek(waiting_, 0, SEEK_SET) == 0,
          "cannot read back the temporary file: ", std::strerror(errno));
  std::array<char, 1 << 16> block;
  while (const size_t size = std::fread(block.data(), 1, block.size(), waiting_)) put(out_, {block.data(), size});
  require(std::ferror(waiting_) == 0, "cannot read back the temporary file");
}

}  // namespace m2bert::cli
