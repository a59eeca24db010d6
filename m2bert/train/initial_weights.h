#pragma once
// The weights that a recipe or a command names: a file, a folder, the folder of a run, or a model on the hub.
#include <filesystem>
#include <string>

#include "m2bert/models/model.h"
#include "m2bert/train/recipe.h"

namespace m2bert::train {

// The file or folder of that name; for the folder of a run its newest checkpoint. Error that starts with `where`.
std::filesystem::path find_weights(const std::string& name, const std::string& where);

// Loads the weights of load_path into the initialised model, and lets them grow if the recipe says so. A head that the file lacks keeps its
// initial values, with a note. Error: names or shapes that do not fit, with the recipe's line.
void load_initial_weights(models::Model& model, const std::filesystem::path& path, const Recipe& recipe);

// Error that names the first weight that is NaN or infinite. source: the file's name.
void require_finite(models::Model& model, const std::string& source);

}  // namespace m2bert::train
