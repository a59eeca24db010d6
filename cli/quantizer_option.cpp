#include "cli/quantizer_option.h"

#include <CLI/CLI.hpp>

#include "cli/choice.h"
#include "cli/command.h"
#include "cli/vector_file.h"
#include "m2bert/error.h"
#include "m2bert/io/hash.h"

namespace m2bert::cli {

void add_calibration_option(CLI::App& app, std::string& calibration, const std::string& what) {
  app.add_option("--calibration", calibration, what)->type_name("FILE");
}

void add_quantizer_options(CLI::App& app, QuantizerOption& option) {
  add_choice(app, "--precision", option.precision, {"float32", "int8", "uint8", "binary", "ubinary"},
             "Numbers of the vectors, as sentence-transformers quantizes them: int8 and uint8\n"
             "are a quarter of the size, binary and ubinary (a bit a value) a 32nd")
      ->capture_default_str();
  add_calibration_option(app, option.calibration,
                         "Vectors of this model (float32 .npy, .safetensors, .jsonl) whose smallest and\n"
                         "largest values are the ranges of int8 and uint8; or an int8 or uint8 .safetensors\n"
                         "file of embed, for the same ranges");
}

void add_dimensions_option(CLI::App& app, int& dimensions) {
  add_number(app, "--dimensions", dimensions, 1, 1 << 24,
             "Only the first N values of each vector, for models trained to allow it (Matryoshka);\n"
             "scaled to length 1 again where vectors are (default: the model's)");
}

search::Ranges read_ranges(const std::string& file, size_t dim) {
  const VectorFile vectors(file);
  search::Ranges ranges = vectors.ranges();
  if (ranges.empty()) {
    require(vectors.is_float(), file, ": its vectors are quantized, and it does not record their ranges; give the float32 vectors");
    require(vectors.dim() == dim, file, ": its vectors have ", vectors.dim(), " dimensions, those of this model ", dim);
    vectors.require_finite();
    vectors.for_each_block([&](std::span<const float> rows) { search::widen(ranges, rows, dim); });
  }
  require(ranges.low.size() == dim, file, ": its ranges have ", ranges.low.size(), " dimensions, the vectors of this model ", dim);
  return ranges;
}

search::Quantizer make_quantizer(const QuantizerOption& option, size_t dim) {
  const search::Precision precision = search::precision_named(option.precision);
  if (!search::is_scalar(precision)) {
    if (!option.calibration.empty()) throw UsageError("--calibration is for --precision int8 and uint8");
    return {precision, dim};
  }
  if (option.calibration.empty())
    throw UsageError("--precision " + option.precision +
                     ": the ranges of the values must be known before the first text. Embed a sample of the texts as they are "
                     "(--output sample.npy), and give it with --calibration sample.npy");
  return {precision, dim, read_ranges(option.calibration, dim)};
}

std::string hash_of(const search::Ranges& ranges) {
  if (ranges.empty()) return "";
  io::Hasher hasher;
  for (const auto* ends : {&ranges.low, &ranges.high})
    hasher.update(std::string_view(reinterpret_cast<const char*>(ends->data()), ends->size() * sizeof(float)));
  return hasher.hash128();
}

}  // namespace m2bert::cli
