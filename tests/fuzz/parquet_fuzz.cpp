// A Parquet file: whatever the bytes are, its columns are read to the end or refused.
#include <algorithm>
#include <string_view>

#include "m2bert/data/parquet.h"
#include "m2bert/error.h"

namespace {

using namespace m2bert;

// Runs of equal values can make more rows than a test has time for.
constexpr uint64_t kMostRows = 2000;

void read_column(const data::ParquetFile& file, size_t column) {
  data::ParquetColumnReader reader(file, column);
  for (uint64_t row = 0; row < std::min(file.rows(), kMostRows); ++row) (void)reader.next();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* bytes, size_t size) {
  try {
    const data::ParquetFile file({reinterpret_cast<const char*>(bytes), size}, "fuzz");
    for (size_t column = 0; column < std::min<size_t>(file.columns().size(), 20); ++column) try {
        read_column(file, column);
      } catch (const Error&) {
      }
  } catch (const Error&) {
  }
  return 0;
}
