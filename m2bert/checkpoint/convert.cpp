#include "m2bert/checkpoint/convert.h"

#include <algorithm>
#include <unordered_map>

#include "m2bert/checkpoint/folder.h"
#include "m2bert/checkpoint/quantize.h"
#include "m2bert/checkpoint/safetensors.h"
#include "m2bert/checkpoint/torch_file.h"
#include "m2bert/checkpoint/weights.h"
#include "m2bert/error.h"
#include "m2bert/io/file.h"
#include "m2bert/io/log.h"
#include "m2bert/io/path.h"

namespace m2bert::checkpoint {
namespace {

namespace fs = std::filesystem;

// Casts floating-point arrays; tied arrays stay tied. The filters of the long convolution are not narrowed: their rounding would affect
// every token, and the models keep them in float32 too.
void change_dtype(TensorMap& tensors, mx::Dtype dtype) {
  if (dtype == mx::int8) {
    tensors = quantize(tensors);
    return;
  }
  bool known = dtype == mx::float32 || dtype == mx::float16 || dtype == mx::bfloat16;
  require(known, "[convert] dtype ", dtype_name(dtype), ", wants float32, float16, bfloat16 or int8");
  tensors = dequantize(tensors);
  std::unordered_map<std::uintptr_t, mx::array> done;  // by id; `tensors` keeps the arrays alive
  TensorMap out;
  for (const auto& [name, a] : tensors) {
    bool filter = name.find(".filter_fn") != std::string::npos && mx::size_of(dtype) < mx::size_of(a.dtype());
    bool change = mx::issubdtype(a.dtype(), mx::floating) && a.dtype() != dtype && !filter;
    out.emplace_back(name, change ? done.try_emplace(a.id(), mx::astype(a, dtype)).first->second : a);
  }
  tensors = std::move(out);
}

// Files of the tokenizer.
void copy_tokenizer(const fs::path& from, const fs::path& to) {
  for (const char* name : {"vocab.txt", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"})
    if (fs::is_regular_file(from / name)) io::write_file(to / name, io::read_file(from / name));
}

FolderDescription describe(const std::optional<ModelFolder>& in, const ConvertOptions& o, bool sentence_transformers, int hidden) {
  FolderDescription d;
  d.config_json = o.config_json;
  if (d.config_json.empty() && in && !in->config.empty()) d.config_json = io::read_file(in->config);
  require(!d.config_json.empty(),
          "a model folder needs a config.json, and the input has none: name the model's configuration (--config FILE)");
  d.sentence_transformers = sentence_transformers;
  if (!sentence_transformers) return d;
  if (in && in->sentence_transformers) {
    require(in->dense.empty(), "[convert] ", in->root.string(), " has Dense modules, which are not written");
    d.pooling = in->pooling.value_or(PoolingModes{.mean = true});
    d.normalize = in->normalize;
    d.max_seq_length = in->max_seq_length;
    d.do_lower_case = in->do_lower_case;
    d.prompts = in->prompts;
    d.default_prompt = in->default_prompt;
  } else {
    require(o.pooling == "cls" || o.pooling == "mean", "[convert] pooling '", o.pooling, "', wants cls or mean");
    d.pooling.cls = o.pooling == "cls";
    d.pooling.mean = o.pooling == "mean";
    d.normalize = o.normalize;
    if (o.max_seq_length > 0) d.max_seq_length = o.max_seq_length;
  }
  if (d.pooling.dimension < 0) d.pooling.dimension = hidden;
  return d;
}

int hidden_of(const TensorMap& tensors) {
  for (const auto& [name, a] : tensors)
    if (name.ends_with("word_embeddings.weight") && a.ndim() == 2) return a.shape(1);
  return -1;
}

void check_output(const fs::path& in, const fs::path& out, Target target) {
  std::error_code none;
  require(!fs::exists(out, none) || !fs::equivalent(in, out, none), out.string(), ": the output is the input; name another one");
  bool folder_there = fs::is_directory(out, none);
  require(folder_there == is_folder(target) || !fs::exists(out, none), out.string(), ": is ", folder_there ? "a folder" : "a file",
          " already; name another output");
}

uint64_t size_of_input(const fs::path& in, const std::optional<ModelFolder>& folder) {
  uint64_t bytes = 0;
  if (!folder) return fs::file_size(in);
  for (const auto& f : folder->weights) bytes += fs::file_size(f);
  return bytes;
}

// A new folder is written under a temporary name and renamed when it is complete; an existing one gets its files one by one, weights last.
uint64_t write_folder(const fs::path& out, const FolderDescription& description, const std::optional<ModelFolder>& in,
                      const TensorMap& tensors) {
  bool fresh = !fs::exists(out);
  fs::path place = fresh ? fs::path(out.string() + ".part") : out;
  if (fresh) require(!fs::exists(place), place.string(), ": is in the way; remove it");
  try {
    write_folder_description(place, description);
    if (in) copy_tokenizer(in->model, place);
    save_safetensors(place / "model.safetensors", tensors);
    if (fresh) fs::rename(place, out);
  } catch (...) {
    std::error_code none;
    if (fresh) fs::remove_all(place, none);
    throw;
  }
  return fs::file_size(out / "model.safetensors");
}

}  // namespace

bool is_folder(Target t) { return t == Target::hugging_face || t == Target::sentence_transformers; }

Target target_of(const fs::path& out) {
  if (fs::is_directory(out)) return Target::hugging_face;
  auto extension = out.extension();
  if (extension == ".safetensors" || extension == ".bin") return Target::safetensors;
  if (extension == ".pt" || extension == ".pth") return Target::composer_pt;
  if (extension.empty()) return Target::hugging_face;
  fail(out.string(), ": no form is known for '", extension.string(), "'; use .safetensors, .pt or a folder name without extension");
}

ConvertReport convert(const fs::path& in, const fs::path& out, const ConvertOptions& options) {
  ConvertReport report;
  fs::path clean = io::follow_links(out.filename().empty() ? out.parent_path() : out);
  report.target = options.target.value_or(target_of(clean));
  check_output(in, clean, report.target);
  std::optional<ModelFolder> folder;
  if (fs::is_directory(in)) folder = read_folder(in);
  report.bytes_in = size_of_input(in, folder);
  bool sentence = report.target == Target::sentence_transformers ||
                  (report.target == Target::hugging_face && !options.target && folder && folder->sentence_transformers);
  if (sentence) report.target = Target::sentence_transformers;
  if (folder && folder->sentence_transformers && report.target == Target::hugging_face)
    io::warn(clean.string(), ": a Hugging Face folder does not say how vectors are made: pooling, normalisation, length and prompts of ",
             in.string(), " are left out");
  TensorMap tensors = load_weights(in);
  std::optional<FolderDescription> description;
  if (is_folder(report.target)) description = describe(folder, options, sentence, hidden_of(tensors));
  check_scales(tensors, in.string());
  if (options.dtype) change_dtype(tensors, *options.dtype);
  require(report.target != Target::composer_pt || !is_quantized(tensors), clean.string(),
          ": int8 weights can only be written as safetensors; name a .safetensors file or a folder, or another dtype");
  report.tensors = tensors.size();
  if (description) report.bytes_out = write_folder(clean, *description, folder, tensors);
  else if (report.target == Target::composer_pt) save_composer_pt(clean, tensors);
  else save_safetensors(clean, tensors);
  if (!description && fs::is_regular_file(clean)) report.bytes_out = fs::file_size(clean);
  return report;
}

}  // namespace m2bert::checkpoint
