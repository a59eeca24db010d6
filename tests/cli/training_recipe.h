#pragma once
// A recipe that trains in a moment: model and ready batches of tests/golden/trainlog.
#include <string>

namespace m2bert::test {

// Its text, with dropout and checkpoints every 3 batches; the run writes to FOLDER/run.
std::string training_recipe(const std::string& folder);

}  // namespace m2bert::test
