#include "m2bert/checkpoint/inspect.h"

#include <algorithm>
#include <charconv>
#include <set>

#include "m2bert/checkpoint/dtype.h"
#include "m2bert/checkpoint/folder.h"
#include "m2bert/checkpoint/weights.h"
#include "m2bert/error.h"

namespace m2bert::checkpoint {
namespace {

namespace fs = std::filesystem;

struct Layout {
  bool composer = false;
  std::string note;  // "Composer checkpoint", "state_dict in a checkpoint", ""
};

Layout layout_of(const std::vector<TensorInfo>& tensors) {
  for (const auto& t : tensors) {
    if (t.name.starts_with("state.model.")) return {true, "Composer checkpoint"};
    if (t.name.starts_with("state_dict.") || t.name.starts_with("model_state_dict.")) return {false, "training checkpoint"};
  }
  return {};
}

bool is_optimizer(const std::string& name) {
  for (const char* prefix :
       {"state.optimizers.", "state.optimizer.", "optimizer.", "optimizers.", "optimizer_state_dict.", "optimizer_states."})
    if (name.starts_with(prefix)) return true;
  return false;
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

void count(Inspection& in) {
  std::set<std::string> all, weights;
  for (size_t i = 0; i < in.tensors.size(); ++i) {
    const auto& t = in.tensors[i];
    ++in.dtypes[t.dtype];
    if (is_optimizer(t.name)) in.optimizer_state = true;
    // Two views of one storage have the same values if their sizes agree too.
    std::string key = t.storage + "/" + std::to_string(t.nbytes);
    if (all.insert(key).second) in.total_bytes += t.nbytes;
    if (in.weight_names[i].empty()) continue;
    ++in.weight_tensors;
    if (!weights.insert(key).second) continue;
    in.weight_bytes += t.nbytes;
    in.weight_values += t.nbytes / static_cast<uint64_t>(dtype_bytes(t.dtype).value_or(1));
  }
}

std::string describe(const Inspection& in, const Layout& layout, bool folder) {
  std::string out;
  auto add = [&](const std::string& part) {
    if (!part.empty()) out += (out.empty() ? "" : ", ") + part;
  };
  add(in.architecture.empty() ? (in.tensors.empty() ? "no tensors" : "no model that m2bert knows") : in.architecture + " " + in.head);
  std::string note = layout.note.empty() ? (folder ? in.format : in.architecture.empty() ? "" : "flat weights") : layout.note;
  if (in.optimizer_state) note += " with optimizer state";
  add(note);
  if (in.layers > 0) add(std::to_string(in.layers) + (in.layers == 1 ? " layer" : " layers"));
  if (in.hidden > 0) add("hidden " + std::to_string(in.hidden));
  if (in.length > 0) add("L " + std::to_string(in.length));
  if (in.labels > 0) add(std::to_string(in.labels) + (in.labels == 1 ? " label" : " labels"));
  return out;
}

void add_file(Inspection& in, const fs::path& path, bool sharded) {
  auto file = TensorFile::open(path);
  in.file_bytes += fs::file_size(path);
  if (in.format.empty()) in.format = file->format();
  std::vector<std::string> names;
  for (auto t : file->tensors()) {
    names.push_back(t.name);
    if (sharded) t.storage = path.filename().string() + ":" + t.storage;
    in.tensors.push_back(std::move(t));
  }
  for (auto& n : weight_names(names)) in.weight_names.push_back(std::move(n));
  for (const auto& s : file->skipped()) in.skipped.push_back(s);
  for (const auto& m : file->metadata()) in.metadata.insert(m);
}

}  // namespace

Inspection inspect(const fs::path& path) {
  Inspection in;
  in.path = path.string();
  bool folder = fs::is_directory(path);
  if (folder) {
    ModelFolder f = read_folder(path);
    for (const auto& file : f.weights) add_file(in, file, f.weights.size() > 1);
    if (f.sentence_transformers) in.format = "sentence-transformers folder";
    else if (!f.config.empty()) in.format = "Hugging Face folder";
    else in.format = "folder (" + in.format + ")";  // weights, perhaps with a recipe
  } else {
    add_file(in, path, false);
  }
  count(in);
  describe_model(in);
  in.description = describe(in, layout_of(in.tensors), folder);
  return in;
}

}  // namespace m2bert::checkpoint
