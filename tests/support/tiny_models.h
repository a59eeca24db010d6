#pragma once
// Models small enough to run in a moment, with random weights, on disk.
#include <string>

#include "m2bert/models/model.h"
#include "tests/support/tiny_config.h"

namespace m2bert::test {

// Writes a model folder (config.json, model.safetensors, vocab.txt) and returns its path.
std::string write_folder(const std::string& folder, const models::Config& config, models::Head head, uint64_t seed = 1);

// The same weights as checkpoint.pt with recipe.yaml and vocab.txt in the folder.
void write_checkpoint(const std::string& folder, const models::Config& config, models::Head head);

// Folders shared by all tests, written once per process.
struct TinyModels {
  std::string m2;           // embedding
  std::string m2_other;     // the same with other weights
  std::string attention;    // embedding
  std::string classifier;   // 3 labels
  std::string multi_label;  // 3 labels, independent of each other
  std::string regression;   // 1 value
  std::string masked_lm;
  std::string broken;      // NaN among the weights
  std::string checkpoint;  // folder with checkpoint.pt, recipe.yaml, vocab.txt
};
const TinyModels& tiny_models();

// A sentence of words from the vocabulary; each number gives another one.
std::string sentence(size_t number, size_t words);

}  // namespace m2bert::test
