#include "m2bert/io/codec.h"

#include <brotli/decode.h>
#include <brotli/encode.h>
#include <bzlib.h>
#include <snappy-c.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <memory>
#include <vector>

#include "m2bert/error.h"

namespace m2bert::io {
namespace {

constexpr size_t kPiece = size_t{1} << 20;
constexpr uint64_t kSnappyRatio = 32;  // a copy of at most 64 bytes takes at least 2

struct Kind {
  Codec codec;
  std::string_view name;
  int lowest, highest, level;  // level: the default
};
constexpr std::array<Kind, 5> kinds = {{
    {Codec::zstd, "zstd", 1, 22, 3},
    {Codec::gzip, "gz", 0, 9, 9},
    {Codec::bzip2, "bz2", 1, 9, 9},
    {Codec::brotli, "br", 0, 11, 11},
    {Codec::snappy, "snappy", 0, 0, 0},
}};

const Kind& kind_of(Codec codec) {
  return *std::find_if(kinds.begin(), kinds.end(), [&](const Kind& kind) { return kind.codec == codec; });
}

// Counts the output, and fails at the first excess byte. exact: whether less than `size` bytes are an error too.
class Output {
 public:
  Output(uint64_t size, bool exact, const std::string& name, const std::function<void(std::string_view)>& take)
      : size_(size), exact_(exact), name_(name), take_(take) {}

  void add(const char* data, size_t size) {
    require(size <= size_ - done_, name_, ": unpacks to more than the ", size_,
            exact_ ? " bytes that its index says" : " bytes that it may have");
    done_ += size;
    if (size > 0) take_({data, size});
  }
  // Bytes to unpack at once: small contents, as pages of Parquet files, need no large buffer.
  size_t piece() const { return static_cast<size_t>(std::min<uint64_t>(size_, kPiece - 1)) + 1; }
  void finish() const { check_size(done_); }
  void check_size(uint64_t size) const {
    require(exact_ ? size == size_ : size <= size_, name_, ": unpacks to ", size, " bytes, ", exact_ ? "its index says " : "it may have ",
            size_);
  }
  [[noreturn]] void damaged(const std::string& why = "") const {
    fail(name_, ": its compressed data is damaged", why.empty() ? "" : ": ", why);
  }
  [[noreturn]] void cut() const { fail(name_, ": its compressed data is truncated"); }

 private:
  uint64_t size_, done_ = 0;
  bool exact_;
  const std::string& name_;
  const std::function<void(std::string_view)>& take_;
};

std::string pack_zstd(int level, std::string_view bytes) {
  std::string out(ZSTD_compressBound(bytes.size()), '\0');
  const size_t size = ZSTD_compress(out.data(), out.size(), bytes.data(), bytes.size(), level);
  require(!ZSTD_isError(size), "zstd: ", ZSTD_getErrorName(size));
  out.resize(size);
  return out;
}

void unpack_zstd(std::string_view packed, Output& out) {
  const std::unique_ptr<ZSTD_DStream, decltype(&ZSTD_freeDStream)> stream(ZSTD_createDStream(), ZSTD_freeDStream);
  require(stream != nullptr, "out of memory for zstd");
  std::vector<char> piece(out.piece());
  ZSTD_inBuffer from{packed.data(), packed.size(), 0};
  size_t state = 1;
  for (bool full = false; from.pos < from.size || full;) {
    ZSTD_outBuffer to{piece.data(), piece.size(), 0};
    state = ZSTD_decompressStream(stream.get(), &to, &from);
    if (ZSTD_isError(state)) out.damaged(ZSTD_getErrorName(state));
    out.add(piece.data(), to.pos);
    full = state != 0 && to.pos == to.size;  // more output may be pending
  }
  if (state != 0) out.cut();
}

std::string pack_gzip(int level, std::string_view bytes) {
  z_stream stream{};
  require(deflateInit2(&stream, level, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY) == Z_OK, "out of memory for gzip");
  const std::unique_ptr<z_stream, decltype(&deflateEnd)> owner(&stream, deflateEnd);
  require(bytes.size() <= UINT32_MAX, "gzip: packs blocks of less than 4 GiB, got ", bytes.size(), " bytes");
  std::string out(deflateBound(&stream, bytes.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(std::min<size_t>(out.size(), UINT32_MAX));
  require(deflate(&stream, Z_FINISH) == Z_STREAM_END, "gzip: cannot pack ", bytes.size(), " bytes");
  out.resize(stream.total_out);
  return out;
}

// Members may be concatenated.
void unpack_gzip(std::string_view packed, Output& out) {
  z_stream stream{};
  require(inflateInit2(&stream, 16 + MAX_WBITS) == Z_OK, "out of memory for gzip");
  const std::unique_ptr<z_stream, decltype(&inflateEnd)> owner(&stream, inflateEnd);
  std::vector<char> piece(out.piece());
  int state = Z_OK;
  bool full = false;  // more output may be pending
  do {
    if (stream.avail_in == 0) {
      const size_t n = std::min<size_t>(packed.size(), size_t{1} << 30);
      if (n == 0 && !full) out.cut();
      stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(packed.data()));
      stream.avail_in = static_cast<uInt>(n);
      packed.remove_prefix(n);
    }
    if (state == Z_STREAM_END && inflateReset(&stream) != Z_OK) out.damaged();
    stream.next_out = reinterpret_cast<Bytef*>(piece.data());
    stream.avail_out = static_cast<uInt>(piece.size());
    state = inflate(&stream, Z_NO_FLUSH);
    if (state != Z_OK && state != Z_STREAM_END && !(state == Z_BUF_ERROR && stream.avail_in == 0))
      out.damaged(stream.msg ? stream.msg : "");
    full = stream.avail_out == 0;
    out.add(piece.data(), piece.size() - stream.avail_out);
  } while (state != Z_STREAM_END || stream.avail_in > 0 || !packed.empty());
}

std::string pack_bzip2(int level, std::string_view bytes) {
  require(bytes.size() <= UINT32_MAX - UINT32_MAX / 64, "bzip2: packs blocks of less than 4 GiB, got ", bytes.size(), " bytes");
  std::string out(bytes.size() + bytes.size() / 100 + 600, '\0');
  auto size = static_cast<unsigned>(out.size());
  const int state =
      BZ2_bzBuffToBuffCompress(out.data(), &size, const_cast<char*>(bytes.data()), static_cast<unsigned>(bytes.size()), level, 0, 0);
  require(state == BZ_OK, "bzip2: cannot pack ", bytes.size(), " bytes (", state, ")");
  out.resize(size);
  return out;
}

void unpack_bzip2(std::string_view packed, Output& out) {
  std::vector<char> piece(out.piece());
  do {  // streams may be concatenated
    bz_stream stream{};
    require(BZ2_bzDecompressInit(&stream, 0, 0) == BZ_OK, "out of memory for bzip2");
    const std::unique_ptr<bz_stream, decltype(&BZ2_bzDecompressEnd)> owner(&stream, BZ2_bzDecompressEnd);
    for (int state = BZ_OK; state != BZ_STREAM_END;) {
      const size_t n = std::min<size_t>(packed.size(), size_t{1} << 30);
      stream.next_in = const_cast<char*>(packed.data());
      stream.avail_in = static_cast<unsigned>(n);
      stream.next_out = piece.data();
      stream.avail_out = static_cast<unsigned>(piece.size());
      state = BZ2_bzDecompress(&stream);
      if (state != BZ_OK && state != BZ_STREAM_END) out.damaged();
      out.add(piece.data(), piece.size() - stream.avail_out);
      const bool stuck = n == 0 && stream.avail_out > 0 && state == BZ_OK;
      if (stuck) out.cut();
      packed.remove_prefix(n - stream.avail_in);
    }
  } while (!packed.empty());
}

std::string pack_brotli(int level, std::string_view bytes) {
  size_t size = BrotliEncoderMaxCompressedSize(bytes.size());
  std::string out(std::max<size_t>(size, 64), '\0');
  size = out.size();
  const auto* from = reinterpret_cast<const uint8_t*>(bytes.data());
  const bool done = BrotliEncoderCompress(level, BROTLI_DEFAULT_WINDOW, BROTLI_DEFAULT_MODE, bytes.size(), from, &size,
                                          reinterpret_cast<uint8_t*>(out.data())) == BROTLI_TRUE;
  require(done, "brotli: cannot pack ", bytes.size(), " bytes");
  out.resize(size);
  return out;
}

void unpack_brotli(std::string_view packed, Output& out) {
  const std::unique_ptr<BrotliDecoderState, decltype(&BrotliDecoderDestroyInstance)> state(
      BrotliDecoderCreateInstance(nullptr, nullptr, nullptr), BrotliDecoderDestroyInstance);
  require(state != nullptr, "out of memory for brotli");
  std::vector<char> piece(out.piece());
  const auto* from = reinterpret_cast<const uint8_t*>(packed.data());
  size_t left = packed.size();
  for (BrotliDecoderResult result = BROTLI_DECODER_RESULT_NEEDS_MORE_OUTPUT; result != BROTLI_DECODER_RESULT_SUCCESS;) {
    auto* to = reinterpret_cast<uint8_t*>(piece.data());
    size_t room = piece.size();
    result = BrotliDecoderDecompressStream(state.get(), &left, &from, &room, &to, nullptr);
    if (result == BROTLI_DECODER_RESULT_ERROR) out.damaged(BrotliDecoderErrorString(BrotliDecoderGetErrorCode(state.get())));
    out.add(piece.data(), piece.size() - room);
    if (result == BROTLI_DECODER_RESULT_NEEDS_MORE_INPUT) out.cut();
  }
  if (left > 0) out.damaged("bytes after its end");
}

std::string pack_snappy(std::string_view bytes) {
  require(bytes.size() <= UINT32_MAX, "snappy: packs blocks of less than 4 GiB, got ", bytes.size(), " bytes");
  size_t size = snappy_max_compressed_length(bytes.size());
  std::string out(size, '\0');
  require(snappy_compress(bytes.data(), bytes.size(), out.data(), &size) == SNAPPY_OK, "snappy: cannot pack ", bytes.size(), " bytes");
  out.resize(size);
  return out;
}

void unpack_snappy(std::string_view packed, Output& out) {
  size_t size = 0;
  if (snappy_uncompressed_length(packed.data(), packed.size(), &size) != SNAPPY_OK) out.damaged();
  out.check_size(size);
  if (size / kSnappyRatio > packed.size()) out.damaged();
  std::string content(size, '\0');
  if (snappy_uncompress(packed.data(), packed.size(), content.data(), &size) != SNAPPY_OK) out.damaged();
  out.add(content.data(), size);
}

}  // namespace

std::string Compression::ending() const { return std::string(kind_of(codec).name); }

std::optional<Compression> parse_compression(std::string_view name) {
  const size_t colon = name.find(':');
  for (const Kind& kind : kinds) {
    if (kind.name != name.substr(0, colon)) continue;
    if (colon == std::string_view::npos) return Compression{kind.codec, kind.level};
    int level = 0;
    const char *begin = name.data() + colon + 1, *end = name.data() + name.size();
    const auto [stop, problem] = std::from_chars(begin, end, level);
    const bool good = problem == std::errc() && stop == end && kind.lowest < kind.highest && level >= kind.lowest && level <= kind.highest;
    return good ? std::optional(Compression{kind.codec, level}) : std::nullopt;
  }
  return std::nullopt;
}

std::string compress(const Compression& compression, std::string_view bytes) {
  switch (compression.codec) {
    case Codec::zstd: return pack_zstd(compression.level, bytes);
    case Codec::gzip: return pack_gzip(compression.level, bytes);
    case Codec::bzip2: return pack_bzip2(compression.level, bytes);
    case Codec::brotli: return pack_brotli(compression.level, bytes);
    case Codec::snappy: return pack_snappy(bytes);
  }
  fail("unknown codec");
}

namespace {
void decompress(Codec codec, std::string_view packed, Output& out) {
  switch (codec) {
    case Codec::zstd: unpack_zstd(packed, out); break;
    case Codec::gzip: unpack_gzip(packed, out); break;
    case Codec::bzip2: unpack_bzip2(packed, out); break;
    case Codec::brotli: unpack_brotli(packed, out); break;
    case Codec::snappy: unpack_snappy(packed, out); break;
  }
  out.finish();
}
}  // namespace

void decompress(Codec codec, std::string_view packed, uint64_t size, const std::string& name,
                const std::function<void(std::string_view)>& take) {
  Output out(size, true, name, take);
  decompress(codec, packed, out);
}

std::string decompress_at_most(Codec codec, std::string_view packed, uint64_t most, const std::string& name) {
  std::string content;
  const std::function<void(std::string_view)> take = [&](std::string_view piece) { content += piece; };
  Output out(most, false, name, take);
  decompress(codec, packed, out);
  return content;
}

}  // namespace m2bert::io
