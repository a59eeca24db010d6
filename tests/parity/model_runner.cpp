// Runs the models on the case folders of generate_cases.py (described there), for test_models.py.
//   m2bert-parity-model [--keep-going] [--forward] FOLDER...
// Writes ours.safetensors into each folder. --forward skips the gradients; --keep-going reports a failing folder and continues.
#include <filesystem>
#include <iostream>
#include <string>
#include <vector>

#include "m2bert/checkpoint/match.h"
#include "m2bert/checkpoint/safetensors.h"
#include "m2bert/checkpoint/weights.h"
#include "m2bert/error.h"
#include "m2bert/io/tree.h"
#include "m2bert/io/yaml.h"
#include "m2bert/models/model.h"
#include "m2bert/tasks/masked_lm.h"

namespace m2bert {
namespace {

namespace fs = std::filesystem;
using models::Head;
using models::Model;

Head head_named(const std::string& name) {
  if (name == "mlm") return Head::masked_lm;
  if (name == "classification") return Head::classification;
  require(name == "embedding", "head is \"", name, "\", wants mlm, classification or embedding");
  return Head::embedding;
}

// The tensors of inputs.safetensors by name.
class Tensors {
 public:
  explicit Tensors(const fs::path& file) : file_(checkpoint::TensorFile::open(file)) {}
  bool has(const std::string& name) const { return file_->find(name) != nullptr; }
  mx::array operator()(const std::string& name) const {
    const auto* tensor = file_->find(name);
    require(tensor != nullptr, "inputs.safetensors has no ", name);
    auto values = file_->read(*tensor);
    return mx::issubdtype(values.dtype(), mx::integer) ? mx::astype(values, mx::int32) : values;
  }

 private:
  std::unique_ptr<checkpoint::TensorFile> file_;
};

models::Inputs model_inputs(const Tensors& inputs) {
  auto ids = inputs("input_ids");
  auto mask = inputs.has("attention_mask") ? inputs("attention_mask") : mx::ones_like(ids);
  models::Inputs batch{ids, mask, std::nullopt};
  if (inputs.has("token_type_ids")) batch.token_type_ids = inputs("token_type_ids");
  return batch;
}

// The logits that upstream returns with a loss: zero except at labels > 0.
mx::array logits_at_labels(const Model& model, const mx::array& logits, const mx::array& labels) {
  const bool all_but_ignored = model.config().family == models::Family::hf_bert;
  if (all_but_ignored) return logits * mx::array(1.0f);  // a copy: an array can be stored under one name only
  return mx::where(mx::expand_dims(mx::greater(labels, mx::array(0)), -1), logits, mx::array(0.0f));
}

class Case {
 public:
  explicit Case(const fs::path& folder)
      : folder_(folder),
        tree_(io::read_yaml(folder / "config.yaml")),
        head_(head_named(tree_.at("head").string())),
        model_(models::Config::from_tree(tree_), head_),
        inputs_(folder / "inputs.safetensors"),
        batch_(model_inputs(inputs_)) {
    auto weights = folder / (fs::exists(folder / "checkpoint.pt") ? "checkpoint.pt" : "model.safetensors");
    checkpoint::match(model_, checkpoint::load_weights(weights), {.source = weights.string()});
  }

  void run(bool with_gradients) {
    outputs();
    if (with_gradients) gradients();
    checkpoint::save_safetensors(folder_ / "ours.safetensors", found_);
  }

 private:
  void keep(const std::string& name, const mx::array& value) { found_.emplace_back(name, mx::contiguous(value)); }

  void outputs() {
    nn::Pass pass;
    auto hidden = model_.hidden_states(batch_, pass);
    if (!model_.config().sequence_token_planting) keep("sequence_output", hidden);
    if (head_ == Head::masked_lm) {
      auto logits = model_.masked_lm_logits(hidden, pass);
      keep("logits", logits);
      if (inputs_.has("labels")) keep("logits_labels_path", logits_at_labels(model_, logits, inputs_("labels")));
      return;
    }
    keep("pooled_output", model_.pool(hidden, batch_.attention_mask, models::Pooling::pooler));
    if (head_ == Head::classification) keep("logits", model_.class_logits(batch_, pass));
    if (head_ == Head::embedding) keep("embedding", embedding());
  }

  mx::array embedding() const { return model_.embedding(batch_, model_.default_pooling(), model_.config().use_normalized_embeddings); }

  mx::array loss() const {
    nn::Pass pass;
    if (head_ == Head::masked_lm) return tasks::masked_lm_loss(model_, batch_, inputs_("labels"), pass);
    if (head_ == Head::classification) return model_.classification_loss(model_.class_logits(batch_, pass), inputs_("labels"));
    return mx::sum(embedding() * inputs_("cotangent"));
  }

  void gradients() {
    const auto params = nn::parameters(model_);
    const auto result = nn::value_and_grad(params, [&] { return loss(); });
    keep("loss", mx::reshape(result.value, {1}));
    for (size_t i = 0; i < params.size(); ++i) keep("grad." + params[i].name, result.grads[i]);
  }

  fs::path folder_;
  io::Tree tree_;
  Head head_;
  Model model_;
  Tensors inputs_;
  models::Inputs batch_;
  checkpoint::TensorMap found_;
};

int run(int count, char** arguments) {
  bool keep_going = false, with_gradients = true;
  std::vector<fs::path> folders;
  for (int i = 1; i < count; ++i) {
    const std::string word = arguments[i];
    if (word == "--keep-going") keep_going = true;
    else if (word == "--forward") with_gradients = false;
    else folders.emplace_back(word);
  }
  if (folders.empty()) {
    std::cerr << "usage: m2bert-parity-model [--keep-going] [--forward] FOLDER...\n";
    return 2;
  }
  for (const auto& folder : folders) {
    try {
      Case(folder).run(with_gradients);
    } catch (const std::exception& e) {
      std::cerr << folder.string() << ": " << e.what() << "\n";
      if (!keep_going) return 1;
    }
  }
  return 0;
}

}  // namespace
}  // namespace m2bert

int main(int count, char** arguments) { return m2bert::run(count, arguments); }
