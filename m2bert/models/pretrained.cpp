#include "m2bert/models/pretrained.h"

#include <algorithm>
#include <set>

#include "m2bert/checkpoint/folder.h"
#include "m2bert/checkpoint/quantize.h"
#include "m2bert/checkpoint/weights.h"
#include "m2bert/error.h"
#include "m2bert/io/json.h"
#include "m2bert/io/yaml.h"
#include "m2bert/models/cast.h"

namespace m2bert::models {

namespace fs = std::filesystem;

namespace {

bool any_name(const checkpoint::TensorMap& weights, std::string_view prefix) {
  return std::ranges::any_of(weights, [&](const auto& w) { return w.first.starts_with(prefix); });
}

fs::path config_beside(const fs::path& file) {
  if (auto found = find_config_beside(file)) return *found;
  fail(file.string(),
       ": a checkpoint file does not say how its model is built. Name the recipe with --config FILE.yaml (or put config.json "
       "or config.yaml beside it)");
}

// Takes num_labels from the classifier's rows if the recipe does not set it (the GLUE recipes leave it to the task).
void adopt_num_labels(Config& config, const checkpoint::TensorMap& weights) {
  if (config.num_labels != Config().num_labels || !config.labels.empty()) return;
  for (const auto& [name, w] : weights) {
    if (name == "classifier.weight" && w.ndim() == 2) config.num_labels = w.shape(0);
  }
}

Pooling folder_pooling(const checkpoint::PoolingModes& modes, const fs::path& folder) {
  require(modes.mean + modes.cls + modes.max == 1 && !modes.mean_sqrt_len && !modes.weighted_mean && !modes.last_token, folder.string(),
          ": its pooling is not one of cls, mean or max; choose one with --pooling");
  return modes.mean ? Pooling::mean : modes.cls ? Pooling::cls : Pooling::max;
}

// config.json, or the recipe of a folder that has a checkpoint and its config.yaml.
fs::path config_of(const checkpoint::ModelFolder& folder) {
  if (!folder.config.empty()) return folder.config;
  const auto found = find_config_beside(folder.model / "weights");
  require(found.has_value(), folder.root.string(),
          ": the folder has neither config.json nor config.yaml; name a recipe with --config FILE.yaml");
  return *found;
}

tokenize::WordPiece load_tokenizer(const LoadOptions& options, const std::optional<checkpoint::ModelFolder>& folder) {
  tokenize::LoadOptions how;
  if (folder && folder->do_lower_case.value_or(false)) how.lowercase = true;
  if (options.tokenizer) return tokenize::WordPiece::from_file(*options.tokenizer, how);
  if (folder) {
    for (const auto& place : {folder->model, folder->root}) {
      if (fs::exists(place / "tokenizer.json") || fs::exists(place / "vocab.txt")) return tokenize::WordPiece::from_file(place, how);
    }
  }
  return tokenize::WordPiece::builtin();
}

void apply_folder(Pretrained& p, const checkpoint::ModelFolder& folder) {
  require(folder.dense.empty(), folder.root.string(), ": its modules.json names a Dense module, which is not supported");
  if (folder.pooling) p.pooling = folder_pooling(*folder.pooling, folder.root);
  p.normalize = p.normalize || folder.normalize;
  if (folder.max_seq_length) p.max_length = std::min(p.max_length, *folder.max_seq_length);
  p.prompts = folder.prompts;
  p.default_prompt = folder.default_prompt;
}

// Makes those weights of the model int8 that are int8 in the file, so that they match.
void expect_scales(Model& model, const checkpoint::TensorMap& weights) {
  std::set<std::string> quantized;
  for (const auto& [name, array] : weights) quantized.insert(name);
  for (auto& m : nn::matrices(model)) {
    if (!quantized.contains(checkpoint::scale_name(m.name))) continue;
    const auto& shape = m.weight->shape();
    *m.scale = mx::zeros({int(m.weight->size() / size_t(shape.back()))});
    *m.weight = mx::zeros(shape, mx::int8);
  }
}

// Whether a file describes a model at all: every field has a default, so any map could be read as a BERT.
bool describes_model(const io::Tree& tree) {
  if (const io::Tree* model = tree.find("model"); model && model->is_map()) return true;
  const io::Tree known = Config().to_tree();
  return std::ranges::any_of(tree.members(), [&](const auto& member) { return known.contains(member.key); });
}

// Casts the model's weights to this dtype, so that weights of the same dtype in a file are used without a copy.
void expect_dtype(Model& model, mx::Dtype dtype) {
  if (!mx::issubdtype(dtype, mx::floating) || dtype == mx::float32) return;
  for (auto& w : castable_weights(model)) *w.array = mx::astype(*w.array, dtype);
}

}  // namespace

std::optional<fs::path> find_config_beside(const fs::path& file) {
  for (const char* name : {"config.json", "config.yaml", "config.yml"}) {
    if (fs::exists(file.parent_path() / name)) return file.parent_path() / name;
  }
  return std::nullopt;
}

Config read_config(const fs::path& file, const std::vector<std::string>& overrides) {
  const bool json = file.extension() == ".json";
  require(!json || overrides.empty(), file.string(), ": key=value overrides need a YAML recipe");
  const io::Tree tree = json ? io::read_json(file) : io::read_yaml(file, overrides);
  require(!tree.is_map() || describes_model(tree), file.string(),
          ": has no field of a model (a recipe has model.model_config, a config.json hidden_size, num_hidden_layers and such)");
  return Config::from_tree(tree);
}

Head head_of(const checkpoint::TensorMap& weights) {
  if (any_name(weights, "classifier.")) return Head::classification;
  if (any_name(weights, "cls.predictions.")) return Head::masked_lm;
  return any_name(weights, "bert.pooler.") ? Head::embedding : Head::none;
}

void drop_other_heads(checkpoint::TensorMap& weights, const Config& config, Head head) {
  std::erase_if(weights, [&](const auto& w) {
    const std::string& n = w.first;
    if (head != Head::masked_lm && n.starts_with("cls.")) return true;
    if (head != Head::classification && n.starts_with("classifier.")) return true;
    const bool pooled = head == Head::classification || head == Head::embedding || (head == Head::masked_lm && config.attention_pooling);
    if (!pooled && n.starts_with("bert.pooler.")) return true;
    if (config.family != Family::hf_bert) return false;
    return n == "bert.embeddings.position_ids" || n.starts_with("cls.seq_relationship.");
  });
}

Pretrained load_pretrained(const fs::path& path, const LoadOptions& options) {
  require(fs::exists(path), path.string(),
          ": no such file or folder. --model takes a checkpoint file (.pt, .bin, .safetensors, with "
          "--config FILE.yaml) or a model folder (config.json and weights)");
  std::optional<checkpoint::ModelFolder> folder;
  if (fs::is_directory(path)) folder = checkpoint::read_folder(path);

  Pretrained p;
  auto config_file = options.config ? *options.config : folder ? config_of(*folder) : config_beside(path);
  p.config = read_config(config_file);
  p.weights = folder ? folder->weights : std::vector<fs::path>{path};

  auto weights = checkpoint::load_weights(path);
  const Head head = options.head.value_or(head_of(weights));
  drop_other_heads(weights, p.config, head);
  adopt_num_labels(p.config, weights);

  checkpoint::check_scales(weights, path.string());
  if (checkpoint::is_quantized(weights) && options.dtype.value_or(mx::int8) != mx::int8) weights = checkpoint::dequantize(weights);
  p.dtype = options.dtype.value_or(checkpoint::is_quantized(weights) ? mx::int8 : mx::float32);
  p.model = std::make_unique<Model>(p.config, head);
  if (options.allow_missing) p.model->init(0);
  expect_scales(*p.model, weights);
  expect_dtype(*p.model, p.dtype);
  p.report = checkpoint::match(*p.model, weights, {options.allow_missing, options.allow_unexpected, path.string()});
  if (p.dtype != mx::float32) p.computes_in_float32 = cast_weights(*p.model, p.dtype);
  if (options.pack) p.model->pack();

  p.pooling = p.model->default_pooling();
  p.normalize = p.config.use_normalized_embeddings;
  p.max_length = p.config.max_length();
  p.dynamic_padding = !p.config.monarch_mixer_sequence_mixing;
  p.labels = p.config.labels;
  if (!options.takes_text) return p;
  p.tokenizer = load_tokenizer(options, folder);
  require(p.tokenizer.vocab_size() <= size_t(p.config.vocab_size), path.string(), ": the tokenizer has ", p.tokenizer.vocab_size(),
          " tokens, the model has embeddings for ", p.config.vocab_size, "; name its vocabulary with --tokenizer FILE");
  if (folder) apply_folder(p, *folder);
  return p;
}

}  // namespace m2bert::models
