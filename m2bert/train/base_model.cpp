#include "m2bert/train/base_model.h"

#include "m2bert/models/find_model.h"
#include "m2bert/models/pretrained.h"
#include "m2bert/train/initial_weights.h"

namespace m2bert::train {

namespace fs = std::filesystem;

namespace {

// Where the tokenizer of a model is; bert-base-uncased if it has none of its own.
std::string tokenizer_of(const fs::path& path, const BaseModelOptions& options) {
  if (options.tokenizer) return fs::absolute(*options.tokenizer).string();
  if (!fs::is_directory(path)) return "bert-base-uncased";
  const auto place = checkpoint::tokenizer_folder(checkpoint::read_folder(path));
  return place ? fs::absolute(*place).string() : "bert-base-uncased";
}

}  // namespace

BaseModel find_base_model(const std::string& name, const BaseModelOptions& options) {
  const fs::path path = models::find_model(name, name, ": no such file, folder or name of a model on the hub");
  models::LoadOptions load;
  load.config = options.config;
  load.tokenizer = options.tokenizer;
  load.pack = false;
  const auto pretrained = models::load_pretrained(path, load);
  return {fs::absolute(path), pretrained.config, tokenizer_of(path, options), pretrained.max_length};
}

io::Tree model_tree(const BaseModel& base) {
  models::Config config = base.config;
  config.labels.clear();
  config.num_labels_given = false;
  config.num_labels = models::Config().num_labels;
  config.problem_type.reset();
  const bool bert = config.family == models::Family::hf_bert;
  return {{"name", bert ? "hf_bert" : "bert"},
          {"pretrained_model_name", io::Tree()},
          {"tokenizer_name", base.tokenizer},
          {"model_config", config.to_tree()}};
}

}  // namespace m2bert::train
