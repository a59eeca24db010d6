// An index and a shard of an MDS data set: the input is the index's length, the index, the shard.
#include <cstdlib>
#include <cstring>

#include "m2bert/data/mds_index.h"
#include "m2bert/data/mds_shard.h"
#include "m2bert/error.h"

namespace {

using namespace m2bert;

// Whatever is read survives a round trip.
void write_again(const data::MdsIndex& index) {
  const std::string text = data::mds_index_text(index);
  if (data::mds_index_text(data::parse_mds_index(text, "again")) != text) std::abort();
}

void read_all(const data::MdsShard& shard) {
  for (uint64_t sample = 0; sample < shard.samples(); ++sample)
    for (size_t column = 0; column < shard.info().columns.size(); ++column) try {
        (void)shard.value(sample, column);
      } catch (const Error&) {
      }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, size_t size) {
  uint32_t length = 0;
  if (size < sizeof length) return 0;
  std::memcpy(&length, data, sizeof length);
  const std::string_view rest(reinterpret_cast<const char*>(data) + sizeof length, size - sizeof length);
  try {
    const data::MdsIndex index = data::parse_mds_index(rest.substr(0, length), "fuzz");
    write_again(index);
    if (index.shards.empty() || length > rest.size()) return 0;
    data::MdsShardInfo info = index.shards.front();
    info.raw.bytes = rest.size() - length;
    read_all({info, std::string(rest.substr(length)), "fuzz"});
  } catch (const Error&) {
  }
  return 0;
}
