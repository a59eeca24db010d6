#include "m2bert/data/mds_shard.h"

#include <cstring>

#include "m2bert/error.h"
#include "m2bert/io/utf8.h"

namespace m2bert::data {

MdsShard::MdsShard(const MdsShardInfo& info, io::MappedFile file)
    : info_(info), file_(std::make_unique<io::MappedFile>(std::move(file))), name_(file_->path().string()) {
  bytes_ = {reinterpret_cast<const char*>(file_->bytes().data()), file_->bytes().size()};
  check();
}

MdsShard::MdsShard(const MdsShardInfo& info, std::string content, std::string name)
    : info_(info), content_(std::move(content)), bytes_(content_), name_(std::move(name)) {
  check();
}

void MdsShard::check() const {
  require(bytes_.size() == info_.raw.bytes, name_, ": has ", bytes_.size(), " bytes, its index says ", info_.raw.bytes);
  require(bytes_.size() >= 8, name_, ": is too short for a shard");
  require(number(0) == info_.samples, name_, ": has ", number(0), " samples, its index says ", info_.samples);
  require(info_.samples <= (bytes_.size() - 8) / 4, name_, ": its ", info_.samples, " samples do not fit in ", bytes_.size(), " bytes");
  uint64_t before = 4 + 4 * (info_.samples + 1);
  for (uint64_t i = 0; i <= info_.samples; ++i) {
    const uint32_t offset = number(4 + 4 * i);
    require(offset >= before && offset <= bytes_.size(), name_, ": the offset of sample ", i, " is ", offset, ", wants ", before, " to ",
            bytes_.size());
    before = offset;
  }
  require(before == bytes_.size(), name_, ": its samples end at byte ", before, " of ", bytes_.size());
}

uint32_t MdsShard::number(size_t offset) const {
  uint32_t value;
  std::memcpy(&value, bytes_.data() + offset, sizeof value);
  return value;
}

std::string_view MdsShard::sample(uint64_t index) const {
  require(index < info_.samples, name_, ": has ", info_.samples, " samples, there is no sample ", index);
  const uint32_t begin = number(4 + 4 * index), end = number(8 + 4 * index);
  return bytes_.substr(begin, end - begin);
}

// A sample is stored as [sizes of the columns without a fixed size] [values].
std::string_view MdsShard::field(uint64_t index, size_t column) const {
  const std::string_view whole = sample(index);
  uint64_t heads = 0, begin = 0, size = 0, sum = 0;
  for (size_t i = 0; i < info_.columns.size(); ++i) {
    uint64_t bytes = info_.columns[i].size.value_or(0);
    if (bytes == 0) {
      if (whole.size() < heads + 4) fail(where(index, i), ": the sample ends before its sizes do");
      uint32_t stored;
      std::memcpy(&stored, whole.data() + heads, sizeof stored);
      bytes = stored;
      heads += 4;
    }
    if (i == column) {
      begin = sum;
      size = bytes;
    }
    sum += bytes;
  }
  require(column < info_.columns.size(), name_, ": has no column ", column);
  if (heads + sum != whole.size()) fail(where(index, column), ": the values take ", heads + sum, " bytes, the sample has ", whole.size());
  return whole.substr(heads + begin, size);
}

MdsValue MdsShard::value(uint64_t index, size_t column) const {
  const std::string place = where(index, column);
  return decode_mds(parse_mds_encoding(info_.columns.at(column).encoding, place), field(index, column), place);
}

std::string MdsShard::where(uint64_t index, size_t column) const {
  return name_ + ": sample " + std::to_string(index) + ", column " + io::printable(info_.columns.at(column).name, 60);
}

}  // namespace m2bert::data
