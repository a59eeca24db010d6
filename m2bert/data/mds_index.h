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
// What errors about a lost index say.
inline constexpr const char* kRebuildAdvice = "where shards are there, m2bert data index FOLDER makes it anew";

struct MdsFile {
  std::string name;  // a path inside the data set's folder
  uint64_t bytes = 0;
  std::map<std::string, std::string> hashes;  // by algorithm, hexadecimal
};

struct MdsColumn {
  std::string name, encoding;    // may be an unsupported one
  std::optional<uint64_t> size;  // of each value in bytes; absent: it varies and is stored with the value
};

struct MdsShardInfo {
  std::vector<MdsColumn> columns;
  std::string compression;          // "zstd:3"; empty: none
  std::vector<std::string> hashes;  // algorithms, as the writer was configured
  io::Tree size_limit;              // as the writer was configured: bytes, "64mb" or null
  uint64_t samples = 0;
  MdsFile raw;                    // uncompressed
  std::optional<MdsFile> packed;  // the compressed file, if there is one

  // The column's number. Throws, with a list of the columns, if there is none of that name.
  size_t column(std::string_view name) const;
  std::optional<size_t> find_column(std::string_view name) const;
};

struct MdsIndex {
  std::vector<MdsShardInfo> shards;
  uint64_t samples() const;
};

// Throws for malformed JSON, an unsupported version or format, inconsistent columns, impossible sizes, names that lead out of the folder,
// and two shards of one name. Errors name the file, the shard and the field.
MdsIndex parse_mds_index(std::string_view text, const std::string& name);
MdsIndex read_mds_index(const std::filesystem::path& file);

// The text of index.json, byte for byte as the Python package writes it (for ASCII names).
std::string mds_index_text(const MdsIndex& index);
// The description of the columns that each shard file contains.
std::string mds_shard_header(const MdsShardInfo& info);
// Reads one; the files, their checksums and the number of samples are not in it. Errors name `name`.
MdsShardInfo parse_mds_shard_header(std::string_view text, const std::string& name);

}  // namespace m2bert::data
