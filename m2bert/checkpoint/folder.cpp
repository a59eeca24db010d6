#include "m2bert/checkpoint/folder.h"

#include <algorithm>
#include <functional>
#include <regex>

#include "m2bert/checkpoint/run_checkpoints.h"
#include "m2bert/checkpoint/sentence_files.h"
#include "m2bert/error.h"
#include "m2bert/io/file.h"
#include "m2bert/io/json.h"

namespace m2bert::checkpoint {
namespace {

namespace fs = std::filesystem;
using io::Tree;

std::vector<fs::path> shards(const fs::path& folder, const fs::path& index_file) {
  Tree index = io::read_json(index_file);
  std::vector<fs::path> out;
  for (const auto& member : index.at("weight_map").members()) {
    fs::path shard = path_inside(folder, member.value.string(), member.value.where());
    if (std::find(out.begin(), out.end(), shard) == out.end()) out.push_back(shard);
  }
  require(!out.empty(), index_file.string(), ": weight_map names no file");
  for (const auto& shard : out)
    require(fs::is_regular_file(shard), index_file.string(), ": names ", shard.filename().string(), ", which is not in the folder");
  return out;
}

// model-00001-of-00002.safetensors without model.safetensors.index.json, which says that there are more shards.
void require_index(const fs::path& file, size_t files) {
  static const std::regex shard(R"((.+)-\d{5}-of-\d{5}(\.(?:safetensors|bin)))");
  std::smatch match;
  const std::string name = file.filename().string();
  if (!std::regex_match(name, match, shard)) return;
  fail(file.parent_path().string(), ": ", match[1].str(), match[2].str(), ".index.json is missing: ", name,
       files > 1 ? " and others are parts" : " is a part",
       " of a model, and the index lists its parts. Copy the index from where the model came from, or save the model anew");
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

std::string pooling_json(const PoolingConfig& p) {
  Tree t = Tree::map();
  t.set("word_embedding_dimension", p.dimension);
  const auto follows = [](const std::string& a, const std::string& b) {
    return std::ranges::find(pooling_modes(), a) < std::ranges::find(pooling_modes(), b);
  };
  if (std::ranges::adjacent_find(p.modes, std::not_fn(follows)) == p.modes.end()) {  // in the flags' order, which all versions read
    for (const auto& [key, mode] : pooling_flags()) t.set(key, std::ranges::find(p.modes, mode) != p.modes.end());
  } else {
    t.set("pooling_mode", Tree::list({p.modes.begin(), p.modes.end()}));
  }
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
  for (const auto& file : others) require_index(file, others.size());
  if (others.size() > 1)  // not require(), whose arguments would be evaluated with a single file too
    fail(folder.string(), ": ", others.size(), " weight files (", others[0].filename().string(), ", ", others[1].filename().string(),
         others.size() > 2 ? ", ...); " : "); ", "name the one to load");
  return others;
}

bool is_weights_file(const fs::path& file) {
  const auto extension = file.extension();
  const bool weights = extension == ".safetensors" || extension == ".bin" || extension == ".pt" || extension == ".pth";
  return weights && fs::is_regular_file(file) && file.filename() != "training_args.bin";
}

ModelFolder read_folder(const fs::path& folder) {
  require(fs::is_directory(folder), folder.string(), ": not a folder");
  ModelFolder out;
  out.root = out.model = folder;
  if (fs::is_regular_file(folder / "modules.json")) read_sentence_files(out);
  require(
      !fs::exists(out.model / "adapter_config.json"), (out.model / "adapter_config.json").string(),
      ": this is a PEFT adapter, which changes the weights of another model. Merge them in Python (merge_and_unload) and save the result");
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
