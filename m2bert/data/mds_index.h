#pragma once
// The index of an MDS data set (index.json of MosaicML Streaming, version 2): its shards, their columns, sizes and checksums.
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "m2bert/io/tree.h"

namespace m2bert::data {

inline constexpr const char* kMdsIndex = "index.json";

struct MdsFile {
  std::string name;  // a path inside the data set's folder
  uint64_t bytes = 0;
  std::map<std::string, std::string> hashes;  // by algorithm, hexadecimal
};

struct MdsColumn {
  std::string name, encoding;    // encodings that are not read here may be named
  std::optional<uint64_t> size;  // of every value; absent: stored with each
};

struct MdsShardInfo {
  std::vector<MdsColumn> columns;
  std::string compression;          // "zstd:3"; empty: none
  std::vector<std::string> hashes;  // algorithms that the writer was asked for
  io::Tree size_limit;              // what the writer was asked for: bytes, "64mb" or null
  uint64_t samples = 0;
  MdsFile raw;                    // unpacked
  std::optional<MdsFile> packed;  // as it is stored, where it is compressed

  // The column's place. Error that lists the columns there are.
  size_t column(std::string_view name) const;
  std::optional<size_t> find_column(std::string_view name) const;
};

struct MdsIndex {
  std::vector<MdsShardInfo> shards;
  uint64_t samples() const;
};

// Errors name the file, the shard and the field: no JSON, another version or format, columns that do not fit together, sizes that no shard
// has, names that lead out of the folder, two shards of one name.
MdsIndex parse_mds_index(std::string_view text, const std::string& name);
MdsIndex read_mds_index(const std::filesystem::path& file);

// The file's text, byte for byte as the Python package writes it (for names in ASCII).
std::string mds_index_text(const MdsIndex& index);
// The description of its columns that a shard carries.
std::string mds_shard_header(const MdsShardInfo& info);

}  // namespace m2bert::data
