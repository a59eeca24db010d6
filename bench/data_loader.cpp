// The m2bert side of bench/data_loader.py: loads batches for pretraining.
//   m2bert-bench-data-loader LOADER.json GLOBAL_BATCH
// Prints "ready ..." and then answers requests, one a line on stdin: "run" (an epoch; prints its seconds), "sum" (an epoch; prints its rows
// and the sum of all ids), "quit".
#include <chrono>
#include <iostream>
#include <numeric>

#include "m2bert/data/text_data.h"
#include "m2bert/error.h"
#include "m2bert/io/json.h"
#include "m2bert/version.h"

namespace {

using namespace m2bert;

double run(data::BatchSource& source) {
  const auto start = std::chrono::steady_clock::now();
  source.seek({});
  while (source.next()) {
  }
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

void print_sum(data::BatchSource& source) {
  source.seek({});
  int64_t rows = 0, sum = 0;
  while (const auto batch = source.next()) {
    rows += batch->rows;
    sum = std::accumulate(batch->input_ids.begin(), batch->input_ids.end(), sum);
  }
  std::cout << rows << " " << sum << std::endl;
}

void serve(data::BatchSource& source) {
  std::string line;
  while (std::getline(std::cin, line) && line != "quit") {
    if (line == "run") std::cout << run(source) << std::endl;
    else if (line == "sum") print_sum(source);
    else fail("unknown request: ", line);
  }
}

}  // namespace

int main(int count, char** arguments) {
  try {
    require(count == 3, "usage: m2bert-bench-data-loader LOADER.json GLOBAL_BATCH");
    const auto config = data::read_text_data_config(io::read_json(arguments[1]));
    const auto source = data::open_text_data(config, tokenize::WordPiece::builtin(), {.global_batch = std::stoi(arguments[2])});
    std::cout << "ready m2bert " << M2BERT_VERSION << std::endl;
    serve(*source);
  } catch (const std::exception& e) {
    std::cerr << "error: " << e.what() << "\n";
    return 1;
  }
}
