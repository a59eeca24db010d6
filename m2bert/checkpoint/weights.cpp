#include "m2bert/checkpoint/weights.h"

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "m2bert/checkpoint/folder.h"
#include "m2bert/checkpoint/text.h"
#include "m2bert/error.h"

namespace m2bert::checkpoint {
namespace {

using Names = std::vector<std::string>;

bool any_starts(const Names& names, std::string_view prefix) {
  return std::any_of(names.begin(), names.end(), [&](auto& n) { return n.starts_with(prefix); });
}

// Keeps the names below a container of the file and strips its prefix; the others become "".
bool enter(Names& names, std::string_view container) {
  if (!any_starts(names, container)) return false;
  for (auto& n : names) n = n.starts_with(container) ? n.substr(container.size()) : "";
  return true;
}

// Names of the other state in a checkpoint.
bool is_other_state(const std::string& name) {
  static const std::unordered_set<std::string_view> parts = {"optimizer",     "optimizers",    "optimizer_state_dict",
                                                             "optim",         "rng",           "rng_state",
                                                             "scheduler",     "schedulers",    "lr_scheduler",
                                                             "scaler",        "timestamp",     "epoch",
                                                             "callbacks",     "algorithms",    "loops",
                                                             "amp",           "dataset_state", "metrics",
                                                             "train_metrics", "eval_metrics"};
  return parts.contains(std::string_view(name).substr(0, name.find('.')));
}

void remove_everywhere(std::string& name, std::string_view part) {
  for (size_t at = name.find(part); at != std::string::npos; at = name.find(part, at)) {
    bool boundary = at == 0 || name[at - 1] == '.';
    if (boundary) name.erase(at, part.size());
    else at += part.size();
  }
}

void replace_end(std::string& name, std::string_view old_end, std::string_view new_end) {
  if (name.ends_with(old_end)) name.replace(name.size() - old_end.size(), old_end.size(), new_end);
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

void read_weights(const std::filesystem::path& path, TensorMap& out) {
  auto file = TensorFile::open(path);
  Names names;
  for (const auto& t : file->tensors()) names.push_back(t.name);
  Names weights = weight_names(names);
  Narrow narrow(*file);
  std::map<std::string, std::string> from;
  for (size_t i = 0; i < names.size(); ++i) {
    if (weights[i].empty()) continue;
    auto [it, added] = from.emplace(weights[i], names[i]);
    require(added, path.string(), ": '", printable(names[i]), "' and '", printable(it->second), "' are both the weight '",
            printable(weights[i]), "'");
    out.emplace_back(weights[i], narrow(file->tensors()[i], file->read(file->tensors()[i])));
  }
  if (!from.empty()) return;
  std::string beside;
  for (const auto& s : file->skipped())
    if (beside.size() < 200) beside += (beside.empty() ? "; it holds " : ", ") + s.what;
  fail(path.string(), ": a ", file->format(), " file without model weights", beside, beside.empty() ? "" : " (skipped, never run)");
}

}  // namespace

std::vector<std::string> weight_names(const std::vector<std::string>& all) {
  Names names = all;
  for (std::string_view container : {"state.model.", "state_dict.", "model_state_dict."})
    if (enter(names, container)) break;
  for (auto& n : names) {
    if (is_other_state(n)) n.clear();
    remove_everywhere(n, "module.");
    if (n.starts_with("0.auto_model.")) n.erase(0, 13);
    if (n.starts_with("model.")) n.erase(0, 6);
    replace_end(n, "LayerNorm.gamma", "LayerNorm.weight");
    replace_end(n, "LayerNorm.beta", "LayerNorm.bias");
  }
  if (!any_starts(names, "bert."))
    for (auto& n : names)
      if (n.starts_with("embeddings.") || n.starts_with("encoder.") || n.starts_with("pooler.")) n.insert(0, "bert.");
  return names;
}

TensorMap load_weights(const std::filesystem::path& path) {
  TensorMap out;
  if (!std::filesystem::is_directory(path)) {
    read_weights(path, out);
    return out;
  }
  ModelFolder folder = read_folder(path);
  std::unordered_set<std::string> names;
  for (const auto& file : folder.weights) {
    size_t before = out.size();
    read_weights(file, out);
    for (size_t i = before; i < out.size(); ++i)
      require(names.insert(out[i].first).second, file.string(), ": weight '", printable(out[i].first), "' is in another shard too");
  }
  return out;
}

}  // namespace m2bert::checkpoint
