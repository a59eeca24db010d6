#include "tests/cli/training_recipe.h"

#include "tests/cli/program.h"

namespace m2bert::test {

std::string training_recipe(const std::string& folder) {
  const std::string golden = std::string(M2BERT_SOURCE_DIR) + "/tests/golden/trainlog/";
  return content(golden + "config.yaml") + "train_loader: {name: batches, file: " + golden + "inputs.safetensors}\n" +
         "load_path: " + golden + "checkpoint.pt\nsave_folder: " + folder + "/run\nsave_interval: 3ba\nsave_num_checkpoints_to_keep: 2\n" +
         "progress_bar: false\n";
}

}  // namespace m2bert::test
