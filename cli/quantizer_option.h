#pragma once
// The options that say how many values vectors have, and in which precision.
#include <string>

#include "m2bert/search/quantize.h"

namespace CLI {
class App;
}

namespace m2bert::cli {

class VectorFile;

struct QuantizerOption {
  std::string precision = "float32", calibration;
};

// Adds --precision and --calibration.
void add_quantizer_options(CLI::App& app, QuantizerOption& option);
// Adds --calibration alone.
void add_calibration_option(CLI::App& app, std::string& calibration, const std::string& what);
// Adds --dimensions; 0: not given.
void add_dimensions_option(CLI::App& app, int& dimensions);

// The quantizer of vectors of dim values. UsageError where int8 or uint8 lack --calibration, or another precision has it; Error if its file
// does not fit.
search::Quantizer make_quantizer(const QuantizerOption& option, size_t dim);

// The smallest and the largest value of each dimension: what an int8 or uint8 file of embed records, else those of its vectors. Error if
// they have another number of dimensions than dim.
search::Ranges read_ranges(const std::string& file, size_t dim);

// A hash of the values; "" for empty ranges.
std::string hash_of(const search::Ranges& ranges);

}  // namespace m2bert::cli
