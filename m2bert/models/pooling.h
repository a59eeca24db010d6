#pragma once
// How the states of a sequence are reduced to one vector.
#include <string>
#include <vector>

#include "m2bert/mx.h"

namespace m2bert::models {

// The names are those of sentence-transformers, but for pooler.
enum class Pooling {
  pooler,                // the pooler's output: upstream's sentence embedding
  cls,                   // the state of the first token (use_cls_token)
  max,                   // maximum over the tokens
  mean,                  // mean over the tokens
  mean_sqrt_len_tokens,  // sum over the tokens / sqrt(their number)
  weightedmean,          // mean over the tokens, weighted by their position, which counts from 1
  lasttoken,             // the state of the last token
};

// Their vectors are concatenated in this order.
using Poolings = std::vector<Pooling>;

// "pooler", "cls", "max", ...; several are joined: "cls+mean". The inverses throw Error for any other name.
const char* name(Pooling pooling);
std::string name(const Poolings& poolings);
Pooling pooling_named(const std::string& text);
Poolings poolings_named(const std::string& text);

// hidden [B, L, H] at position 0. Pooling is little work, so it is computed in float32, whatever the dtype of the states.
mx::array first_state(const mx::array& hidden);
// Mean of hidden [B, L, H] over the tokens of mask [B, L].
mx::array masked_mean(const mx::array& hidden, const mx::array& mask);

// hidden [B, L, H], mask [B, L] with the padding on the right -> [B, H] float32. Leaves out the first `skipped` positions of every row,
// those of a prompt; weightedmean still counts them. Error for Pooling::pooler. Source: sentence-transformers' Pooling.
mx::array pool_states(const mx::array& hidden, const mx::array& mask, Pooling pooling, int skipped = 0);

}  // namespace m2bert::models
