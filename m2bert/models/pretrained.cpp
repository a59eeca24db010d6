#include "m2bert/models/pretrained.h"

#include <algorithm>
#include <climits>
#include <set>

#include "m2bert/checkpoint/folder.h"
#include "m2bert/checkpoint/quantize.h"
#include "m2bert/checkpoint/weights.h"
#include "m2bert/error.h"
#include "m2bert/io/json.h"
#include "m2bert/io/log.h"
#include "m2bert/io/yaml.h"
#include "m2bert/models/cast.h"
#include "m2bert/tokenize/model_max_length.h"

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

void check_vocab_size(const Config& config, const checkpoint::TensorMap& weights, const fs::path& config_file) {
  for (const auto& [name, w] : weights) {
    if (name != "bert.embeddings.word_embeddings.weight" || w.ndim() != 2) continue;
    require(w.shape(0) == config.vocab_size, config_file.string(), ": vocab_size is ", config.vocab_size, ", and the weights have ",
            w.shape(0), " word embeddings");
  }
}

tokenize::WordPiece read_tokenizer(const fs::path& path, bool lower_case) {
  tokenize::WordPiece tokenizer = tokenize::WordPiece::from_file(path);
  if (!lower_case || tokenizer.lowercase()) return tokenizer;
  tokenize::LoadOptions how;  // only the case changes: accents stay
  how.lowercase = true;
  how.strip_accents = tokenizer.strip_accents();
  return tokenize::WordPiece::from_file(path, how);
}

fs::path config_of(const checkpoint::ModelFolder& folder) {
  const auto found = find_config(folder);
  require(found.has_value(), folder.root.string(),
          ": the folder has neither config.json nor config.yaml; name a recipe with --config FILE.yaml");
  return *found;
}

// A vocab.txt by itself does not say whether its words are lower case. A folder's own tokenizer does, for the model's vocabulary.
tokenize::WordPiece read_vocabulary(const fs::path& file, const checkpoint::ModelFolder& folder) {
  const auto place = checkpoint::tokenizer_folder(folder);
  if (!place) return tokenize::WordPiece::from_file(file);
  tokenize::LoadOptions how;
  try {
    const tokenize::WordPiece own = tokenize::WordPiece::from_file(*place);
    how.lowercase = own.lowercase();
    how.strip_accents = own.strip_accents();
  } catch (const Error& e) {  // perhaps why another one is named
    io::warn(e.what(), "; texts are lower-cased for ", file.string());
  }
  return tokenize::WordPiece::from_file(file, how);
}

// The tokenizer that is named, else the folder's; none: the built-in one.
std::optional<tokenize::WordPiece> find_tokenizer(const LoadOptions& options, const std::optional<checkpoint::ModelFolder>& folder) {
  const bool lower_case = folder && folder->do_lower_case.value_or(false);
  if (options.tokenizer && folder && !lower_case && options.tokenizer->extension() == ".txt" && !fs::is_directory(*options.tokenizer))
    return read_vocabulary(*options.tokenizer, *folder);
  if (options.tokenizer) return read_tokenizer(*options.tokenizer, lower_case);
  if (!folder) return std::nullopt;
  const auto place = checkpoint::tokenizer_folder(*folder);
  return place ? std::optional(read_tokenizer(*place, lower_case)) : std::nullopt;
}

// Vocabularies are padded to a multiple of up to 128, so a model with more rows has another vocabulary than the built-in one.
void check_vocabulary(const Pretrained& p, bool builtin, const fs::path& path) {
  const size_t tokens = p.tokenizer.vocab_size(), rows = size_t(p.config.vocab_size);
  require(tokens <= rows, path.string(), ": the tokenizer has ", tokens, " tokens, the model has embeddings for ", rows,
          "; name its vocabulary with --tokenizer FILE");
  require(!builtin || rows <= (tokens + 127) / 128 * 128, path.string(), ": there is no tokenizer, and the model's embeddings for ", rows,
          " tokens are too many for bert-base-uncased (", tokens, "); name its vocabulary with --tokenizer FILE");
}

// The length limit of the tokenizer, else of the model's own one if another is used.
std::optional<size_t> length_limit(const Pretrained& p, const std::optional<checkpoint::ModelFolder>& folder) {
  const auto limit = p.tokenizer.settings().model_max_length;
  return limit || !folder ? limit : tokenize::model_max_length({folder->model, folder->root});
}

// Pooling and length of a model whose folder says nothing about vectors.
void apply_defaults(Pretrained& p, const std::optional<checkpoint::ModelFolder>& folder) {
  p.pooling = {default_pooling(*p.model)};
  p.normalize = p.config.use_normalized_embeddings;
  p.dynamic_padding = p.config.padding_is_masked();
  if (p.config.family == Family::hf_bert) {
    p.pooling_note = "no modules.json says how vectors are made: pooling is the mean of the tokens, as in sentence-transformers";
    p.max_length = int(std::min<size_t>(p.max_length, length_limit(p, folder).value_or(INT_MAX)));
  } else if (!p.model->has_pooler() && !p.config.use_cls_token) {
    p.pooling_note = "the model has no pooler: pooling is cls, the state of the first token; --pooling mean is another choice";
  }
}

// The settings of sentence-transformers.
void apply_folder(Pretrained& p, const checkpoint::ModelFolder& folder) {
  for (const auto& field : folder.ignored) io::warn(field, ": this field is not known, and ignored");
  if (!folder.sentence_transformers) {
    for (const char* name : {"config_sentence_transformers.json", "sentence_bert_config.json", "1_Pooling"})
      if (fs::exists(folder.root / name)) io::warn((folder.root / name).string(), ": ignored, because there is no modules.json");
    return;
  }
  p.pooling_note.clear();
  p.vectors_error = folder.vectors_error;
  if (folder.pooler) p.pooling = {Pooling::pooler};
  if (folder.pooling) {
    p.include_prompt = folder.pooling->include_prompt;
    p.pooling_error = folder.pooling->error;
    if (p.pooling_error.empty()) p.pooling.clear();
    for (size_t i = 0; i < folder.pooling->modes.size() && p.pooling_error.empty(); ++i)
      p.pooling.push_back(pooling_named(folder.pooling->modes[i]));
  }
  p.modules = VectorModules(folder.modules);
  for (const auto& module : folder.modules) {  // their files decide about vectors too
    if (!module.weights.empty()) p.weights.push_back(module.weights);
    if (fs::exists(module.folder / "config.json")) p.weights.push_back(module.folder / "config.json");
  }
  p.normalize = p.normalize || folder.normalize;
  p.truncate_dim = folder.truncate_dim;
  if (folder.max_seq_length) p.max_length = std::min(p.max_positions, *folder.max_seq_length);
  p.prompts = folder.prompts;
  p.default_prompt = folder.default_prompt;
  p.similarity = folder.similarity;
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

// Without tied embeddings, Transformers takes the masked-LM decoder from the file.
void require_own_decoder(const Config& config, Head head, const checkpoint::TensorMap& weights, const fs::path& config_file) {
  if (config.family != Family::hf_bert || config.tie_word_embeddings || head != Head::masked_lm) return;
  require(any_name(weights, "cls.predictions.decoder.weight"), config_file.string(),
          ": tie_word_embeddings is false, but the weights lack cls.predictions.decoder.weight");
}

// Whether a file describes a model at all: every field has a default, so any map could be read as a BERT.
bool describes_model(const io::Tree& tree) {
  if (const io::Tree* model = tree.find("model"); model && model->is_map()) return true;
  const io::Tree known = Config().to_tree();
  return std::ranges::any_of(tree.members(), [&](const auto& member) { return known.contains(member.key); });
}

// Casts the model's weights to this dtype, so that weights of the same dtype in a file are used without a copy.
void expect_dtype(Model& model, mx::Dtype dtype) {
  if (dtype == mx::int8) {
    for (auto& m : nn::matrices(model)) {
      const auto stored = checkpoint::int8_checkpoint_dtype(m.name, *m.weight, model.config().monarch_mixer_sequence_mixing);
      if (!m.scale->has_value() && stored == mx::bfloat16) *m.weight = mx::astype(*m.weight, mx::bfloat16);
    }
    return;
  }
  if (!mx::issubdtype(dtype, mx::floating) || dtype == mx::float32) return;
  for (auto& w : castable_weights(model)) *w.array = mx::astype(*w.array, dtype);
}

// Builds the model that the weights' head belongs to, and loads them.
void load_model(Pretrained& p, const fs::path& path, const fs::path& config_file, const LoadOptions& options) {
  auto weights = checkpoint::load_weights(path);
  const Head head = options.head.value_or(head_of(weights));
  require(options.head != Head::masked_lm || any_name(weights, "cls.predictions."), path.string(),
          ": has no masked-LM head (cls.predictions); checkpoints of pretraining have one");
  drop_other_heads(weights, p.config, head);
  adopt_num_labels(p.config, weights, config_file.string());
  check_vocab_size(p.config, weights, config_file);
  require_own_decoder(p.config, head, weights, config_file);

  checkpoint::check_scales(weights, path.string());
  if (checkpoint::is_quantized(weights) && options.dtype.value_or(mx::int8) != mx::int8) weights = checkpoint::dequantize(weights);
  p.dtype = options.dtype.value_or(checkpoint::is_quantized(weights) ? mx::int8 : mx::float32);
  p.model = std::make_unique<Model>(p.config, head);
  if (options.allow_missing) p.model->init(0);
  expect_scales(*p.model, weights);
  expect_dtype(*p.model, p.dtype);
  p.report = checkpoint::match(
      *p.model, weights,
      {options.allow_missing, options.allow_unexpected, path.string(), "Check the configuration; --allow-missing loads what is there."});
  if (p.dtype != mx::float32) p.computes_in_float32 = cast_weights(*p.model, p.dtype);
  if (options.pack) p.model->pack();
}

// The tokenizer, and how vectors are made.
void load_text_settings(Pretrained& p, const fs::path& path, const std::optional<checkpoint::ModelFolder>& folder,
                        const LoadOptions& options) {
  const auto tokenizer = find_tokenizer(options, folder);
  if (tokenizer) p.tokenizer = *tokenizer;
  check_vocabulary(p, !tokenizer, path);
  require(!p.config.monarch_mixer_sequence_mixing || p.tokenizer.settings().padding_side == tokenize::PaddingSide::right, path.string(),
          ": the tokenizer's padding_side is left; padding is part of an M2-BERT model, and is on the right");
  apply_defaults(p, folder);
  if (folder) apply_folder(p, *folder);
}

}  // namespace

std::optional<fs::path> find_config_beside(const fs::path& file) {
  for (const char* name : {"config.json", "config.yaml", "config.yml"}) {
    if (fs::exists(file.parent_path() / name)) return file.parent_path() / name;
  }
  return std::nullopt;
}

std::optional<fs::path> find_config(const checkpoint::ModelFolder& folder) {
  if (!folder.config.empty()) return folder.config;
  return find_config_beside(folder.model / "weights");
}

Pooling default_pooling(const Model& model) { return model.config().family == Family::hf_bert ? Pooling::mean : model.default_pooling(); }

Config read_config(const fs::path& file, const std::vector<std::string>& overrides) {
  const bool json = file.extension() == ".json";
  require(!json || overrides.empty(), file.string(), ": key=value overrides need a YAML recipe");
  const io::Tree tree = json ? io::read_json(file) : io::read_yaml(file, overrides);
  require(!tree.is_map() || describes_model(tree), file.string(),
          ": has no field of a model (a recipe has model.model_config, a config.json hidden_size, num_hidden_layers and such)");
  return Config::from_tree(tree);
}

void adopt_num_labels(Config& config, const checkpoint::TensorMap& weights, const std::string& where) {
  for (const auto& [name, w] : weights) {
    if (name != "classifier.weight" || w.ndim() != 2) continue;
    require(!config.num_labels_given || config.num_labels == w.shape(0), where, ": the configuration names ", config.num_labels,
            " labels (num_labels or id2label), and classifier.weight has ", w.shape(0), " rows");
    config.num_labels = w.shape(0);
  }
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
  require(
      fs::exists(path), path.string(),
      ": no such file or folder. A model is a checkpoint file (.pt, .bin, .safetensors) with its recipe or config.json, or a folder with "
      "config.json and weights");
  std::optional<checkpoint::ModelFolder> folder;
  if (fs::is_directory(path)) folder = checkpoint::read_folder(path);

  Pretrained p;
  auto config_file = options.config ? *options.config : folder ? config_of(*folder) : config_beside(path);
  p.config = read_config(config_file);
  p.weights = folder ? folder->weights : std::vector<fs::path>{path};
  load_model(p, path, config_file, options);

  p.labels = p.config.labels;
  p.max_positions = p.config.max_length();
  p.max_length = p.config.default_length();
  if (options.takes_text) load_text_settings(p, path, folder, options);
  return p;
}

}  // namespace m2bert::models
