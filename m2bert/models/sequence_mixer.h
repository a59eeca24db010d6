#pragma once
// What every sequence mixer of the encoder is given and gives.
#include <optional>

#include "m2bert/nn/init.h"
#include "m2bert/nn/module.h"
#include "m2bert/nn/pass.h"
#include "m2bert/ops/padding.h"

namespace m2bert::models {

// A batch as the layers see it, made once a forward pass.
struct EncoderContext {
  int batch = 0, seqlen = 0;
  std::optional<ops::Unpadding> unpadding;  // attention: layers work on rows [nnz, H]
  std::optional<mx::array> key_bias;        // [B, S], added to every score of that key
  bool alibi = false;                       // adds the distance times a slope a head
};

// Mixes along the text: [B, L, H] -> the same; attention where the context has an unpadding: rows [nnz, H] -> the same.
class SequenceMixer : public nn::Module {
 public:
  virtual mx::array operator()(const mx::array& u, const EncoderContext& context, nn::Pass& pass) const = 0;
  virtual void init(float initializer_range, nn::KeySequence& keys) = 0;
};

// Mixes along the channels, with its residual and norm: [..., H] -> the same.
class ChannelMixer : public nn::Module {
 public:
  virtual mx::array operator()(const mx::array& x, nn::Pass& pass) const = 0;
  virtual void init(float initializer_range, nn::KeySequence& keys) = 0;
};

}  // namespace m2bert::models
