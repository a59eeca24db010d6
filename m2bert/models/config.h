#pragma once
// The model's configuration: every field of upstream's BertConfig, with the same names.
#include <optional>
#include <string>
#include <vector>

#include "m2bert/io/tree.h"

namespace m2bert::models {

// The family of modules. `m2`: upstream's BertModel, with the Monarch Mixer or with unpadded ALiBi attention, as
// monarch_mixer_sequence_mixing selects. `hf_bert`: Hugging Face's BERT.
enum class Family { m2, hf_bert };

struct Config {
  Family family = Family::m2;

  // BERT
  int vocab_size = 30522;
  int hidden_size = 768;
  int num_hidden_layers = 12;
  int num_attention_heads = 12;
  int intermediate_size = 3072;
  std::string hidden_act = "gelu";
  double hidden_dropout_prob = 0.1;
  double attention_probs_dropout_prob = 0.0;  // hf_bert: 0.1
  std::optional<double> classifier_dropout;   // absent: hidden_dropout_prob
  int max_position_embeddings = 512;
  int type_vocab_size = 2;
  double initializer_range = 0.02;
  double layer_norm_eps = 1e-12;
  int pad_token_id = 0;
  std::string position_embedding_type = "absolute";

  // Attention variant
  int alibi_starting_size = 512;  // has no effect: the bias is computed for each length
  bool use_positional_encodings = false;

  // Channel mixer
  bool use_glu_mlp = true;
  bool use_monarch_mlp = false;
  int monarch_mlp_nblocks = 4;

  // Sequence mixer
  bool monarch_mixer_sequence_mixing = false;
  bool residual_long_conv = false;
  bool bidirectional = true;
  bool hyena_training_additions = false;
  std::optional<int> long_conv_l_max;
  std::optional<double> long_conv_kernel_learning_rate;
  std::optional<double> hyena_lr_pos_emb;  // 0: the positions z are a buffer
  std::optional<double> hyena_w;
  std::optional<double> hyena_wd;
  std::optional<int> hyena_emb_dim;
  double hyena_w_mod = 1;
  double hyena_filter_dropout = 0.2;  // never applied, as in upstream
  int hyena_filter_order = 64;
  bool use_flash_mm = false;   // rejected: its parameters have a different layout
  bool use_flash_fft = false;  // bf16 input of the convolution on GPUs
  bool mask_padding = false;   // not upstream's: the convolutions read 0 at the padding, so states do not depend on it

  // Pooling and heads
  bool pool_all = false;
  bool attention_pooling = false;
  bool use_cls_token = false;
  bool use_normalized_embeddings = false;
  bool gather_sentence_embeddings = false;
  bool sequence_token_planting = false;
  std::string sequence_token_planting_pooling = "row";  // "reference": sums over the batch, as upstream does
  bool expand_positional_embeddings = false;
  int num_labels = 2;
  bool num_labels_given = false;            // by num_labels or id2label; else the weights of a classifier decide
  std::optional<std::string> problem_type;  // regression, single_label_classification, multi_label_classification
  std::vector<std::string> labels;          // id2label in order; empty if not given

  // Accepted, but without effect here (upstream's scripts read them).
  bool performing_BEIR_evaluation = false;
  bool use_learnable_monarch = false;
  std::optional<std::string> pretrained_checkpoint;
  std::optional<std::string> precision;

  // Beside model_config in a recipe.
  std::string tokenizer_name = "bert-base-uncased";
  std::optional<int> max_seq_len;  // the length it was trained with

  bool tie_word_embeddings = true;  // false: the masked-LM head has a matrix of its own, which must be in the file

  // Reads a recipe (YAML with model.model_config), a Hugging Face config.json, or a bare map of the fields. Absent fields have the defaults
  // above. Unknown fields cause one warning that names them. Throws Error, with file, line and field, for a wrong type, an invalid value,
  // or a missing field that the Monarch Mixer needs.
  static Config from_tree(const io::Tree& tree);

  // The names of all fields in a map of fields.
  static std::vector<std::string> fields();
  // The keys of a map of fields that from_tree would warn about.
  static std::vector<std::string> unknown_fields(const io::Tree& map);

  // As a Hugging Face config.json, which from_tree can read.
  io::Tree to_tree() const;

  // Whether the state of a token depends neither on how far its sequence is padded nor on the rest of the batch: with attention, and with
  // mask_padding.
  bool padding_is_masked() const;

  // The longest sequence in tokens that the positions or filters allow.
  int max_length() const;

  // The length to which texts are truncated by default: max_seq_len if it is given, but at most max_length().
  int default_length() const;

  // "M2-BERT (Monarch Mixer), 12 layers, hidden 768, up to 128 tokens"
  std::string summary() const;
};

}  // namespace m2bert::models
