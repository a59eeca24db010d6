#pragma once
// One uncompressed shard of an MDS data set: number of samples, their offsets, a description of the columns, the samples.
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "m2bert/data/mds_encoding.h"
#include "m2bert/data/mds_index.h"
#include "m2bert/io/file.h"

namespace m2bert::data {

// Immutable and thread-safe. Every size in the file is checked before it is used.
class MdsShard {
 public:
  // From a mapped file, or from content in memory. name: for errors. Throws unless size and number of samples match the index and the
  // offsets increase up to the end of the content.
  MdsShard(const MdsShardInfo& info, io::MappedFile file);
  MdsShard(const MdsShardInfo& info, std::string content, std::string name);
  MdsShard(const MdsShard&) = delete;
  MdsShard& operator=(const MdsShard&) = delete;

  uint64_t samples() const { return info_.samples; }
  const MdsShardInfo& info() const { return info_; }
  const std::string& name() const { return name_; }

  // The stored bytes of a column of a sample (from 0), valid as long as the shard. Throws if the sizes in the sample are inconsistent.
  std::string_view field(uint64_t sample, size_t column) const;
  // The decoded field. Also throws for unsupported encodings.
  MdsValue value(uint64_t sample, size_t column) const;
  // "FILE: sample 5, column text", for errors.
  std::string where(uint64_t sample, size_t column) const;

 private:
  void check() const;
  uint32_t number(size_t offset) const;
  std::string_view sample(uint64_t index) const;

  MdsShardInfo info_;
  std::unique_ptr<io::MappedFile> file_;
  std::string content_;
  std::string_view bytes_;
  std::string name_;
};

}  // namespace m2bert::data
