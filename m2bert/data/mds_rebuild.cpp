#include "m2bert/data/mds_rebuild.h"

#include <charconv>
#include <cstring>
#include <map>

#include "m2bert/data/mds_shard.h"
#include "m2bert/error.h"
#include "m2bert/io/checksum.h"
#include "m2bert/io/codec.h"
#include "m2bert/io/file.h"
#include "m2bert/io/interrupt.h"

namespace m2bert::data {
namespace {

namespace fs = std::filesystem;

// The files of a shard: raw, compressed, or both.
struct ShardFiles {
  fs::path raw, packed;
  std::string ending;  // of the compressed file
};

constexpr std::string_view kPrefix = "shard.", kMds = ".mds";

// The number in shard.00012.mds.zstd, and what follows .mds; nullopt for other names.
std::optional<std::pair<size_t, std::string>> parse_name(const std::string& name) {
  if (!name.starts_with(kPrefix)) return std::nullopt;
  size_t number = 0;
  const char *begin = name.data() + kPrefix.size(), *end = name.data() + name.size();
  const auto [rest, error] = std::from_chars(begin, end, number);
  const std::string_view after(rest, static_cast<size_t>(end - rest));
  if (error != std::errc() || !after.starts_with(kMds)) return std::nullopt;
  const std::string_view ending = after.substr(kMds.size());
  if (ending.empty()) return std::pair(number, std::string());
  if (!ending.starts_with('.') || !io::parse_compression(ending.substr(1)) || ending.find(':') != std::string_view::npos)
    return std::nullopt;
  return std::pair(number, std::string(ending.substr(1)));
}

std::map<size_t, ShardFiles> find_shards(const fs::path& folder) {
  std::error_code failed;
  std::map<size_t, ShardFiles> shards;
  for (const auto& entry : fs::directory_iterator(folder, failed)) {
    const auto parsed = parse_name(entry.path().filename().string());
    if (!parsed || !entry.is_regular_file()) continue;
    ShardFiles& files = shards[parsed->first];
    if (parsed->second.empty()) {
      files.raw = entry.path();
      continue;
    }
    require(files.packed.empty(), folder.string(), ": ", files.packed.filename().string(), " and ", entry.path().filename().string(),
            " are the same shard; remove one of them");
    files.packed = entry.path();
    files.ending = parsed->second;
  }
  require(!failed, folder.string(), ": cannot be read: ", failed.message());
  require(!shards.empty(), folder.string(), ": has no shards (shard.00000.mds, or with .zstd, .gz, .bz2, .br or .snappy after it)");
  size_t expected = 0;
  for (const auto& [number, files] : shards) {
    require(number == expected, folder.string(), ": shard ", expected, " is missing, but there is ",
            (files.raw.empty() ? files.packed : files.raw).filename().string());
    ++expected;
  }
  return shards;
}

uint32_t number_at(std::string_view content, size_t offset, const std::string& name) {
  require(content.size() >= offset + 4, name, ": is too short for a shard");
  uint32_t value;
  std::memcpy(&value, content.data() + offset, sizeof value);
  return value;
}

// The description in front of the samples.
std::string_view header_of(std::string_view content, const std::string& name) {
  const uint64_t samples = number_at(content, 0, name), begin = 4 + 4 * (samples + 1);
  const uint64_t end = number_at(content, 4, name);
  require(begin <= end && end <= content.size(), name, ": is damaged: its ", samples, " samples begin at byte ", end, " of ",
          content.size());
  return content.substr(begin, end - begin);
}

std::string_view view_of(const io::MappedFile& file) { return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()}; }

MdsFile describe(const fs::path& name, std::string_view content, const std::vector<std::string>& hashes) {
  MdsFile file{.name = name.filename().string(), .bytes = content.size()};
  for (const std::string& hash : hashes) {
    if (const auto sum = io::checksum(hash, content)) file.hashes[hash] = *sum;
  }
  return file;
}

MdsShardInfo read_shard(const ShardFiles& files) {
  std::string unpacked;
  std::optional<io::MappedFile> packed, raw;
  if (!files.packed.empty()) {
    packed.emplace(files.packed);
    const io::Codec codec = io::parse_compression(files.ending)->codec;
    unpacked = io::decompress_at_most(codec, view_of(*packed), UINT32_MAX, files.packed.string());
  }
  if (!files.raw.empty()) raw.emplace(files.raw);
  const std::string_view content = raw ? view_of(*raw) : std::string_view(unpacked);
  const std::string name = (raw ? files.raw : files.packed).string();
  require(!raw || !packed || content == unpacked, name, ": differs from the content of ", files.packed.filename().string());

  MdsShardInfo info = parse_mds_shard_header(header_of(content, name), name + ", its header");
  info.samples = number_at(content, 0, name);
  const fs::path raw_name = raw ? files.raw : files.packed.parent_path() / files.packed.stem();
  info.raw = describe(raw_name, content, info.hashes);
  if (packed) info.packed = describe(files.packed, view_of(*packed), info.hashes);
  else info.compression.clear();  // the shard was unpacked, and the compressed file is gone
  const MdsShard checked(info, std::string(content), name);
  return info;
}

}  // namespace

MdsIndex rebuild_mds_index(const fs::path& folder, const std::function<void(size_t, size_t)>& progress) {
  const auto shards = find_shards(folder);
  MdsIndex index;
  for (const auto& [number, files] : shards) {
    io::throw_if_interrupted();
    index.shards.push_back(read_shard(files));
    if (progress) progress(index.shards.size(), shards.size());
  }
  return index;
}

}  // namespace m2bert::data
