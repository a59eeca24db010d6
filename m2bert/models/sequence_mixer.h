#pragma once
// The interfaces of a layer's two halves.
#include <optional>

#include "m2bert/nn/init.h"
#include "m2bert/nn/module.h"
#include "m2bert/nn/pass.h"
#include "m2bert/ops/padding.h"

namespace m2bert::models {

// A batch as the layers see it, made once per forward pass.
struct EncoderContext {
  int batch = 0, seqlen = 0;
  std::optional<ops::Unpadding> unpadding;  // attention: layers work on rows [nnz, H]
  std::optional<mx::array> key_bias;        // [B, S], added to every score of that key
  bool alibi = false;                       // subtracts the distance times a slope per head
};

struct PackOptions {
  size_t filter_cache_bytes = 0;  // the most memory that a layer's cached filters may take
};

// A half of a layer. pack() packs its weights for inference (Model::pack); until unpack() passes that allow it use the packed ones.
class Mixer : public nn::Module {
 public:
  virtual void init(float initializer_range, nn::KeySequence& keys) = 0;
  virtual void pack(const PackOptions& options) = 0;
  virtual void unpack() = 0;
};

// Mixes along the sequence: [B, L, H] -> the same; attention where the context has an unpadding: rows [nnz, H] -> the same.
class SequenceMixer : public Mixer {
 public:
  virtual mx::array operator()(const mx::array& u, const EncoderContext& context, nn::Pass& pass) const = 0;
};

// Mixes along the channels, with its residual and norm: [..., H] -> the same.
class ChannelMixer : public Mixer {
 public:
  virtual mx::array operator()(const mx::array& x, nn::Pass& pass) const = 0;
};

}  // namespace m2bert::models
