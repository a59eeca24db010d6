#pragma once
// Configurations of models small enough to run in a moment. A test changes the fields that it is about.
#include "m2bert/models/config.h"

namespace m2bert::test {

// M2-BERT: 2 Monarch Mixer layers of 16 channels, for sequences of up to `length` tokens from a vocabulary of 88.
inline models::Config tiny_m2_config(int length = 32) {
  models::Config config;
  config.vocab_size = 88;
  config.hidden_size = 16;
  config.num_hidden_layers = 2;
  config.num_attention_heads = 2;
  config.intermediate_size = 32;
  config.max_position_embeddings = length;
  config.monarch_mixer_sequence_mixing = true;
  config.residual_long_conv = true;
  config.use_monarch_mlp = true;
  config.use_positional_encodings = true;
  config.long_conv_l_max = length;
  config.long_conv_kernel_learning_rate = 1e-3;
  config.hyena_lr_pos_emb = 1e-5;
  config.hyena_w = 10;
  config.hyena_wd = 0.1;
  config.hyena_emb_dim = 5;
  config.hyena_filter_order = 8;
  return config;
}

// Hugging Face's BERT: 2 attention layers of 16 channels, for sequences of up to 64 tokens from a vocabulary of 88.
inline models::Config tiny_bert_config() {
  models::Config config;
  config.family = models::Family::hf_bert;
  config.vocab_size = 88;
  config.hidden_size = 16;
  config.num_hidden_layers = 2;
  config.num_attention_heads = 2;
  config.intermediate_size = 32;
  config.max_position_embeddings = 64;
  return config;
}

}  // namespace m2bert::test
