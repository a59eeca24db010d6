#include "m2bert/checkpoint/convert.h"

#include <algorithm>
#include <set>
#include <unordered_map>

#include "m2bert/checkpoint/folder.h"
#include "m2bert/checkpoint/quantize.h"
#include "m2bert/checkpoint/safetensors.h"
#include "m2bert/checkpoint/text.h"
#include "m2bert/checkpoint/torch_file.h"
#include "m2bert/checkpoint/weights.h"
#include "m2bert/error.h"
#include "m2bert/io/atomic_folder.h"
#include "m2bert/io/file.h"
#include "m2bert/io/json.h"
#include "m2bert/io/log.h"
#include "m2bert/io/path.h"

namespace m2bert::checkpoint {
namespace {

namespace fs = std::filesystem;

bool all_finite(const mx::array& a) { return mx::all(mx::isfinite(a)).item<bool>(); }

// A weight that is not finite makes every vector NaN, and in int8 its scale cannot be read back.
void require_finite(const std::string& file, const std::string& name, const mx::array& before, const mx::array& after, const char* dtype) {
  if (all_finite(after)) return;
  require(all_finite(before), file, ": '", printable(name), "' has NaN or infinite values, which cannot become ", dtype);
  fail(file, ": '", printable(name), "' has values up to ", mx::astype(mx::max(mx::abs(before)), mx::float32).item<float>(), ", more than ",
       dtype, " can hold; bfloat16 and float32 can");
}

void require_finite(const std::string& file, const TensorMap& tensors, const char* dtype) {
  for (const auto& [name, a] : tensors)
    if (mx::issubdtype(a.dtype(), mx::floating)) require_finite(file, name, a, a, dtype);
}

// Casts floating-point arrays; tied arrays stay tied. The filters of the long convolution are not narrowed: their rounding would affect
// every token, and the models keep them in float32 too.
void change_dtype(TensorMap& tensors, mx::Dtype dtype, const std::string& file) {
  if (dtype == mx::int8) {
    require_finite(file, tensors, "int8");
    tensors = quantize(tensors);
    return;
  }
  bool known = dtype == mx::float32 || dtype == mx::float16 || dtype == mx::bfloat16;
  require(known, "[convert] dtype ", dtype_name(dtype), ", wants float32, float16, bfloat16 or int8");
  tensors = dequantize(tensors);
  std::unordered_map<std::uintptr_t, mx::array> done;  // by id; `tensors` keeps the arrays alive
  TensorMap out;
  for (const auto& [name, a] : tensors) {
    bool narrower = mx::size_of(dtype) < mx::size_of(a.dtype());
    bool filter = name.find(".filter_fn") != std::string::npos && narrower;
    bool change = mx::issubdtype(a.dtype(), mx::floating) && a.dtype() != dtype && !filter;
    if (!change) {
      out.emplace_back(name, a);
      continue;
    }
    auto [cast, added] = done.try_emplace(a.id(), mx::astype(a, dtype));
    if (added && (narrower || dtype == mx::float16)) require_finite(file, name, a, cast->second, dtype_name(dtype).c_str());
    out.emplace_back(name, cast->second);
  }
  tensors = std::move(out);
}

const std::set<std::string> tokenizer_names = {"vocab.txt", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
                                               "added_tokens.json"};

bool is_tokenizer_file(const std::string& name) { return tokenizer_names.contains(name); }

// The text of config.json.
std::string config_text(const std::optional<ModelFolder>& in, const ConvertOptions& o) {
  std::string text = o.config_json;
  if (text.empty() && in && in->config.extension() == ".json") text = io::read_file(in->config);
  require(!text.empty(), "a model folder needs a config.json, and the input has none: name the model's configuration (--config FILE)");
  return text;
}

std::string text_of(const std::vector<std::string>& names) {
  std::string text;
  for (const auto& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

// A sentence-transformers folder whose input says nothing about vectors.
FolderDescription describe(const std::string& config_json, const ConvertOptions& o, int hidden) {
  FolderDescription d;
  d.config_json = config_json;
  d.sentence_transformers = true;
  require(!o.pooling.empty(), "[convert] pooling is empty, wants the modes of a sentence-transformers folder");
  d.pooler = o.pooling == std::vector<std::string>{"pooler"};
  for (const auto& mode : o.pooling)
    require(d.pooler || std::ranges::find(pooling_modes(), mode) != pooling_modes().end(), "pooling '", mode,
            "': a sentence-transformers folder has ", text_of(pooling_modes()), ", several of them, or pooler alone");
  d.pooling.modes = o.pooling;
  d.pooling.dimension = hidden;
  d.normalize = o.normalize;
  if (o.max_seq_length > 0) d.max_seq_length = o.max_seq_length;
  return d;
}

int hidden_of(const TensorMap& tensors) {
  for (const auto& [name, a] : tensors)
    if (name.ends_with("word_embeddings.weight") && a.ndim() == 2) return a.shape(1);
  return -1;
}

using Files = std::map<fs::path, std::string>;  // relative to a folder

struct NewFolder {
  Files files;
  fs::path model;                                // where the weights are in it
  std::optional<FolderDescription> description;  // of sentence-transformers, if `files` has none
};

bool is_sentence_config(const std::string& name) {
  return name == "config_sentence_transformers.json" || (name.starts_with("sentence_") && name.ends_with("_config.json"));
}

// Adds what describes a model in a folder: `from`, which is at `at` in the new one.
void add_description(Files& files, const fs::path& from, const fs::path& at) {
  for (const auto& [name, text] : tokenizer_files(from)) files[at / name] = text;
  for (const auto& entry : fs::directory_iterator(from)) {
    const std::string name = entry.path().filename().string();
    if (entry.is_regular_file() && (name == "config.json" || is_sentence_config(name))) files[at / name] = io::read_file(entry.path());
  }
}

// The files of a sentence-transformers folder without the model's weights. They are copied as they are, so that every field survives.
Files sentence_files(const ModelFolder& in) {
  Files files;
  add_description(files, in.root, "");
  add_description(files, in.model, fs::relative(in.model, in.root));
  files["modules.json"] = io::read_file(in.root / "modules.json");
  const io::Tree modules = io::parse_json(files["modules.json"], "modules.json");
  for (const auto& module : modules.items()) {
    const fs::path relative = module.get<std::string>("path", ""), folder = in.root / relative;
    if (relative.empty() || folder == in.model || !fs::is_directory(folder)) continue;
    for (const auto& entry : fs::directory_iterator(folder))
      if (entry.is_regular_file()) files[relative / entry.path().filename()] = io::read_file(entry.path());
  }
  return files;
}

// The tokenizer of the input, for a folder that is no copy of a sentence-transformers folder.
Files tokenizer_of(const std::optional<ModelFolder>& in) {
  Files files;
  const auto place = in ? tokenizer_folder(*in) : std::nullopt;
  if (place)
    for (const auto& [name, text] : tokenizer_files(*place)) files[name] = text;
  return files;
}

void replace_tokenizer(Files& files, const fs::path& model, const std::map<std::string, std::string>& tokenizer) {
  std::erase_if(files, [](const auto& file) { return is_tokenizer_file(file.first.filename().string()); });
  for (const auto& [name, text] : tokenizer) files[model / name] = text;
}

// Where sentence-transformers' own limit has no place, the tokenizer's limit takes it, and the model's: M2-BERT does not heed the first.
void keep_length(NewFolder& out, const ModelFolder& in) {
  if (!in.max_seq_length) return;
  for (const auto& [file, field] : {std::pair{"tokenizer_config.json", "model_max_length"}, {"config.json", "max_seq_len"}})
    set_json_field(out.files[file], (in.model / file).string(), field, *in.max_seq_length);
}

// config.json with the dtype that the weights have now, where it names one, and with the mark of int8 weights.
void update_dtype(std::string& config_json, const std::optional<mx::Dtype>& dtype, bool quantized) {
  io::Tree config = io::parse_json(config_json, "config.json");
  if (!config.is_map()) return;
  bool changed = false;
  for (const char* key : {"torch_dtype", "dtype"}) {
    if (!dtype || *dtype == mx::int8 || !config.contains(key)) continue;
    config.set(key, dtype_name(*dtype));
    changed = true;
  }
  if (quantized) config.set("quantization_config", io::Tree{{"format", int8_format}});
  changed = quantized || config.as_map().erase("quantization_config") || changed;
  if (changed) config_json = io::to_json(config, 2) + "\n";
}

// What a Hugging Face folder cannot say.
std::string lost(const ModelFolder& in) {
  std::string out = "pooling";
  if (!in.modules.empty()) out += ", the modules after it";
  if (in.normalize) out += ", normalisation";
  if (in.truncate_dim) out += ", truncate_dim";
  if (!in.prompts.empty()) out += ", prompts";
  if (!in.similarity.empty()) out += ", similarity function";
  if (in.do_lower_case.value_or(false)) out += ", lower-casing";
  return out;
}

bool is_shard(const std::string& name, const std::string& stem, const std::string& end) {
  return name.starts_with(stem + "-") && name.find("-of-") != std::string::npos && name.ends_with(end);
}

// Files that a model folder consists of.
bool is_model_file(const std::string& name) {
  static const std::set<std::string> names = {
      "config.json",       "generation_config.json",      "modules.json", "model.safetensors", "model.safetensors.index.json",
      "pytorch_model.bin", "pytorch_model.bin.index.json"};
  return names.contains(name) || is_sentence_config(name) || is_tokenizer_file(name) || is_shard(name, "model", ".safetensors") ||
         is_shard(name, "pytorch_model", ".bin");
}

// A folder that is replaced loses its files.
void check_replaced(const fs::path& in, const fs::path& out) {
  std::error_code none;
  require(!io::is_inside(in, out), out.string(), ": the input ", in.string(), " is in this folder, which would be replaced; name another");
  require(!io::is_inside(fs::current_path(none), out), out.string(), ": is the current folder, or holds it, and would be replaced");
  for (const auto& entry : fs::recursive_directory_iterator(out)) {
    const bool known = entry.is_directory() ? !entry.is_symlink() : is_model_file(entry.path().filename().string());
    require(known, out.string(), ": holds ", fs::relative(entry.path(), out).string(),
            ", which does not belong to a model folder and would be lost; move it away, or name another output");
  }
}

// Whether a file is one of a folder's, or one that they are links to.
bool is_file_of(const fs::path& folder, const fs::path& file) {
  std::error_code none;
  if (!fs::is_directory(folder, none) || !fs::is_regular_file(file, none)) return false;
  for (const auto& entry : fs::recursive_directory_iterator(folder))
    if (entry.is_regular_file(none) && fs::equivalent(entry.path(), file, none)) return true;
  return false;
}

void check_output(const fs::path& in, const fs::path& out, Target target) {
  std::error_code none;
  require(!fs::exists(out, none) || !fs::equivalent(in, out, none), out.string(), ": the output is the input; name another one");
  require(!is_file_of(in, out), out.string(), ": is a file of the input ", in.string(), ", which would be lost; name another output");
  bool folder_there = fs::is_directory(out, none);
  require(folder_there == is_folder(target) || !fs::exists(out, none), out.string(), ": is ", folder_there ? "a folder" : "a file",
          " already; name another output");
  if (folder_there) check_replaced(in, out);
}

std::vector<fs::path> weight_files(const fs::path& in, const std::optional<ModelFolder>& folder) {
  return folder ? folder->weights : std::vector{in};
}

// The metadata of the input that still holds: not the names of tied tensors, which are written anew, and not the state of a run.
std::map<std::string, std::string> kept_metadata(const std::vector<fs::path>& files) {
  std::map<std::string, std::string> kept;
  for (const auto& path : files) {
    const auto file = TensorFile::open(path);
    for (const auto& [key, value] : file->metadata()) {
      const bool tie = file->find(value) != nullptr;
      if (key != "format" && !tie && !key.starts_with("m2bert.")) kept.emplace(key, value);
    }
  }
  return kept;
}

NewFolder plan_folder(const std::optional<ModelFolder>& in, Target target, const ConvertOptions& options, const TensorMap& tensors) {
  NewFolder out;
  std::string config = config_text(in, options);
  update_dtype(config, options.dtype, options.dtype ? *options.dtype == mx::int8 : is_quantized(tensors));
  const bool from_sentence = in && in->sentence_transformers, sentence = target == Target::sentence_transformers;
  if (from_sentence && sentence) out.model = fs::relative(in->model, in->root);
  if (out.model == ".") out.model.clear();
  out.files = from_sentence && sentence ? sentence_files(*in) : tokenizer_of(in);
  if (!options.tokenizer.empty()) replace_tokenizer(out.files, out.model, options.tokenizer);
  if (sentence && !from_sentence) out.description = describe(config, options, hidden_of(tensors));
  out.files[out.model / "config.json"] = config;
  if (from_sentence && !sentence) keep_length(out, *in);
  return out;
}

uint64_t write_folder(const fs::path& out, const NewFolder& plan, const TensorMap& tensors,
                      const std::map<std::string, std::string>& metadata) {
  io::AtomicFolder folder(out);
  if (plan.description) write_folder_description(folder.path(), *plan.description);
  for (const auto& [name, text] : plan.files) io::write_file(folder.file(name), text);
  const fs::path weights = folder.file(plan.model / "model.safetensors");
  save_safetensors(weights, tensors, metadata);
  const uint64_t bytes = fs::file_size(weights);
  folder.commit();
  return bytes;
}

// Writes one file; returns its size.
uint64_t write_weights(const fs::path& out, Target target, const TensorMap& tensors, const std::map<std::string, std::string>& metadata) {
  if (target == Target::safetensors) {
    save_safetensors(out, tensors, metadata);
  } else {
    if (!metadata.empty()) io::warn(out.string(), ": a .pt file has no place for the metadata of the input, which are left out");
    save_composer_pt(out, tensors);
  }
  return fs::is_regular_file(out) ? fs::file_size(out) : 0;  // a device has no size
}

// An input folder of sentence-transformers becomes one, unless the options say otherwise.
Target choose_target(const fs::path& out, const std::optional<ModelFolder>& in, const ConvertOptions& options) {
  if (options.target) return *options.target;
  const Target target = target_of(out);
  return target == Target::hugging_face && in && in->sentence_transformers ? Target::sentence_transformers : target;
}

}  // namespace

void set_json_field(std::string& json, const std::string& source, const std::string& field, int value) {
  io::Tree map = json.empty() ? io::Tree::map() : io::parse_json(json, source);
  map.set(field, value);
  json = io::to_json(map, 2) + "\n";
}

bool is_folder(Target t) { return t == Target::hugging_face || t == Target::sentence_transformers; }

Target target_of(const fs::path& out) {
  if (fs::is_directory(out)) return Target::hugging_face;
  auto extension = out.extension();
  if (extension == ".safetensors" || extension == ".bin") return Target::safetensors;
  if (extension == ".pt" || extension == ".pth") return Target::composer_pt;
  if (extension.empty()) return Target::hugging_face;
  fail(out.string(), ": the name does not say what to write: .safetensors (or .bin) is a safetensors file, .pt (or .pth) a PyTorch file, ",
       "and a name without extension a model folder; other formats are not written");
}

std::map<std::string, std::string> tokenizer_files(const fs::path& folder) {
  std::map<std::string, std::string> files;
  for (const auto& name : tokenizer_names)
    if (fs::is_regular_file(folder / name)) files.emplace(name, io::read_file(folder / name));
  return files;
}

ConvertReport convert(const fs::path& in, const fs::path& out, const ConvertOptions& options) {
  const fs::path clean = io::follow_links(out.filename().empty() ? out.parent_path() : out);
  check_output(in, clean, options.target ? *options.target : target_of(clean));
  std::optional<ModelFolder> folder;
  if (fs::is_directory(in)) folder = read_folder(in);
  ConvertReport report;
  report.target = choose_target(clean, folder, options);
  if (folder && folder->sentence_transformers && report.target == Target::hugging_face)
    io::warn(clean.string(), ": a Hugging Face folder does not say how vectors are made; left out from ", in.string(), ": ", lost(*folder));

  TensorMap tensors = load_weights(in, options.copy);
  check_scales(tensors, in.string());
  for (const auto& file : weight_files(in, folder)) report.bytes_in += fs::file_size(file);
  ConvertOptions how = options;
  if (options.configure) {
    ModelDescription model = options.configure(tensors);
    if (!model.config_json.empty()) how.config_json = std::move(model.config_json);
    if (how.pooling.empty()) how.pooling = std::move(model.pooling);
  }
  std::optional<NewFolder> plan;
  if (is_folder(report.target)) plan = plan_folder(folder, report.target, how, tensors);
  if (options.dtype) change_dtype(tensors, *options.dtype, in.string());
  require(report.target != Target::composer_pt || !is_quantized(tensors), clean.string(),
          ": int8 weights can only be written as safetensors; name a .safetensors file or a folder, or another dtype");
  report.tensors = tensors.size();
  const auto metadata = kept_metadata(weight_files(in, folder));
  report.bytes_out = plan ? write_folder(clean, *plan, tensors, metadata) : write_weights(clean, report.target, tensors, metadata);
  return report;
}

}  // namespace m2bert::checkpoint
