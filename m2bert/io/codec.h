#pragma once
// Compressed blocks of bytes, in the formats of MosaicML Streaming's shards.
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace m2bert::io {

enum class Codec { zstd, gzip, bzip2, brotli, snappy };

// A codec and its level: "zstd", "zstd:19", "gz", "bz2:9", "br:11", "snappy". ending(): the extension of a compressed file.
struct Compression {
  Codec codec = Codec::zstd;
  int level = 3;

  std::string ending() const;  // "zstd", "gz", "bz2", "br", "snappy"
};
// nullopt for an unknown codec, or a level that it does not have.
std::optional<Compression> parse_compression(std::string_view name);

// zstd 1 to 22 (3), gz 0 to 9 (9), bz2 1 to 9 (9), br 0 to 11 (11); snappy has none. Deterministic.
std::string compress(const Compression& compression, std::string_view bytes);

// Passes the content to `take` in pieces. Throws an Error that names `name` for damaged or truncated data, trailing bytes, and content that
// is not `size` bytes long. Needs memory for one piece only, or for `size` bytes with snappy.
void decompress(Codec codec, std::string_view packed, uint64_t size, const std::string& name,
                const std::function<void(std::string_view)>& take);

// Content of unknown size, but of at most `most` bytes; throws as above.
std::string decompress_at_most(Codec codec, std::string_view packed, uint64_t most, const std::string& name);

}  // namespace m2bert::io
