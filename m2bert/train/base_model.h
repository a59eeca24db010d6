#pragma once
// A trained model to fine-tune: what a recipe says about it.
#include <filesystem>
#include <optional>
#include <string>

#include "m2bert/io/tree.h"
#include "m2bert/models/config.h"

namespace m2bert::train {

struct BaseModel {
  std::filesystem::path path;  // of the weights, for load_path
  models::Config config;
  std::string tokenizer;  // a file or folder, or bert-base-uncased
  int max_length = 0;     // tokens of a text: the folder's limit, at most the model's
};

struct BaseModelOptions {
  std::optional<std::filesystem::path> config;     // as models::LoadOptions
  std::optional<std::filesystem::path> tokenizer;  // the same
};

// name: a file, a folder, the folder of a run, or a model on the hub. Error: see models::load_pretrained.
BaseModel find_base_model(const std::string& name, const BaseModelOptions& options = {});

// The `model` of a recipe that trains this model with another head: all fields of the configuration, without labels and problem_type of
// the old one.
io::Tree model_tree(const BaseModel& base);

}  // namespace m2bert::train
