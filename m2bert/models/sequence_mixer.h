#pragma once
// The interfaces of a layer's two halves.
#include <optional>

#include "m2bert/nn/init.h"
#include "m2bert/nn/module.h"
#include "m2bert/nn/pass.h"
#include "m2bert/ops/host_array.h"
#include "m2bert/ops/padding.h"

namespace m2bert::models {

// What the layers need to know about a batch, computed once per forward pass.
struct EncoderContext {
  int batch = 0, seqlen = 0;
  std::optional<ops::Unpadding> unpadding;  // if present, layers work on rows [nnz, H], or on its aligned rows
  std::optional<mx::array> key_bias;        // [B, S], added to every score of that key
  bool alibi = false;                       // subtracts the distance times a slope for each head
};

// The rows of the first tokens, [B, H]. x as a layer gets it: [B, L, H], or rows of which every sequence has one.
inline mx::array first_rows(const mx::array& x, const EncoderContext& context) {
  if (!context.unpadding) return mx::take(x, 0, 1);
  const auto& unpadding = *context.unpadding;
  const auto& first = unpadding.aligned ? unpadding.aligned->first : unpadding.cu_seqlens;
  return ops::index_first_axis(x, ops::host_array(first.data(), {context.batch}));
}

struct PackOptions {
  size_t filter_cache_bytes = 0;  // upper limit for the cached filters of a layer
};

// One half of a layer. pack() packs its weights for inference (Model::pack). Until unpack(), passes that allow it use the packed weights.
class Sublayer : public nn::Module {
 public:
  Sublayer() = default;
  Sublayer(const Sublayer&) = delete;  // packed forms refer to the members
  Sublayer& operator=(const Sublayer&) = delete;
  virtual void init(float initializer_range, nn::KeySequence& keys) = 0;
  virtual void pack(const PackOptions& options) = 0;
  virtual void unpack() = 0;
};

// Mixes along the sequence: [B, L, H] -> the same shape; with an unpadding in the context: rows [nnz, H] -> the same shape.
class SequenceMixer : public Sublayer {
 public:
  virtual mx::array operator()(const mx::array& u, const EncoderContext& context, nn::Pass& pass) const = 0;
  // The result for the first token of each sequence alone, [B, H], up to rounding. The pass has no hooks, and no sequence is empty.
  virtual mx::array first(const mx::array& u, const EncoderContext& context, nn::Pass& pass) const {
    return first_rows((*this)(u, context, pass), context);
  }
  // Above 1: of sequences of up to `seqlen` positions without holes, this pass takes rows of this dtype that are aligned to this.
  virtual int row_alignment(int /*seqlen*/, mx::Dtype, const nn::Pass&) const { return 1; }
};

// Mixes along the channels, including residual and norm: [..., H] -> the same shape.
class ChannelMixer : public Sublayer {
 public:
  virtual mx::array operator()(const mx::array& x, nn::Pass& pass) const = 0;
};

}  // namespace m2bert::models
