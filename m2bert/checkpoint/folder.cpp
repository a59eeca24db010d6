#include "m2bert/checkpoint/folder.h"

#include <algorithm>

#include "m2bert/checkpoint/run_checkpoints.h"
#include "m2bert/checkpoint/text.h"
#include "m2bert/error.h"
#include "m2bert/io/file.h"
#include "m2bert/io/json.h"

namespace m2bert::checkpoint {
namespace {

namespace fs = std::filesystem;
using io::Tree;

// root / relative, which must stay inside root.
fs::path inside(const fs::path& root, const std::string& relative, const std::string& where) {
  fs::path path(relative);
  bool leaves = path.is_absolute() || relative.find('\0') != std::string::npos ||
                std::any_of(path.begin(), path.end(), [](const fs::path& part) { return part == ".."; });
  require(!leaves, where, "the path '", printable(relative), "' leads out of the folder");
  return relative.empty() ? root : root / path;
}

std::vector<fs::path> shards(const fs::path& folder, const fs::path& index_file) {
  Tree index = io::read_json(index_file);
  std::vector<fs::path> out;
  for (const auto& member : index.at("weight_map").members()) {
    fs::path shard = inside(folder, member.value.string(), member.value.where());
    if (std::find(out.begin(), out.end(), shard) == out.end()) out.push_back(shard);
  }
  require(!out.empty(), index_file.string(), ": weight_map names no file");
  for (const auto& shard : out)
    require(fs::is_regular_file(shard), index_file.string(), ": names ", shard.filename().string(), ", which is not in the folder");
  return out;
}

// The weights files of a folder, safetensors before pickles, as transformers prefers them.
std::vector<fs::path> find_weights(const fs::path& folder) {
  for (const char* stem : {"model.safetensors", "pytorch_model.bin"}) {
    if (fs::is_regular_file(folder / stem)) return {folder / stem};
    fs::path index = folder / (std::string(stem) + ".index.json");
    if (fs::is_regular_file(index)) return shards(folder, index);
  }
  if (const auto newest = newest_run_checkpoint(folder)) return {*newest};
  std::vector<fs::path> others;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (is_weights_file(entry.path())) others.push_back(entry.path());
  }
  require(!others.empty(), folder.string(),
          ": no weights in this folder (model.safetensors, pytorch_model.bin or one .pt, .pth, .bin, .safetensors file)");
  std::sort(others.begin(), others.end());
  if (others.size() > 1)  // not require(), whose arguments would be evaluated with a single file too
    fail(folder.string(), ": ", others.size(), " weight files (", others[0].filename().string(), ", ", others[1].filename().string(),
         others.size() > 2 ? ", ...); " : "); ", "name the one to load");
  return others;
}

// The flags of 1_Pooling/config.json, or the "pooling_mode" of newer versions.
PoolingModes read_pooling(const fs::path& file) {
  Tree config = io::read_json(file);
  PoolingModes p;
  struct Flag {
    const char *key, *mode;
    bool& value;
  };
  Flag flags[] = {{"pooling_mode_cls_token", "cls", p.cls},
                  {"pooling_mode_max_tokens", "max", p.max},
                  {"pooling_mode_mean_tokens", "mean", p.mean},
                  {"pooling_mode_mean_sqrt_len_tokens", "mean_sqrt_len_tokens", p.mean_sqrt_len},
                  {"pooling_mode_weightedmean_tokens", "weightedmean", p.weighted_mean},
                  {"pooling_mode_lasttoken", "lasttoken", p.last_token}};
  for (auto& f : flags) f.value = config.get(f.key, false);
  auto set_mode = [&](const Tree& mode) {
    auto f = std::find_if(std::begin(flags), std::end(flags), [&](auto& flag) { return mode.string() == flag.mode; });
    if (f == std::end(flags)) mode.wants("cls, max, mean, mean_sqrt_len_tokens, weightedmean or lasttoken");
    f->value = true;
  };
  if (const Tree* mode = config.find("pooling_mode"); mode && mode->is_list()) {
    for (const auto& m : mode->items()) set_mode(m);
  } else if (mode && !mode->is_null()) {
    set_mode(*mode);
  }
  p.include_prompt = config.get("include_prompt", true);
  p.dimension = config.get("word_embedding_dimension", config.get("embedding_dimension", -1));
  if (!(p.cls || p.max || p.mean || p.mean_sqrt_len || p.weighted_mean || p.last_token)) p.mean = true;  // as sentence-transformers does
  return p;
}

DenseModule read_dense(const fs::path& folder) {
  fs::path file = folder / "config.json";
  Tree config = io::read_json(file);
  DenseModule d;
  d.in_features = config.at("in_features").as<int>();
  d.out_features = config.at("out_features").as<int>();
  require(d.in_features > 0 && d.out_features > 0, file.string(), ": in_features ", d.in_features, " and out_features ", d.out_features,
          " must be positive");
  d.bias = config.get("bias", true);
  d.activation = config.get<std::string>("activation_function", "torch.nn.modules.activation.Tanh");
  d.weights = find_weights(folder).front();
  return d;
}

void read_transformer_options(ModelFolder& out) {
  for (const char* name : {"sentence_bert_config.json", "sentence_roberta_config.json"}) {
    fs::path file = out.model / name;
    if (!fs::is_regular_file(file)) continue;
    Tree config = io::read_json(file);
    out.max_seq_length = config.get_optional<int>("max_seq_length");
    if (out.max_seq_length)
      require(*out.max_seq_length > 0, file.string(), ": max_seq_length is ", *out.max_seq_length, ", wants a positive number");
    out.do_lower_case = config.get_optional<bool>("do_lower_case");
    return;
  }
}

void read_prompts(ModelFolder& out) {
  fs::path file = out.root / "config_sentence_transformers.json";
  if (!fs::is_regular_file(file)) return;
  Tree config = io::read_json(file);
  if (const Tree* prompts = config.find("prompts"); prompts && !prompts->is_null())
    for (const auto& m : prompts->members()) out.prompts.emplace(m.key, m.value.string());
  out.default_prompt = config.get<std::string>("default_prompt_name", "");
  require(out.default_prompt.empty() || out.prompts.contains(out.default_prompt), file.string(), ": default_prompt_name '",
          printable(out.default_prompt), "' is none of the prompts");
  out.similarity = config.get<std::string>("similarity_fn_name", "");
}

void read_modules(ModelFolder& out, const fs::path& file) {
  out.sentence_transformers = true;
  Tree modules = io::read_json(file);
  require(!modules.items().empty(), file.string(), ": names no module");
  bool first = true;
  for (const auto& module : modules.items()) {
    const std::string& type = module.at("type").string();
    std::string kind = type.substr(type.rfind('.') == std::string::npos ? 0 : type.rfind('.') + 1);
    fs::path folder = inside(out.root, module.get<std::string>("path", ""), module.where());
    if (first != (kind == "Transformer")) module.at("type").wants("Transformer for the first module and for no other");
    if (kind == "Transformer") out.model = folder;
    else if (kind == "Pooling") out.pooling = read_pooling(folder / "config.json");
    else if (kind == "Dense") out.dense.push_back(read_dense(folder));
    else if (kind == "Normalize") out.normalize = true;
    else module.at("type").wants("a module among Transformer, Pooling, Dense, Normalize");
    first = false;
  }
}

// A run's recipe says more than its config.json, such as the length of its texts.
bool is_run_folder(const ModelFolder& folder) {
  const auto checkpoints = run_checkpoints(folder.model);
  const bool from_run = std::ranges::find(checkpoints, folder.weights.front()) != checkpoints.end();
  return from_run && fs::is_regular_file(folder.root / "recipe.yaml");
}

// An index may name shards that are missing.
bool has_weights_without_index(const fs::path& folder) {
  bool weights = false, index = false;
  for (const auto& entry : fs::directory_iterator(folder)) {
    weights = weights || is_weights_file(entry.path());
    index = index || entry.path().string().ends_with(".index.json");
  }
  return weights && !index;
}

std::string pooling_json(const PoolingModes& p) {
  Tree t = Tree::map();
  t.set("word_embedding_dimension", p.dimension);
  t.set("pooling_mode_cls_token", p.cls);
  t.set("pooling_mode_mean_tokens", p.mean);
  t.set("pooling_mode_max_tokens", p.max);
  t.set("pooling_mode_mean_sqrt_len_tokens", p.mean_sqrt_len);
  t.set("pooling_mode_weightedmean_tokens", p.weighted_mean);
  t.set("pooling_mode_lasttoken", p.last_token);
  t.set("include_prompt", p.include_prompt);
  return io::to_json(t, 2) + "\n";
}

std::string modules_json(bool normalize) {
  Tree list = Tree::list();
  auto add = [&](const char* path, const std::string& kind) {
    Tree module = Tree::map();
    module.set("idx", list.size());
    module.set("name", std::to_string(list.size()));
    module.set("path", path);
    module.set("type", "sentence_transformers.models." + kind);
    list.push_back(std::move(module));
  };
  add("", "Transformer");
  add("1_Pooling", "Pooling");
  if (normalize) add("2_Normalize", "Normalize");
  return io::to_json(list, 2) + "\n";
}

}  // namespace

bool is_weights_file(const fs::path& file) {
  const auto extension = file.extension();
  const bool weights = extension == ".safetensors" || extension == ".bin" || extension == ".pt" || extension == ".pth";
  return weights && fs::is_regular_file(file) && file.filename() != "training_args.bin";
}

ModelFolder read_folder(const fs::path& folder) {
  require(fs::is_directory(folder), folder.string(), ": not a folder");
  ModelFolder out;
  out.root = out.model = folder;
  if (fs::path modules = folder / "modules.json"; fs::is_regular_file(modules)) {
    read_modules(out, modules);
    read_transformer_options(out);
    read_prompts(out);
  }
  if (fs::is_regular_file(out.model / "config.json")) out.config = out.model / "config.json";
  out.weights = find_weights(out.model);
  if (is_run_folder(out)) out.config = folder / "recipe.yaml";
  return out;
}

bool holds_model(const fs::path& folder) {
  if (!fs::is_directory(folder)) return false;
  try {
    return !read_folder(folder).weights.empty();
  } catch (const std::exception&) {
    return has_weights_without_index(folder);
  }
}

void write_folder_description(const fs::path& folder, const FolderDescription& d) {
  fs::create_directories(folder);
  io::write_file(folder / "config.json", d.config_json);
  if (!d.sentence_transformers) return;
  fs::create_directories(folder / "1_Pooling");
  io::write_file(folder / "1_Pooling" / "config.json", pooling_json(d.pooling));
  if (d.normalize) fs::create_directories(folder / "2_Normalize");
  Tree options = Tree::map();
  if (d.max_seq_length) options.set("max_seq_length", *d.max_seq_length);
  options.set("do_lower_case", d.do_lower_case.value_or(false));
  io::write_file(folder / "sentence_bert_config.json", io::to_json(options, 2) + "\n");
  Tree prompts = Tree::map(), top = Tree::map();
  for (const auto& [name, text] : d.prompts) prompts.set(name, text);
  top.set("prompts", std::move(prompts));
  top.set("default_prompt_name", d.default_prompt.empty() ? Tree() : Tree(d.default_prompt));
  top.set("similarity_fn_name", "cosine");
  io::write_file(folder / "config_sentence_transformers.json", io::to_json(top, 2) + "\n");
  io::write_file(folder / "modules.json", modules_json(d.normalize));
}

}  // namespace m2bert::checkpoint
