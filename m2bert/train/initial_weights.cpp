#include "m2bert/train/initial_weights.h"

#include <fnmatch.h>

#include <algorithm>

#include "m2bert/checkpoint/run_checkpoints.h"
#include "m2bert/checkpoint/weights.h"
#include "m2bert/error.h"
#include "m2bert/io/log.h"
#include "m2bert/models/find_model.h"
#include "m2bert/models/pretrained.h"
#include "m2bert/models/start_weights.h"
#include "m2bert/train/recipe_keys.h"

namespace m2bert::train {

namespace fs = std::filesystem;

namespace {

// Removes the weights whose names in a Composer checkpoint match one of the patterns.
void ignore(checkpoint::TensorMap& weights, const std::vector<std::string>& patterns) {
  std::erase_if(weights, [&](const auto& weight) {
    const std::string name = "state/model/model." + weight.first;
    return std::any_of(patterns.begin(), patterns.end(), [&](const std::string& p) { return ::fnmatch(p.c_str(), name.c_str(), 0) == 0; });
  });
}

// The weights, extended to the length of the recipe's model.
checkpoint::TensorMap load_and_grow(const fs::path& path, const Recipe& recipe) {
  auto weights = checkpoint::load_weights(path, "", checkpoint::OfRun::trained);
  ignore(weights, recipe.save.ignored);
  if (!models::is_shorter(weights, recipe.model)) return weights;
  require(recipe.save.grow.has_value(), path.string(),
          ": its model takes shorter texts than the recipe's; expand_positional_embeddings: true lets it grow");
  return models::grow_context(std::move(weights), recipe.model, *recipe.save.grow);
}

// The names of the labels that a classifier in `path` has; empty if they are not known.
std::vector<std::string> labels_of(const fs::path& path) {
  std::error_code none;
  const fs::path config = (fs::is_directory(path, none) ? path : path.parent_path()) / "config.json";
  return fs::is_regular_file(config, none) ? models::read_config(config).labels : std::vector<std::string>();
}

}  // namespace

fs::path find_weights(const std::string& name, const std::string& where) {
  const auto path = models::find_model(name, where + name, ": no such file, folder or name of a model on the hub");
  std::error_code none;
  if (!fs::is_directory(path, none)) return path;
  return checkpoint::newest_run_checkpoint(path).value_or(path);
}

void load_initial_weights(models::Model& model, const fs::path& path, const Recipe& recipe) {
  try {
    const auto labels = model.head() == models::Head::classification ? labels_of(path) : std::vector<std::string>();
    const auto report = models::start_from(model, load_and_grow(path, recipe), path.string(), labels);
    require_finite(model, path.string());
    io::info("starting from the weights of ", path.string(), " (", report.loaded, " arrays)");
    for (const auto& part : report.fresh) {
      const char* has = part == "classifier" && report.other_labels ? " has other labels in its " : " has no ";
      io::info(path.string(), has, part, ": training starts with a new one");
    }
  } catch (const Error& error) {
    fail(where(recipe.tree, "load_path"), error.what());
  }
}

void require_finite(models::Model& model, const std::string& source) {
  for (const auto& w : nn::parameters(model))
    require(mx::all(mx::isfinite(*w.array)).item<bool>(), source, ": ", w.name,
            " has NaN or infinite values: the file is damaged, or its training failed; take an earlier checkpoint");
}

}  // namespace m2bert::train
