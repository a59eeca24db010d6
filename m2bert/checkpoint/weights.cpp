#include "m2bert/checkpoint/weights.h"

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "m2bert/checkpoint/folder.h"
#include "m2bert/checkpoint/run_checkpoints.h"
#include "m2bert/checkpoint/text.h"
#include "m2bert/error.h"
#include "m2bert/io/log.h"

namespace m2bert::checkpoint {
namespace {

using Names = std::vector<std::string>;
using Parts = std::vector<std::string_view>;  // of a name, between its dots

// What PyTorch's wrappers put into names: DataParallel and DeepSpeed, torch.compile, FSDP (also old versions), activation checkpointing,
// Lightning Fabric.
bool is_wrapper(std::string_view part) {
  static const std::unordered_set<std::string_view> wrappers = {
      "module", "_orig_mod", "_fsdp_wrapped_module", "_fpw_module", "_checkpoint_wrapped_module", "_forward_module"};
  return wrappers.contains(part);
}

// Names of the other state in a checkpoint.
bool is_other_state(std::string_view part) {
  static const std::unordered_set<std::string_view> parts = {"optimizer",
                                                             "optimizers",
                                                             "optimizer_state_dict",
                                                             "optimizer_states",
                                                             "optim",
                                                             "rng",
                                                             "rng_state",
                                                             "scheduler",
                                                             "schedulers",
                                                             "lr_scheduler",
                                                             "lr_schedulers",
                                                             "scaler",
                                                             "loss_scaler",
                                                             "timestamp",
                                                             "epoch",
                                                             "callbacks",
                                                             "algorithms",
                                                             "loops",
                                                             "amp",
                                                             "dataset_state",
                                                             "metrics",
                                                             "train_metrics",
                                                             "eval_metrics",
                                                             "averaging_state",
                                                             "n_averaged"};
  return parts.contains(part);
}

// Whether a part of a name says that what is below it is a moving average: ema, model_ema, state_dict_ema, swa_model, averaged.
bool names_average(std::string_view part) {
  static const std::unordered_set<std::string> words = {"ema", "swa", "avg", "average", "averaged", "averaging", "shadow"};
  std::string word;
  for (size_t i = 0; i <= part.size(); ++i) {
    const char c = i < part.size() ? part[i] : '_';
    if (c >= 'A' && c <= 'Z') word += static_cast<char>(c - 'A' + 'a');
    else if (c >= 'a' && c <= 'z') word += c;
    else if (words.contains(word)) return true;
    else word.clear();
  }
  return false;
}

// Without the wrappers; the last part stays.
Parts parts_of(std::string_view name) {
  Parts parts;
  for (size_t dot = name.find('.'); dot != std::string_view::npos; dot = name.find('.')) {
    if (const auto part = name.substr(0, dot); !is_wrapper(part)) parts.push_back(part);
    name.remove_prefix(dot + 1);
  }
  parts.push_back(name);
  return parts;
}

std::string join(const Parts& parts, size_t begin, size_t end) {
  std::string out;
  for (size_t i = begin; i < end; ++i) (out += i == begin ? "" : ".") += parts[i];
  return out;
}

// "module.ema" -> "ema"
std::string without_wrappers(const std::string& prefix) {
  Parts parts = parts_of(prefix);
  if (is_wrapper(parts.back())) parts.pop_back();
  return join(parts, 0, parts.size());
}

bool is_below(std::string_view name, std::string_view prefix) {
  return prefix.empty() || (name.starts_with(prefix) && (name.size() == prefix.size() || name[prefix.size()] == '.'));
}

std::string below(const std::string& name, const std::string& prefix) { return prefix.empty() ? name : name.substr(prefix.size() + 1); }

// Whether the model's own name begins at a part: with "bert.", or as Hugging Face's models without that prefix.
bool begins_model(const Parts& parts, size_t i) {
  auto next = [&](auto... names) { return i + 1 < parts.size() && (... || (parts[i + 1] == names)); };
  if (parts[i] == "bert") return next("embeddings", "encoder", "pooler");
  if (parts[i] == "cls") return next("predictions", "seq_relationship");
  if (parts[i] == "embeddings") return next("word_embeddings", "position_embeddings", "token_type_embeddings", "LayerNorm", "position_ids");
  if (parts[i] == "encoder") return next("layer");
  if (parts[i] == "pooler") return next("dense");
  return parts[i] == "classifier" && next("weight", "bias", "weight_scale") && i + 2 == parts.size();
}

// The names of a file without wrappers, and the prefixes below which they begin as a model's names do.
struct Copies {
  Names names;
  std::map<std::string, bool> prefixes;  // whether it is an average, or the copy of the weights that it replaced
};

bool second_copy(const Parts& parts, size_t end) {
  return std::any_of(parts.begin(), parts.begin() + static_cast<ptrdiff_t>(end),
                     [](auto part) { return names_average(part) || part == "current_model_state"; });
}

Copies find_copies(const Names& all) {
  Copies out;
  Names averaged;
  for (const auto& name : all) {
    const Parts parts = parts_of(name);
    out.names.push_back(join(parts, 0, parts.size()));
    if (parts.back() == "n_averaged") averaged.push_back(join(parts, 0, parts.size() - 1));  // torch.optim.swa_utils.AveragedModel
    size_t i = 0;
    while (i < parts.size() && !begins_model(parts, i)) ++i;
    if (i == parts.size()) continue;
    const bool second = second_copy(parts, i);
    const bool other = std::any_of(parts.begin(), parts.begin() + static_cast<ptrdiff_t>(i), is_other_state);
    if (second || !other) out.prefixes.emplace(join(parts, 0, i), second);
  }
  for (const auto& prefix : averaged)
    if (auto it = out.prefixes.find(prefix); it != out.prefixes.end()) it->second = true;
  return out;
}

// The copies to read: those below `wanted`, else the plain ones, else the averages.
Names chosen_prefixes(const Copies& copies, const std::string& wanted) {
  Names plain, averages;
  for (const auto& [prefix, average] : copies.prefixes) {
    if (!wanted.empty() && !is_below(prefix, wanted)) continue;
    (average ? averages : plain).push_back(prefix);
  }
  return plain.empty() ? averages : plain;
}

// The containers that hold the model alone: what is outside them is other state.
std::string container_of(const std::string& name) {
  for (const char* container : {"state.model", "state_dict", "model_state_dict", "model_state"})
    if (is_below(name, container)) return container;
  return "";
}

// Names that do not look like a BERT's: a known container is entered, then leading "0.auto_model." and "model." are removed.
void strip_unknown(Names& names) {
  std::string container;
  for (const auto& n : names)
    if (container.empty()) container = container_of(n);
  for (auto& n : names) {
    n = is_below(n, container) && n != container ? below(n, container) : "";
    if (is_other_state(std::string_view(n).substr(0, n.find('.')))) n.clear();
    for (const std::string prefix : {"0.auto_model", "model"})
      if (n.size() > prefix.size() && is_below(n, prefix)) n = below(n, prefix);
  }
}

// The longest of the prefixes that a name is below; nullptr: none.
const std::string* longest(const std::string& name, const Names& prefixes) {
  const std::string* found = nullptr;
  for (const auto& p : prefixes)
    if (is_below(name, p) && name != p && (!found || p.size() > found->size())) found = &p;
  return found;
}

// The name in the model, if one of the chosen prefixes is before it; empty for other state.
std::string stripped(const std::string& name, const Names& chosen) {
  const std::string container = container_of(chosen.front());
  const Parts parts = parts_of(name);
  if (!is_below(name, container) || name == container || parts.back() == "n_averaged") return "";
  if (const std::string* prefix = longest(name, chosen); prefix && !prefix->empty()) return below(name, *prefix);
  if (is_other_state(parts.front()) || second_copy(parts, parts.size() - 1)) return "";
  return below(name, container);
}

void replace_end(std::string& name, std::string_view old_end, std::string_view new_end) {
  if (name.ends_with(old_end)) name.replace(name.size() - old_end.size(), old_end.size(), new_end);
}

// The names of upstream's model.
void rename(Names& names) {
  const bool prefixed = std::any_of(names.begin(), names.end(), [](auto& n) { return n.starts_with("bert."); });
  for (auto& n : names) {
    replace_end(n, "LayerNorm.gamma", "LayerNorm.weight");
    replace_end(n, "LayerNorm.beta", "LayerNorm.bias");
    if (!prefixed && (n.starts_with("embeddings.") || n.starts_with("encoder.") || n.starts_with("pooler."))) n.insert(0, "bert.");
  }
}

// Narrows float64 arrays; tied ones (several tensors use their storage) stay tied.
class Narrow {
 public:
  explicit Narrow(const TensorFile& file) {
    for (const auto& t : file.tensors()) ++uses_[t.storage];
  }
  mx::array operator()(const TensorInfo& info, const mx::array& a) {
    if (a.dtype() != mx::float64) return a;
    auto done = std::find_if(done_.begin(), done_.end(), [&](auto& pair) { return pair.first.id() == a.id(); });
    if (done != done_.end()) return done->second;
    mx::array narrow = mx::astype(a, mx::float32, mx::Device(mx::Device::cpu));  // GPUs have no float64
    narrow.eval();
    if (uses_[info.storage] > 1) done_.emplace_back(a, narrow);
    return narrow;
  }

 private:
  std::unordered_map<std::string, int> uses_;
  std::vector<std::pair<mx::array, mx::array>> done_;  // wide, narrow
};

std::string shown(const std::string& prefix) { return prefix.empty() ? "at the top level" : "below '" + printable(prefix) + "'"; }

void note_others(const std::string& file, const WeightNames& found) {
  if (found.others.empty()) return;
  std::string others;
  for (const auto& prefix : found.others) (others += others.empty() ? "" : " and ") += shown(prefix);
  io::info(file, ": holds more than one copy of the weights; the one ", shown(found.prefix), " is used, not that ", others,
           " (m2bert convert --weights PREFIX takes another)");
}

// Errors for tensors that cannot be read, or not as they are.
void check_readable(const std::string& file, const TensorFile& open, const WeightNames& found) {
  size_t i = open.tensors().size();
  for (const auto& object : open.skipped()) {
    if (!object.tensor) continue;
    require(!is_unread_weight(object, found.names[i++]), file, ": '", printable(object.path), "' is ", object.what,
            ", which is not supported; save its values as a plain tensor with PyTorch (to_dense, dequantize, full_tensor, from_numpy)");
  }
  for (const auto& t : open.tensors())
    require(!t.name.ends_with("flat_param"), file, ": '", printable(t.name),
            "' is a flattened parameter of FSDP, perhaps only a part of one; save the whole model with StateDictType.FULL_STATE_DICT");
}

bool holds_average_of_run(const TensorFile& file) {
  return file.metadata().contains(kRunState) &&
         std::any_of(file.tensors().begin(), file.tensors().end(), [](auto& t) { return is_below(t.name, kRunAverage); });
}

// Arrays of a model that are saved but not trained.
bool is_buffer(std::string_view name) {
  return name.ends_with(".pos_emb.t") || name.ends_with(".pos_emb.z") || name.ends_with(".modulation.deltas") ||
         name.ends_with(".position_ids");
}

// Gives the copy the buffers that it lacks and the plain weights have.
void add_buffers(WeightNames& copy, const Names& names) {
  const Names plain = weight_names(names);
  const std::unordered_set<std::string> there(copy.names.begin(), copy.names.end());
  for (size_t i = 0; i < names.size(); ++i)
    if (copy.names[i].empty() && is_buffer(plain[i]) && !there.contains(plain[i])) copy.names[i] = plain[i];
}

// The names of the weights to read; `copy` is empty for the default.
WeightNames names_to_read(const std::string& path, const TensorFile& file, const Names& names, const std::string& copy, OfRun of_run) {
  const bool average = copy.empty() && of_run == OfRun::averaged && holds_average_of_run(file);
  WeightNames found = find_weights(names, average ? kRunAverage : copy);
  require(copy.empty() || !found.prefix.empty(), path, ": holds no weights below '", printable(copy), "'");
  if (average) io::info(path, ": the averaged weights (", kRunAverage, ") are used");
  else if (copy.empty()) note_others(path, found);
  if (average || !copy.empty()) add_buffers(found, names);
  return found;
}

void read_weights(const std::filesystem::path& path, const std::string& copy, OfRun of_run, TensorMap& out) {
  auto file = TensorFile::open(path);
  Names names;
  for (const auto& t : file->tensors()) names.push_back(t.name);
  for (const auto& s : file->skipped())
    if (s.tensor) names.push_back(s.path);
  const WeightNames found = names_to_read(path.string(), *file, names, copy, of_run);
  check_readable(path.string(), *file, found);
  Narrow narrow(*file);
  std::map<std::string, std::string> from;
  for (size_t i = 0; i < file->tensors().size(); ++i) {
    const std::string& name = found.names[i];
    if (name.empty()) continue;
    auto [it, added] = from.emplace(name, names[i]);
    require(added, path.string(), ": '", printable(names[i]), "' and '", printable(it->second), "' are both the weight '", printable(name),
            "'; if the file holds several models, m2bert convert --weights PREFIX takes one");
    out.emplace_back(name, narrow(file->tensors()[i], file->read(file->tensors()[i])));
  }
  if (!from.empty()) return;
  std::string beside;
  for (const auto& s : file->skipped())
    if (beside.size() < 200) beside += (beside.empty() ? "; it holds " : ", ") + s.what;
  fail(path.string(), ": a ", file->format(), " file without model weights", beside, beside.empty() ? "" : " (skipped, never run)");
}

}  // namespace

WeightNames find_weights(const std::vector<std::string>& names, const std::string& copy) {
  Copies copies = find_copies(names);
  WeightNames out;
  const Names chosen = chosen_prefixes(copies, without_wrappers(copy));
  out.names = copies.names;
  if (chosen.empty()) {
    strip_unknown(out.names);
    out.copy.resize(names.size());
    return out;
  }
  out.prefix = chosen.front();
  for (const auto& [prefix, average] : copies.prefixes)
    if (std::find(chosen.begin(), chosen.end(), prefix) == chosen.end()) out.others.push_back(prefix);
  for (auto& name : out.names) {
    const std::string *mine = longest(name, chosen), *other = longest(name, out.others);
    const bool in_other = other && (!mine || other->size() > mine->size());
    out.copy.push_back(in_other ? *other : "");
    name = in_other ? "" : stripped(name, chosen);
  }
  rename(out.names);
  return out;
}

bool is_unread_weight(const SkippedObject& object, const std::string& name) {
  return object.tensor && (object.what == "a NumPy array" ? begins_model(parts_of(name), 0) : !name.empty());
}

std::vector<std::string> weight_names(const std::vector<std::string>& names) { return find_weights(names).names; }

TensorMap load_weights(const std::filesystem::path& path, const std::string& copy, OfRun of_run) {
  TensorMap out;
  if (!std::filesystem::is_directory(path)) {
    read_weights(path, copy, of_run, out);
    return out;
  }
  ModelFolder folder = read_folder(path);
  std::unordered_set<std::string> names;
  for (const auto& file : folder.weights) {
    size_t before = out.size();
    read_weights(file, copy, of_run, out);
    for (size_t i = before; i < out.size(); ++i)
      require(names.insert(out[i].first).second, file.string(), ": weight '", printable(out[i].first), "' is in another shard too");
  }
  return out;
}

}  // namespace m2bert::checkpoint
