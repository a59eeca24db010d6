#pragma once
// The encodings of the values in Parquet's pages. Source: Apache Parquet, "Encodings".
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace m2bert::data {

// How values are stored, with Parquet's numbers.
enum class ParquetType { boolean = 0, int32 = 1, int64 = 2, int96 = 3, float32 = 4, float64 = 5, bytes = 6, fixed_bytes = 7 };

struct ParquetValue {
  enum class Kind { null, boolean, integer, number, text } kind = Kind::null;
  int64_t integer = 0;    // booleans: 0 or 1
  double number = 0;      //
  std::string_view text;  // valid until the next value of the same column is read
};

// Integers of a fixed width in runs and bit-packed groups ("RLE/bit-packing hybrid"): levels, indices of a dictionary, booleans.
class ParquetRuns {
 public:
  // width: bits, 0 to 32. where: put in front of errors.
  ParquetRuns(std::string_view bytes, int width, const std::string& where);
  uint32_t next();

 private:
  void next_run();
  std::string_view bytes_;
  int width_;
  std::string where_;
  uint64_t left_ = 0;  // values left in the run
  bool packed_ = false;
  uint32_t value_ = 0;      // of a run of equal values
  std::string_view group_;  // of a bit-packed run
  uint64_t bit_ = 0;        // the next one in it
};

// The values of a page, one after another.
class ParquetValues {
 public:
  virtual ~ParquetValues() = default;
  // The next value, never null. Error if there is none.
  virtual ParquetValue next() = 0;
};

// Encodings with Parquet's numbers: plain 0, dictionary 2 and 8, RLE 3, delta 5 to 7, split bytes 9. dictionary: the values of the
// dictionary page, or nullptr. Error for an encoding that is unknown or that the type does not have.
std::unique_ptr<ParquetValues> parquet_values(int64_t encoding, ParquetType type, std::string_view bytes,
                                              const std::vector<ParquetValue>* dictionary, const std::string& where);

}  // namespace m2bert::data
