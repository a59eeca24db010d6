#include "m2bert/data/mds_check.h"

#include <algorithm>

#include "m2bert/error.h"
#include "m2bert/io/interrupt.h"

namespace m2bert::data {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxProblems = 100;

void add_problem(MdsReport& report, const std::string& what) {
  if (report.problems.size() < kMaxProblems) report.problems.push_back(what);
  ++report.problem_count;
}

void note(std::vector<std::string>& list, const std::string& word) {
  if (std::find(list.begin(), list.end(), word) == list.end()) list.push_back(word);
}

// Whether the file exists. Notes a problem if its size differs from the index.
bool is_here(const MdsStream& stream, const MdsFile& file, MdsReport& report) {
  const fs::path path = stream.folder() / file.name;
  std::error_code none;
  if (!fs::is_regular_file(path, none)) return false;
  const uint64_t bytes = fs::file_size(path, none);
  if (bytes != file.bytes)
    add_problem(report, path.string() + ": has " + std::to_string(bytes) + " bytes, its index says " + std::to_string(file.bytes));
  return true;
}

void describe(const MdsStream& stream, const MdsShardInfo& shard, MdsReport& report) {
  ++report.shards;
  report.samples += shard.samples;
  report.bytes += shard.raw.bytes;
  for (const MdsColumn& column : shard.columns) report.columns.emplace(column.name, column.encoding);
  if (!shard.compression.empty()) note(report.compressions, shard.compression);
  for (const auto& [name, value] : shard.raw.hashes) note(report.hashes, name);
  const bool raw = is_here(stream, shard.raw, report);
  const bool packed = shard.packed && is_here(stream, *shard.packed, report);
  report.packed_bytes += shard.packed ? shard.packed->bytes : 0;
  report.raw_here += raw ? 1 : 0;
  report.packed_here += packed ? 1 : 0;
  if (!raw && !packed && !stream.is_remote())
    add_problem(report, (stream.folder() / shard.raw.name).string() + ": no such file; its index lists it");
}

void check_samples(const MdsShard& shard, MdsReport& report, const std::function<void(uint64_t)>& progress) {
  std::vector<size_t> known;
  for (size_t column = 0; column < shard.info().columns.size(); ++column) {
    if (known_mds_encoding(shard.info().columns[column].encoding)) known.push_back(column);
  }
  for (uint64_t sample = 0; sample < shard.samples(); ++sample) {
    io::throw_if_interrupted();
    try {
      if (known.empty()) (void)shard.field(sample, 0);
      for (const size_t column : known) (void)shard.value(sample, column);
    } catch (const Error& e) {
      add_problem(report, e.what());
    }
    ++report.samples_checked;
    progress(report.samples_checked);
  }
}

}  // namespace

MdsReport describe_mds(const MdsStream& stream) {
  MdsReport report;
  for (const MdsShardInfo& shard : stream.index().shards) describe(stream, shard, report);
  return report;
}

MdsReport check_mds(const MdsStream& stream, const std::function<void(uint64_t)>& progress) {
  MdsReport report = describe_mds(stream);
  const auto& shards = stream.index().shards;
  if (shards.empty()) add_problem(report, (stream.folder() / kMdsIndex).string() + ": lists no shards; " + kRebuildAdvice);
  for (size_t i = 0; i < shards.size(); ++i) {
    try {
      check_samples(*stream.open(i), report, progress);
      stream.release(i);
    } catch (const Error& e) {
      io::throw_if_interrupted();
      add_problem(report, e.what());
    }
  }
  return report;
}

}  // namespace m2bert::data
