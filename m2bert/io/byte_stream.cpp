#include "m2bert/io/byte_stream.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "m2bert/error.h"
#include "m2bert/io/interrupt.h"
#include "m2bert/io/path.h"

namespace m2bert::io {
namespace {

constexpr size_t kPiece = size_t{1} << 18;
constexpr size_t kMagic = 4;  // bytes that identify a compression

class FileStream : public ByteStream {
 public:
  explicit FileStream(const std::filesystem::path& path) {
    if (path == "-") {
      name_ = "standard input";
      fd_ = STDIN_FILENO;
    } else {
      name_ = path.string();
      fd_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
      require(fd_ >= 0, name_, ": ", errno == ENOENT ? "no such file" : reason_of(std::error_code(errno, std::generic_category())));
    }
    struct stat info{};
    const bool known = ::fstat(fd_, &info) == 0;
    if (known && S_ISDIR(info.st_mode)) {
      close();
      fail(name_, ": is a folder, wants a file");
    }
    if (known && S_ISREG(info.st_mode)) size_ = static_cast<uint64_t>(info.st_size);
    peek();
  }
  ~FileStream() override { close(); }
  FileStream(const FileStream&) = delete;
  FileStream& operator=(const FileStream&) = delete;

  size_t read(std::span<char> out) override {
    if (out.empty()) return 0;
    if (!peeked_.empty()) {
      const size_t n = std::min(out.size(), peeked_.size());
      std::copy_n(peeked_.begin(), n, out.begin());
      peeked_.erase(0, n);
      at_ += n;
      return n;
    }
    const size_t n = read_some(out);
    at_ += n;
    return n;
  }
  bool seek(uint64_t offset) override {
    if (!size_ || fd_ == STDIN_FILENO) return false;
    require(offset <= *size_, name_, ": has ", *size_, " bytes, cannot resume at byte ", offset);
    if (::lseek(fd_, static_cast<off_t>(offset), SEEK_SET) < 0) return false;
    peeked_.clear();
    at_ = offset;
    return true;
  }
  std::optional<double> fraction() const override {
    if (!size_ || *size_ == 0) return std::nullopt;
    return std::min(1.0, static_cast<double>(at_) / static_cast<double>(*size_));
  }
  const std::string& name() const { return name_; }
  const std::string& magic() const { return peeked_; }

 private:
  void close() {
    if (fd_ > STDIN_FILENO) ::close(fd_);
    fd_ = -1;
  }
  size_t read_some(std::span<char> out) {
    for (;;) {
      const ssize_t n = ::read(fd_, out.data(), out.size());
      if (n >= 0) return static_cast<size_t>(n);
      if (errno == EINTR) throw_if_interrupted();
      else fail(name_, ": cannot read: ", std::strerror(errno));
    }
  }
  void peek() {
    char head[kMagic];
    while (peeked_.size() < kMagic) {
      const size_t n = read_some(std::span(head).first(kMagic - peeked_.size()));
      if (n == 0) break;
      peeked_.append(head, n);
    }
  }

  std::string name_, peeked_;
  int fd_ = -1;
  std::optional<uint64_t> size_;
  uint64_t at_ = 0;
};

class GzipStream : public ByteStream {
 public:
  explicit GzipStream(std::unique_ptr<FileStream> in) : in_(std::move(in)), piece_(kPiece) {
    require(inflateInit2(&stream_, 16 + MAX_WBITS) == Z_OK, "out of memory for gzip");
  }
  ~GzipStream() override { inflateEnd(&stream_); }
  GzipStream(const GzipStream&) = delete;
  GzipStream& operator=(const GzipStream&) = delete;

  size_t read(std::span<char> out) override {
    if (out.empty()) return 0;
    const size_t wanted = std::min<size_t>(out.size(), size_t{1} << 30);
    stream_.next_out = reinterpret_cast<Bytef*>(out.data());
    stream_.avail_out = static_cast<uInt>(wanted);
    while (stream_.avail_out == wanted) {
      if (stream_.avail_in == 0) {
        const size_t n = in_->read(piece_);
        if (n == 0) {
          require(member_ended_, in_->name(), ": its gzip data is truncated");
          return 0;
        }
        stream_.next_in = reinterpret_cast<Bytef*>(piece_.data());
        stream_.avail_in = static_cast<uInt>(n);
      }
      if (member_ended_) {  // gzip members may be concatenated
        require(inflateReset(&stream_) == Z_OK, in_->name(), ": its gzip data is damaged");
        member_ended_ = false;
      }
      const int state = ::inflate(&stream_, Z_NO_FLUSH);
      require(state == Z_OK || state == Z_STREAM_END || (state == Z_BUF_ERROR && stream_.avail_in == 0), in_->name(),
              ": its gzip data is damaged", stream_.msg ? std::string(": ") + stream_.msg : "");
      member_ended_ = state == Z_STREAM_END;
    }
    return wanted - stream_.avail_out;
  }
  bool seek(uint64_t) override { return false; }
  std::optional<double> fraction() const override { return in_->fraction(); }

 private:
  std::unique_ptr<FileStream> in_;
  std::vector<char> piece_;
  z_stream stream_{};
  bool member_ended_ = false;
};

class ZstdStream : public ByteStream {
 public:
  explicit ZstdStream(std::unique_ptr<FileStream> in) : in_(std::move(in)), piece_(kPiece), stream_(ZSTD_createDStream()) {
    require(stream_ != nullptr, "out of memory for zstd");
  }
  ~ZstdStream() override { ZSTD_freeDStream(stream_); }
  ZstdStream(const ZstdStream&) = delete;
  ZstdStream& operator=(const ZstdStream&) = delete;

  size_t read(std::span<char> out) override {
    if (out.empty()) return 0;
    ZSTD_outBuffer to{out.data(), out.size(), 0};
    while (to.pos == 0) {
      if (from_.pos == from_.size && !flushing_) {
        const size_t n = in_->read(piece_);
        if (n == 0) {
          require(frame_ended_, in_->name(), ": its zstd data is truncated");
          return 0;
        }
        from_ = {piece_.data(), n, 0};
      }
      const size_t state = ZSTD_decompressStream(stream_, &to, &from_);
      require(!ZSTD_isError(state), in_->name(), ": its zstd data is damaged: ", ZSTD_getErrorName(state));
      frame_ended_ = state == 0;
      flushing_ = !frame_ended_ && to.pos == to.size;  // more output may be pending
    }
    return to.pos;
  }
  bool seek(uint64_t) override { return false; }
  std::optional<double> fraction() const override { return in_->fraction(); }

 private:
  std::unique_ptr<FileStream> in_;
  std::vector<char> piece_;
  ZSTD_DStream* stream_;
  ZSTD_inBuffer from_{nullptr, 0, 0};
  bool frame_ended_ = false, flushing_ = false;
};

}  // namespace

std::unique_ptr<ByteStream> open_byte_stream(const std::filesystem::path& path) {
  auto file = std::make_unique<FileStream>(path);
  const std::string& magic = file->magic();
  if (magic.rfind("\x1F\x8B\x08", 0) == 0) return std::make_unique<GzipStream>(std::move(file));
  if (magic == "\x28\xB5\x2F\xFD") return std::make_unique<ZstdStream>(std::move(file));
  return file;
}

}  // namespace m2bert::io
