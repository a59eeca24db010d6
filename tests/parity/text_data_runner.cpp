// Writes the batches of a loader as int32 values, for test_text_data.py.
//   m2bert-parity-text-data CONFIG.yaml OUT GLOBAL_BATCH RANK RANKS EPOCH SAMPLES BATCHES
// OUT has for each of at most BATCHES batches: rows, length, whether it has sequence ids, then ids, mask, labels, and these.
#include <fstream>
#include <iostream>

#include "m2bert/data/text_data.h"
#include "m2bert/error.h"
#include "m2bert/io/yaml.h"

namespace {

using namespace m2bert;

void write(std::ofstream& out, const std::vector<int32_t>& values) {
  out.write(reinterpret_cast<const char*>(values.data()), static_cast<std::streamsize>(values.size() * sizeof(int32_t)));
}

void run(char** arguments) {
  const auto config = data::read_text_data_config(io::read_yaml(arguments[1]));
  std::ofstream out(arguments[2], std::ios::binary);
  const data::BatchShape shape{std::stoi(arguments[3]), std::stoi(arguments[4]), std::stoi(arguments[5])};
  const auto source = data::open_text_data(config, tokenize::WordPiece::builtin(), shape);
  source->seek({std::stoull(arguments[6]), std::stoull(arguments[7])});
  for (int left = std::stoi(arguments[8]); left > 0; --left) {
    const auto batch = source->next();
    if (!batch) break;
    write(out, {batch->rows, batch->length, batch->sequence_ids.empty() ? 0 : 1});
    for (const auto* values : {&batch->input_ids, &batch->attention_mask, &batch->labels, &batch->sequence_ids}) write(out, *values);
  }
  std::cout << source->samples_per_epoch() << " " << source->skipped() << "\n";
}

}  // namespace

int main(int argc, char** argv) {
  try {
    require(argc == 9, "usage: m2bert-parity-text-data CONFIG OUT GLOBAL_BATCH RANK RANKS EPOCH SAMPLES BATCHES");
    run(argv);
  } catch (const std::exception& e) {
    std::cerr << "error: " << e.what() << "\n";
    return 1;
  }
}
