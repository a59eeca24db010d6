#pragma once
// Compressed blocks of bytes, in the formats that shards of MosaicML Streaming come in.
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace m2bert::io {

enum class Codec { zstd, gzip, bzip2, brotli, snappy };

// A codec and its level: "zstd", "zstd:19", "gz", "bz2:9", "br:11", "snappy". ending(): how a packed file's name ends.
struct Compression {
  Codec codec = Codec::zstd;
  int level = 3;

  std::string ending() const;  // "zstd", "gz", "bz2", "br", "snappy"
};
// nullopt: no such codec, or a level that it does not have.
std::optional<Compression> parse_compression(std::string_view name);

// zstd 1 to 22 (3), gz 0 to 9 (9), bz2 1 to 9 (9), br 0 to 11 (11); snappy has none. The same bytes every time.
std::string compress(const Compression& compression, std::string_view bytes);

// Hands the content to `take` in pieces. Error, naming `name`: damaged or cut data, bytes behind its end, a content of more or fewer
// bytes than `size`. Never takes more memory than a piece, or than `size` for snappy.
void decompress(Codec codec, std::string_view packed, uint64_t size, const std::string& name,
                const std::function<void(std::string_view)>& take);

}  // namespace m2bert::io
