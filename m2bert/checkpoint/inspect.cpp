#include "m2bert/checkpoint/inspect.h"
// INC

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <set>

#include "m2bert/checkpoint/dtype.h"
#include "m2bert/checkpoint/folder.h"
#include "m2bert/checkpoint/run_checkpoints.h"
#include "m2bert/checkpoint/text.h"
#include "m2bert/checkpoint/weights.h"
#include "m2bert/error.h"
#include "m2bert/io/json.h"

namespace m2bert::checkpoint {
namespace {

namespace fs = std::filesystem;

bool has_part(const std::string& name, std::initializer_list<std::string_view> parts) {
  for (size_t at = 0; at < name.size();) {
    const size_t end = std::min(name.find('.', at), name.size());
    if (std::find(parts.begin(), parts.end(), std::string_view(name).substr(at, end - at)) != parts.end()) return true;
    at = end + 1;
  }
  return false;
}

bool is_optimizer(const std::string& name) {
  return has_part(name, {"optimizer", "optimizers", "optimizer_state_dict", "optimizer_states", "optim"});
}

// "Composer checkpoint", "training checkpoint", "checkpoint of a run" or "".
std::string layout_of(const Inspection& in) {
  if (in.metadata.contains(kRunState)) return "checkpoint of a run";
  for (const auto& t : in.tensors) {
    if (t.name.starts_with("state.model.")) return "Composer checkpoint";
    if (t.name.starts_with("state_dict.") || t.name.starts_with("model_state_dict.") || is_optimizer(t.name)) return "training checkpoint";
  }
  return "";
}

class Weights {
 public:
  explicit Weights(const Inspection& in) : in_(in) {}

  const TensorInfo* find(const std::string& end) const {
    for (size_t i = 0; i < in_.tensors.size(); ++i)
      if (!in_.weight_names[i].empty() && in_.weight_names[i].ends_with(end)) return &in_.tensors[i];
    return nullptr;
  }
  bool has(const std::string& end) const { return find(end) != nullptr; }
  // shape[dim]; -1 if there is no such tensor.
  int dim(const std::string& end, size_t d) const {
    const TensorInfo* t = find(end);
    return t && t->shape.size() > d && t->shape[d] <= 0x7fffffff ? static_cast<int>(t->shape[d]) : -1;
  }
  int layers() const {
    std::set<int> seen;
    for (const auto& name : in_.weight_names) {
      auto at = name.find("encoder.layer.");
      int n = 0;
      if (at == std::string::npos) continue;
      auto [end, error] = std::from_chars(name.data() + at + 14, name.data() + name.size(), n);
      if (error == std::errc()) seen.insert(n);
    }
    return seen.empty() ? -1 : static_cast<int>(seen.size());
  }

 private:
  const Inspection& in_;
};

void describe_model(Inspection& in) {
  Weights w(in);
  if (w.has("attention.filter_fn.pos_emb.z") || w.has("attention.in_linear.weight")) in.architecture = "M2-BERT";
  else if (w.has("attention.self.Wqkv.weight")) in.architecture = "attention BERT";
  else if (w.has("attention.self.query.weight")) in.architecture = "Hugging Face BERT";
  if (w.has("cls.predictions.transform.dense.weight")) in.head = "masked LM";
  else if (w.has("classifier.weight")) in.head = "classifier";
  else if (!in.architecture.empty()) in.head = "embedding";
  in.layers = w.layers();
  in.vocabulary = w.dim("word_embeddings.weight", 0);
  in.hidden = w.dim("word_embeddings.weight", 1);
  in.length = in.architecture == "M2-BERT" ? w.dim("attention.filter_fn.pos_emb.z", 1) : w.dim("position_embeddings.weight", 0);
  if (in.head == "classifier") in.labels = w.dim("classifier.weight", 0);
}

uint64_t values_of(const TensorInfo& t) { return t.nbytes * 8 / static_cast<uint64_t>(dtype_bits(t.dtype).value_or(8)); }

std::string module_of(const std::string& weight) {
  for (const char* part : {"embeddings", "encoder", "pooler"})
    if (weight.starts_with("bert." + std::string(part) + ".")) return part;
  if (weight.starts_with("cls.")) return "masked-LM head";
  return weight.substr(0, weight.find('.'));
}

std::string state_of(const std::string& name, const std::string& copy) {
  if (!copy.empty()) return "weights below '" + printable(copy) + "'";
  if (is_optimizer(name)) return "optimizer";
  return has_part(name, {"rng", "rng_state", "rng_states"}) ? "random state" : "other state";
}

// Counts tensors by group.
class Groups {
 public:
  void add(const std::string& name, const TensorInfo& t, bool counted) {
    auto it = std::find_if(groups.begin(), groups.end(), [&](const auto& g) { return g.name == name; });
    if (it == groups.end()) it = groups.insert(groups.end(), {.name = name});
    ++it->tensors;
    if (counted) return;
    it->values += values_of(t);
    it->bytes += t.nbytes;
  }
  std::vector<TensorGroup> groups;
};

void count(Inspection& in, const std::vector<std::string>& copies) {
  std::set<std::string> all, weights;
  Groups modules, states;
  for (size_t i = 0; i < in.tensors.size(); ++i) {
    const auto& t = in.tensors[i];
    ++in.dtypes[t.dtype];
    const bool weight = !in.weight_names[i].empty();
    if (!weight && is_optimizer(t.name)) in.optimizer_state = true;
    // Two views of one storage have the same values if their sizes agree too.
    std::string key = t.storage + "/" + std::to_string(t.nbytes);
    const bool again = !all.insert(key).second;
    if (!again) in.total_bytes += t.nbytes;
    if (!weight) {
      states.add(state_of(t.name, copies[i]), t, again);
      continue;
    }
    ++in.weight_tensors;
    const bool counted = !weights.insert(key).second;
    modules.add(module_of(in.weight_names[i]), t, counted);
    if (counted) continue;
    in.weight_bytes += t.nbytes;
    in.weight_values += values_of(t);
  }
  in.modules = std::move(modules.groups);
  in.states = std::move(states.groups);
}

// The end of a name, or the part after "optimizer." in a run's file: exp_avg, exp_avg_sq, step.
std::string moment_of(const std::string& name) {
  for (const char* moment : {"exp_avg_sq", "exp_avg", "max_exp_avg_sq", "momentum_buffer", "step"})
    if (has_part(name, {moment})) return moment;
  for (const char* moment : {"m", "v"})  // of a run
    if (name.starts_with("optimizer." + std::string(moment) + ".")) return moment;
  return "";
}

// "state.optimizers.AdamW" -> "AdamW"; empty if the optimizer has no name of its own.
std::string optimizer_name(const std::string& path) {
  const std::string name = path.substr(path.rfind('.') + 1);
  const bool number = name.find_first_not_of("0123456789") == std::string::npos;
  return number || is_optimizer(name) ? "" : name;
}

// The optimizer as the names of its tensors and the numbers beside them tell it.
void describe_optimizer(Inspection& in, const std::map<std::string, std::string>& scalars) {
  std::set<std::string> moments;
  for (const auto& t : in.tensors)
    if (is_optimizer(t.name)) moments.insert(moment_of(t.name));
  moments.erase("");
  std::string kinds;
  for (const auto& m : moments) (kinds += kinds.empty() ? "" : " ") += m;
  if (!kinds.empty()) in.optimizer.emplace_back("state", kinds);
  constexpr std::string_view group = ".param_groups.0.";
  for (const auto& [path, value] : scalars) {
    const size_t at = path.find(group);
    if (at == std::string::npos || !is_optimizer(path)) continue;
    const std::string key = path.substr(at + group.size()), name = optimizer_name(path.substr(0, at));
    const bool named = !in.optimizer.empty() && in.optimizer.front().first == "name";
    if (!named && !name.empty()) in.optimizer.insert(in.optimizer.begin(), {"name", name});
    if (key == "lr" || key == "weight_decay" || key == "betas.0" || key == "betas.1" || key == "eps") in.optimizer.emplace_back(key, value);
  }
}

// A number or a word of a tree, as text; empty for anything else.
std::string text_of(const io::Tree* value) {
  if (!value || value->is_map() || value->is_list() || value->is_null()) return "";
  return value->is_string() ? value->string() : io::to_json(*value);
}

// The state of a run of m2bert pretrain.
void describe_run(Inspection& in, const std::string& json) {
  const io::Tree run = io::parse_json(json, in.path + ", its state of the run");
  if (!run.is_map()) run.wants("a map");
  auto add = [](auto& to, const std::string& name, const io::Tree* value) {
    if (auto text = text_of(value); !text.empty()) to.emplace_back(name, text);
  };
  const io::Tree *time = run.find("time"), *recipe = run.find("recipe");
  for (const char* key : {"batch", "epoch", "sample", "token"})
    if (time && time->is_map()) add(in.position, key, time->find(key));
  if (const io::Tree* seconds = run.find("seconds"); seconds && seconds->is_number()) {
    char text[32];
    std::snprintf(text, sizeof text, "%.1f", seconds->number());
    in.position.emplace_back("seconds", text);
  }
  if (!recipe || !recipe->is_map()) return;
  for (const char* key : {"run_name", "max_duration", "global_train_batch_size", "max_seq_len", "mlm_probability", "precision", "seed"})
    add(in.recipe, key, recipe->find(key));
  for (const char* part : {"optimizer", "scheduler"}) {
    const io::Tree* map = recipe->find(part);
    for (const char* key : {"name", "lr", "weight_decay", "t_warmup"})
      if (map && map->is_map()) add(in.recipe, std::string(part) + "." + key, map->find(key));
  }
}

// Composer's timestamp, and what other trainers call their position.
void describe_position(Inspection& in, const std::map<std::string, std::string>& scalars) {
  for (const char* key : {"batch", "epoch", "sample", "token", "global_step", "step", "iteration"}) {
    for (const auto& [path, value] : scalars) {
      const bool end = path == key || (path.ends_with("." + std::string(key)) && has_part(path, {"timestamp"}));
      if (!end) continue;
      in.position.emplace_back(key, value);
      break;
    }
  }
  for (const char* key : {"run_name", "state.run_name"})
    if (auto it = scalars.find(key); it != scalars.end()) in.recipe.emplace_back("run_name", it->second);
}

std::string describe(const Inspection& in, bool folder) {
  const std::string layout = layout_of(in);
  std::string out;
  auto add = [&](const std::string& part) {
    if (!part.empty()) out += (out.empty() ? "" : ", ") + part;
  };
  add(in.architecture.empty() ? (in.tensors.empty() ? "no tensors" : "no model that m2bert knows") : in.architecture + " " + in.head);
  std::string note = layout.empty() ? (folder ? in.format : in.architecture.empty() ? "" : "flat weights") : layout;
  if (in.optimizer_state) note += " with optimizer state";
  add(note);
  if (in.layers > 0) add(std::to_string(in.layers) + (in.layers == 1 ? " layer" : " layers"));
  if (in.hidden > 0) add("hidden " + std::to_string(in.hidden));
  if (in.length > 0) add("L " + std::to_string(in.length));
  if (in.labels > 0) add(std::to_string(in.labels) + (in.labels == 1 ? " label" : " labels"));
  if (in.mask_padding) add("padding masked");
  return out;
}

// What the files hold beside their tensors.
struct Beside {
  std::vector<std::string> copies;  // per tensor: WeightNames::copy
  std::map<std::string, std::string> scalars;
};

void add_file(Inspection& in, Beside& beside, const fs::path& path, bool sharded) {
  auto file = TensorFile::open(path);
  in.file_bytes += fs::file_size(path);
  if (in.format.empty()) in.format = file->format();
  std::vector<std::string> names;
  for (auto t : file->tensors()) {
    names.push_back(t.name);
    if (sharded) t.storage = path.filename().string() + ":" + t.storage;
    in.tensors.push_back(std::move(t));
  }
  const size_t tensors = names.size();
  for (const auto& s : file->skipped())
    if (s.tensor) names.push_back(s.path);
  const WeightNames found = find_weights(names);
  in.weight_names.insert(in.weight_names.end(), found.names.begin(), found.names.begin() + static_cast<ptrdiff_t>(tensors));
  beside.copies.insert(beside.copies.end(), found.copy.begin(), found.copy.begin() + static_cast<ptrdiff_t>(tensors));
  size_t next = tensors;
  for (auto s : file->skipped()) {
    if (s.tensor) s.tensor = is_unread_weight(s, found.names[next++]);
    in.skipped.push_back(std::move(s));
  }
  for (const auto& m : file->metadata()) in.metadata.insert(m);
  beside.scalars.insert(file->scalars().begin(), file->scalars().end());
}

}  // namespace

Inspection inspect(const fs::path& path) {
  Inspection in;
  Beside beside;
  in.path = path.string();
  bool folder = fs::is_directory(path);
  if (folder) {
    ModelFolder f = read_folder(path);
    for (const auto& file : f.weights) add_file(in, beside, file, f.weights.size() > 1);
    if (f.sentence_transformers) in.format = "sentence-transformers folder";
    else if (!f.config.empty()) in.format = "Hugging Face folder";
    else in.format = "folder (" + in.format + ")";  // weights, perhaps with a recipe
    if (!f.config.empty()) in.mask_padding = io::read_json(f.config).get<bool>("mask_padding", false);
  } else {
    add_file(in, beside, path, false);
  }
  count(in, beside.copies);
  describe_model(in);
  describe_optimizer(in, beside.scalars);
  if (auto run = in.metadata.find(kRunState); run != in.metadata.end()) describe_run(in, run->second);
  else describe_position(in, beside.scalars);
  in.description = describe(in, folder);
  return in;
}

}  // namespace m2bert::checkpoint
