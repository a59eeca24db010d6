#include "tests/support/tiny_models.h"

#include <filesystem>
#include <fstream>
#include <limits>
#include <sstream>

#include "m2bert/checkpoint/safetensors.h"
#include "m2bert/checkpoint/torch_file.h"
#include "m2bert/io/json.h"
#include "tests/support/scratch.h"
#include "tests/support/weights_of.h"

namespace m2bert::test {
namespace {

constexpr const char* words[] = {"monarch", "butterfly", "mixer",  "model",  "text",  "river", "winter", "south", "north",  "green",
                                 "tree",    "paper",     "spring", "garden", "stone", "cloud", "bright", "night", "little", "house"};

std::string vocabulary() {
  std::string lines = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n";
  for (const char* word : words) lines += std::string(word) + "\n";
  for (char c = 'a'; c <= 'z'; ++c) (lines += c) += '\n';
  for (char c = 'a'; c <= 'z'; ++c) ((lines += "##") += c) += '\n';
  return lines + ".\n,\n?\n!\n";
}

void put(const std::string& file, const std::string& text) { std::ofstream(file, std::ios::binary) << text; }

checkpoint::TensorMap random_weights(const models::Config& config, models::Head head, uint64_t seed) {
  models::Model model(config, head);
  model.init(seed, true);
  return weights_of(model);
}

void break_weight(const std::string& folder, const models::Config& config) {
  checkpoint::TensorMap weights = random_weights(config, models::Head::embedding, 1);
  for (auto& [name, array] : weights)
    if (name == "bert.pooler.dense.bias") array = mx::full(array.shape(), std::numeric_limits<float>::quiet_NaN());
  checkpoint::save_safetensors(folder + "/model.safetensors", weights);
}

TinyModels write_all(const Scratch& scratch) {
  const auto at = [&](const char* name) { return (scratch / name).string(); };
  models::Config labelled = tiny_m2_config(), several = tiny_m2_config(), value = tiny_m2_config();
  labelled.num_labels = several.num_labels = 3;
  labelled.labels = several.labels = {"bad", "fair", "good"};
  several.problem_type = "multi_label_classification";
  value.num_labels = 1;
  TinyModels models;
  models.m2 = write_folder(at("m2"), tiny_m2_config(), models::Head::embedding);
  models.m2_other = write_folder(at("m2_other"), tiny_m2_config(), models::Head::embedding, 2);
  models.attention = write_folder(at("attention"), tiny_bert_config(), models::Head::embedding);
  models.classifier = write_folder(at("classifier"), labelled, models::Head::classification);
  models.multi_label = write_folder(at("multi_label"), several, models::Head::classification);
  models.regression = write_folder(at("regression"), value, models::Head::classification);
  models.masked_lm = write_folder(at("masked_lm"), tiny_m2_config(), models::Head::masked_lm);
  models.broken = write_folder(at("broken"), tiny_m2_config(), models::Head::embedding);
  break_weight(models.broken, tiny_m2_config());
  models.checkpoint = at("checkpoint");
  write_checkpoint(models.checkpoint, tiny_m2_config(), models::Head::embedding);
  return models;
}

}  // namespace

std::string write_folder(const std::string& folder, const models::Config& config, models::Head head, uint64_t seed) {
  std::filesystem::create_directories(folder);
  checkpoint::save_safetensors(folder + "/model.safetensors", random_weights(config, head, seed));
  put(folder + "/config.json", io::to_json(config.to_tree(), 2));
  put(folder + "/vocab.txt", vocabulary());
  return folder;
}

void write_checkpoint(const std::string& folder, const models::Config& config, models::Head head) {
  std::filesystem::create_directories(folder);
  checkpoint::save_composer_pt(folder + "/checkpoint.pt", random_weights(config, head, 1));
  std::string recipe = "max_seq_len: 32\nmodel:\n  name: bert\n  model_config:\n    max_position_embeddings: ${max_seq_len}\n";
  const io::Tree fields = config.to_tree();
  for (const auto& [key, value] : fields.members())
    if (key.starts_with("hyena") || key.starts_with("long_conv") || key.starts_with("use_") || key.ends_with("_size") ||
        key.starts_with("num_") || key.starts_with("monarch") || key == "residual_long_conv" || key == "bidirectional")
      recipe += "    " + key + ": " + io::to_json(value) + "\n";
  put(folder + "/recipe.yaml", recipe);
  put(folder + "/vocab.txt", vocabulary());
}

const TinyModels& tiny_models() {
  static const Scratch scratch;
  static const TinyModels models = write_all(scratch);
  return models;
}

std::string sentence(size_t number, size_t words_wanted) {
  std::string text;
  uint64_t state = number * 0x9E3779B97F4A7C15ull + 1;
  for (size_t i = 0; i < words_wanted; ++i) {
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    text += (i == 0 ? "" : " ") + std::string(words[(state >> 33) % std::size(words)]);
  }
  return text;
}

}  // namespace m2bert::test
