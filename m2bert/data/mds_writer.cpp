#include "m2bert/data/mds_writer.h"

#include <algorithm>
#include <cstdio>

#include "m2bert/error.h"
#include "m2bert/io/checksum.h"
#include "m2bert/io/codec.h"
#include "m2bert/io/file.h"

namespace m2bert::data {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxShardBytes = UINT32_MAX;

std::string listed(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

void append_number(std::string& out, uint64_t value) {
  const auto stored = static_cast<uint32_t>(value);
  out.append(reinterpret_cast<const char*>(&stored), sizeof stored);
}

MdsFile file_info(const std::string& name, std::string_view content, const std::vector<std::string>& hashes) {
  MdsFile file{name, content.size(), {}};
  for (const std::string& hash : hashes) file.hashes[hash] = *io::checksum(hash, content);
  return file;
}

}  // namespace

MdsFormat mds_format(MdsFormat format) {
  require(!format.columns.empty(), "an MDS data set needs at least one column");
  std::sort(format.columns.begin(), format.columns.end(), [](const MdsColumn& a, const MdsColumn& b) { return a.name < b.name; });
  for (size_t i = 0; i < format.columns.size(); ++i) {
    MdsColumn& column = format.columns[i];
    require(!column.name.empty(), "a column of an MDS data set has no name");
    require(i == 0 || format.columns[i - 1].name != column.name, "there are two columns ", column.name);
    column.size = parse_mds_encoding(column.encoding, "column " + column.name).size();
  }
  require(format.compression.empty() || io::parse_compression(format.compression), "unknown compression \"", format.compression,
          "\"; there are zstd, zstd:1 to zstd:22, gz, gz:0 to gz:9, bz2, bz2:1 to bz2:9, br, br:0 to br:11 and snappy");
  std::sort(format.hashes.begin(), format.hashes.end());
  format.hashes.erase(std::unique(format.hashes.begin(), format.hashes.end()), format.hashes.end());
  for (const std::string& hash : format.hashes)
    require(io::is_checksum(hash), "unknown hash \"", hash, "\"; there are ", listed(io::checksum_names()));
  require(!format.size_limit || (*format.size_limit > 0 && *format.size_limit <= kMaxShardBytes), "size limit of ",
          format.size_limit.value_or(0), " bytes: wants 1 to ", kMaxShardBytes, ", because offsets in a shard have 32 bits");
  return format;
}

std::string encode_mds_sample(const MdsFormat& format, const std::vector<MdsValue>& values, const std::string& where) {
  require(values.size() == format.columns.size(), where, ": has ", values.size(), " values for ", format.columns.size(), " columns");
  std::string sizes, out;
  for (size_t i = 0; i < values.size(); ++i) {
    const MdsColumn& column = format.columns[i];
    const std::string place = where + ", column " + column.name;
    const std::string bytes = encode_mds(parse_mds_encoding(column.encoding, place), values[i], place);
    require(bytes.size() <= kMaxShardBytes, place, ": has ", bytes.size(), " bytes, more than a shard can hold");
    if (!column.size) append_number(sizes, bytes.size());
    out += bytes;
  }
  return sizes + out;
}

MdsShardContent::MdsShardContent(const MdsFormat& format) : limit_(format.size_limit) {
  MdsShardInfo info{.columns = format.columns, .compression = format.compression, .hashes = format.hashes};
  if (format.size_limit) info.size_limit = *format.size_limit;
  header_ = mds_shard_header(info);
}

bool MdsShardContent::fits(uint64_t bytes) const {
  const uint64_t whole = 8 + header_.size() + samples_.size() + 4 * ends_.size() + bytes + 4;
  return ends_.empty() || whole <= limit_.value_or(kMaxShardBytes);
}

void MdsShardContent::add(std::string_view sample) {
  const uint64_t whole = 8 + header_.size() + samples_.size() + 4 * ends_.size() + sample.size() + 4;
  require(whole <= kMaxShardBytes, "a sample of ", sample.size(), " bytes makes a shard of ", whole, " bytes; a shard has less than 4 GiB");
  samples_ += sample;
  ends_.push_back(samples_.size());
}

std::string MdsShardContent::take() {
  const uint64_t front = 4 + 4 * (ends_.size() + 1) + header_.size();
  std::string out;
  out.reserve(front + samples_.size());
  append_number(out, ends_.size());
  append_number(out, front);
  for (const uint64_t end : ends_) append_number(out, front + end);
  out += header_;
  out += samples_;
  samples_.clear();
  ends_.clear();
  return out;
}

MdsShardInfo write_mds_shard(const fs::path& folder, size_t number, const MdsFormat& format, std::string_view content, uint64_t samples) {
  char name[48];
  std::snprintf(name, sizeof name, "shard.%05zu.mds", number);
  MdsShardInfo info{.columns = format.columns, .compression = format.compression, .hashes = format.hashes, .samples = samples};
  if (format.size_limit) info.size_limit = *format.size_limit;
  info.raw = file_info(name, content, format.hashes);
  if (format.compression.empty()) {
    io::write_file(folder / name, content);
    return info;
  }
  const io::Compression compression = *io::parse_compression(format.compression);
  const std::string packed = io::compress(compression, content);
  info.packed = file_info(std::string(name) + "." + compression.ending(), packed, format.hashes);
  io::write_file(folder / info.packed->name, packed);
  return info;
}

void write_mds_index(const fs::path& folder, const MdsIndex& index) { io::write_file(folder / kMdsIndex, mds_index_text(index)); }

MdsWriter::MdsWriter(fs::path folder, const MdsFormat& format)
    : folder_(std::move(folder)), format_(mds_format(format)), content_(format_) {
  std::error_code failed;
  fs::create_directories(folder_, failed);
  require(!failed, folder_.string(), ": cannot make this folder: ", failed.message());
  require(!fs::exists(folder_ / kMdsIndex), (folder_ / kMdsIndex).string(), ": is there already; name another folder, or remove it");
}

void MdsWriter::write(const std::vector<MdsValue>& values) {
  const std::string sample = encode_mds_sample(format_, values, "sample " + std::to_string(written_));
  if (!content_.fits(sample.size())) flush();
  content_.add(sample);
  ++written_;
}

void MdsWriter::flush() {
  const uint64_t samples = content_.samples();
  index_.shards.push_back(write_mds_shard(folder_, index_.shards.size(), format_, content_.take(), samples));
}

MdsIndex MdsWriter::finish() {
  if (content_.samples() > 0) flush();
  write_mds_index(folder_, index_);
  return index_;
}

}  // namespace m2bert::data
