#include "m2bert/checkpoint/sentence_files.h"

#include <algorithm>

#include "m2bert/checkpoint/folder_fields.h"
#include "m2bert/checkpoint/text.h"
#include "m2bert/error.h"
#include "m2bert/io/json.h"

namespace m2bert::checkpoint {
namespace {

namespace fs = std::filesystem;
using io::Tree;

// The modes that a pooling configuration selects.
std::vector<std::string> modes_of(const Tree& config) {
  std::vector<std::string> flagged, modes;
  for (const auto& [key, mode] : pooling_flags())
    if (config.get(key, false)) flagged.push_back(mode);
  const Tree* named = config.find("pooling_mode");
  if (named && named->is_list()) modes = named->as<std::vector<std::string>>();
  else if (named && !named->is_null()) modes = {named->string()};
  else modes = flagged;
  if (modes.empty()) modes = {"mean"};  // as in sentence-transformers
  return modes;
}

PoolingConfig read_pooling(const fs::path& file) {
  const Tree config = io::read_json(file);
  PoolingConfig pooling;
  std::vector<std::string> read = {"pooling_mode", "include_prompt"};
  for (const auto& flag : pooling_flags()) read.push_back(flag.first);
  for (const auto* field : other_fields(config, "Pooling", read))
    pooling.error = field->value.location() + ": the field '" + std::string(printable(field->key)) + "' of the pooling is not known";
  pooling.modes = modes_of(config);
  for (const auto& mode : pooling.modes) {
    if (std::ranges::find(pooling_modes(), mode) == pooling_modes().end())
      pooling.error = config.at("pooling_mode").where() + "there is no pooling '" + std::string(printable(mode)) + "'";
  }
  pooling.include_prompt = config.get("include_prompt", true);
  pooling.dimension = config.get("word_embedding_dimension", config.get("embedding_dimension", -1));
  return pooling;
}

// Modules read and write "sentence_embedding"; other names belong to models of several vectors.
void require_sentence_vectors(const Tree& config) {
  for (const char* key : {"module_input_name", "module_output_name"}) {
    if (const Tree* name = config.find(key); name && !name->is_null() && name->string() != "sentence_embedding")
      name->wants("sentence_embedding, the vector of a text");
  }
}

void note_ignored(ModelFolder& out, const Tree& map, std::string_view file, const std::vector<std::string>& read) {
  for (const auto* field : other_fields(map, file, read)) out.ignored.push_back(field->value.location() + ": " + field->key);
}

void read_dense(ModelFolder& out, VectorModule& d) {
  const fs::path file = d.folder / "config.json";
  const Tree config = io::read_json(file);
  note_ignored(out, config, "Dense",
               {"in_features", "out_features", "bias", "activation_function", "use_residual", "module_input_name", "module_output_name"});
  require_sentence_vectors(config);
  d.in_features = config.at("in_features").as<int>();
  d.out_features = config.at("out_features").as<int>();
  require(d.in_features > 0 && d.out_features > 0, file.string(), ": in_features ", d.in_features, " and out_features ", d.out_features,
          " must be positive");
  d.bias = config.get("bias", true);
  d.residual = config.get("use_residual", false);
  d.activation = config.get<std::string>("activation_function", "torch.nn.modules.activation.Tanh");
  d.weights = find_weights(d.folder).front();
}

// The module's name, without the packages around it. Modules of other packages run code that is not there.
std::string kind_of(const Tree& type) {
  const std::string& name = type.string();
  if (!name.starts_with("sentence_transformers.")) type.wants("a module of sentence_transformers (code of a model folder is never run)");
  return name.substr(name.rfind('.') + 1);
}

VectorModule read_vector_module(ModelFolder& out, const std::string& kind, const Tree& type, const fs::path& folder) {
  VectorModule module{.folder = folder};
  if (kind == "Dense") {
    module.kind = VectorModule::Kind::dense;
    read_dense(out, module);
  } else if (kind == "LayerNorm") {
    module.kind = VectorModule::Kind::layer_norm;
    const Tree config = io::read_json(folder / "config.json");
    refuse_other_fields(config, kind, {});
    module.weights = find_weights(folder).front();
  } else if (kind == "Normalize") {
    if (fs::is_regular_file(folder / "config.json")) require_sentence_vectors(io::read_json(folder / "config.json"));
  } else {
    type.wants("a module among Transformer, Pooling, Dense, LayerNorm, Normalize, Dropout");
  }
  return module;
}

// One module after the first.
void read_module(ModelFolder& out, const Tree& module) {
  const Tree& type = module.at("type");
  const std::string kind = kind_of(type);
  const fs::path folder = path_inside(out.root, module.get<std::string>("path", ""), module.where());
  if (kind == "Transformer") type.wants("Transformer for the first module and for no other");
  if (kind == "Pooling") {
    if (out.pooling || !out.modules.empty()) type.wants("one Pooling, after the Transformer");
    out.pooling = read_pooling(folder / "config.json");
  } else if (kind != "Dropout") {  // which does nothing outside of training
    out.modules.push_back(read_vector_module(out, kind, type, folder));
  }
}

void read_modules(ModelFolder& out) {
  const fs::path file = out.root / "modules.json";
  const Tree modules = io::read_json(file);
  require(!modules.items().empty(), file.string(), ": names no module");
  for (const Tree& module : modules.items()) {
    note_ignored(out, module, "modules.json", {"path", "type", "kwargs"});
    if (const Tree* kwargs = module.find("kwargs"); kwargs && kwargs->size() > 0)
      kwargs->wants("no arguments of encode(): they are not supported");
    if (&module != &modules.items().front()) {
      read_module(out, module);
      continue;
    }
    if (kind_of(module.at("type")) != "Transformer") module.at("type").wants("Transformer for the first module and for no other");
    out.model = path_inside(out.root, module.get<std::string>("path", ""), module.where());
  }
  while (!out.modules.empty() && out.modules.back().kind == VectorModule::Kind::normalize) {
    out.normalize = true;
    out.modules.pop_back();
  }
}

// Arguments that Transformer passes on to Transformers, under their old or new name.
const Tree* arguments(const Tree& config, const char* name, const char* old_name) {
  const Tree* found = config.find(name);
  if (!found) found = config.find(old_name);
  return found && !found->is_null() ? found : nullptr;
}

void read_arguments(ModelFolder& out, const Tree& config) {
  const std::pair<const char*, const char*> all[] = {
      {"model_kwargs", "model_args"}, {"processor_kwargs", "tokenizer_args"}, {"config_kwargs", "config_args"}};
  for (const auto& [name, old_name] : all) {
    const Tree* given = arguments(config, name, old_name);
    if (!given) continue;
    for (const auto& [key, value] : given->members()) {
      if (key == "model_max_length" && std::string_view(old_name) == "tokenizer_args") out.max_seq_length = value.as<int>();
      else if (!is_harmless("sentence_bert_config.json", std::string(old_name) + "." + key))
        fail(value.where(), "this argument is not supported, and could change the vectors; remove it if it does not matter");
    }
  }
}

// The default output is the states of the tokens, which Pooling reduces. The pooler's output is a vector already.
void read_output(ModelFolder& out, const Tree& config) {
  if (const Tree* task = config.find("transformer_task"); task && !task->is_null() && task->string() != "feature-extraction") {
    out.vectors_error = task->where() + "the model is for " + std::string(printable(task->string())) + ", which does not give vectors";
    return;
  }
  std::string output = "last_hidden_state";
  if (const Tree* modalities = config.find("modality_config"); modalities && !modalities->is_null()) {
    for (const auto& [name, value] : modalities->members())
      if (name != "text") value.wants("text alone: other inputs are not supported");
    const Tree& text = modalities->at("text");
    if (text.at("method").string() != "forward") text.at("method").wants("forward");
    output = text.at("method_output_name").string();
    if (output != "last_hidden_state" && output != "pooler_output")
      text.at("method_output_name").wants("last_hidden_state or pooler_output");
  }
  const std::string expected = output == "pooler_output" ? "sentence_embedding" : "token_embeddings";
  if (const Tree* name = config.find("module_output_name"); name && !name->is_null() && name->string() != expected)
    name->wants(expected + ", where the model gives " + output);
  out.pooler = output == "pooler_output";
}

void read_transformer_options(ModelFolder& out) {
  // The names that sentence-transformers tries, in its order.
  for (const char* kind : {"bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet"}) {
    const fs::path file = out.model / ("sentence_" + std::string(kind) + "_config.json");
    if (!fs::is_regular_file(file)) continue;
    const Tree config = io::read_json(file);
    if (config.members().empty()) continue;
    refuse_other_fields(
        config, "sentence_bert_config.json",
        {"max_seq_length", "do_lower_case", "transformer_task", "modality_config", "module_output_name", "model_args", "tokenizer_args",
         "config_args", "model_kwargs", "processor_kwargs", "config_kwargs", "processing_kwargs", "query_expansion"});
    for (const char* key : {"processing_kwargs", "query_expansion"})
      if (const Tree* value = config.find(key); value && value->size() > 0) value->wants("no settings: they are not supported");
    out.max_seq_length = config.get_optional<int>("max_seq_length");
    out.do_lower_case = config.get_optional<bool>("do_lower_case");
    read_arguments(out, config);
    read_output(out, config);
    require(!out.max_seq_length || *out.max_seq_length > 0, file.string(), ": max_seq_length is ", out.max_seq_length.value_or(0),
            ", wants a positive number");
    return;
  }
}

void read_prompts(ModelFolder& out, const Tree& config, const fs::path& file) {
  if (const Tree* prompts = config.find("prompts"); prompts && !prompts->is_null())
    for (const auto& m : prompts->members()) out.prompts.emplace(m.key, m.value.is_null() ? "" : m.value.string());
  out.default_prompt = config.get<std::string>("default_prompt_name", "");
  for (const char* name : {"query", "document"})  // sentence-transformers has them in every model
    if (out.default_prompt == name) out.prompts.emplace(name, "");
  require(out.default_prompt.empty() || out.prompts.contains(out.default_prompt), file.string(), ": default_prompt_name '",
          printable(out.default_prompt), "' is none of the prompts");
}

void read_sentence_config(ModelFolder& out) {
  const fs::path file = out.root / "config_sentence_transformers.json";
  if (!fs::is_regular_file(file)) return;
  const Tree config = io::read_json(file);
  note_ignored(out, config, "config_sentence_transformers.json",
               {"model_type", "prompts", "default_prompt_name", "similarity_fn_name", "truncate_dim"});
  if (const Tree* type = config.find("model_type"); type && !type->is_null() && type->string() != "SentenceTransformer")
    out.vectors_error = type->where() + "a " + std::string(printable(type->string())) + " does not give one vector for a text";
  read_prompts(out, config, file);
  out.similarity = config.get<std::string>("similarity_fn_name", "");
  if (const Tree* dim = config.find("truncate_dim"); dim && !dim->is_null()) out.truncate_dim = int(dim->integer(1, 1 << 24));
}

void check_pooling(ModelFolder& out) {
  const std::string file = (out.root / "modules.json").string();
  require(!out.pooler || !out.pooling, file, ": names a Pooling module, but the Transformer gives the pooler's output already");
  if (out.pooler || out.pooling) return;
  out.pooling.emplace();
  out.pooling->error = file + ": names no Pooling module, so it does not say how the states of a text become one vector";
}

}  // namespace

const std::vector<std::pair<std::string, std::string>>& pooling_flags() {
  static const std::vector<std::pair<std::string, std::string>> flags = {{"pooling_mode_cls_token", "cls"},
                                                                         {"pooling_mode_max_tokens", "max"},
                                                                         {"pooling_mode_mean_tokens", "mean"},
                                                                         {"pooling_mode_mean_sqrt_len_tokens", "mean_sqrt_len_tokens"},
                                                                         {"pooling_mode_weightedmean_tokens", "weightedmean"},
                                                                         {"pooling_mode_lasttoken", "lasttoken"}};
  return flags;
}

const std::vector<std::string>& pooling_modes() {
  static const std::vector<std::string> modes = [] {
    std::vector<std::string> names;
    for (const auto& flag : pooling_flags()) names.push_back(flag.second);
    return names;
  }();
  return modes;
}

fs::path path_inside(const fs::path& root, const std::string& relative, const std::string& where) {
  const fs::path path(relative);
  const bool leaves = path.is_absolute() || relative.find('\0') != std::string::npos ||
                      std::any_of(path.begin(), path.end(), [](const fs::path& part) { return part == ".."; });
  require(!leaves, where, "the path '", printable(relative), "' leads out of the folder");
  return relative.empty() ? root : root / path;
}

void read_sentence_files(ModelFolder& out) {
  out.sentence_transformers = true;
  read_modules(out);
  read_transformer_options(out);
  read_sentence_config(out);
  check_pooling(out);
}

}  // namespace m2bert::checkpoint
