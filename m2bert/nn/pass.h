#pragma once
// What one forward pass is told beside its inputs.
#include <functional>
#include <optional>
#include <string>

#include "m2bert/mx.h"

namespace m2bert::nn {

class Pass {
 public:
  // Inference: no dropout.
  Pass() = default;
  // Training: every dropout draws from its own split of key. Pass a key as an array and compiled steps do not repeat their masks.
  static Pass training(const mx::array& key) {
    Pass pass;
    pass.key_ = key;
    return pass;
  }

  bool train() const { return key_.has_value(); }

  // Inference whose caller does not look at the states of padding: attention then leaves it out, and gives zeros there.
  static Pass without_padding() {
    Pass pass;
    pass.skips_padding_ = true;
    return pass;
  }
  bool skips_padding() const { return skips_padding_ && !train() && !on_stage; }

  // x with dropout in training, x itself at inference.
  mx::array dropout(const mx::array& x, float p);
  // The key of the next dropout with probability p, for ops that drop by themselves; none at inference, or where p is 0.
  std::optional<mx::array> dropout_key(float p);

  // Sees every named stage of the forward pass ("layer.0.mixer.in_linear", names as in the golden files) and may replace it.
  std::function<mx::array(const std::string& stage, const mx::array& x)> on_stage;
  // false: on_stage does without the stages inside a fused kernel, so that the kernel is taken (for timing).
  bool inner_stages = true;
  bool shows_inner_stages() const { return on_stage && inner_stages; }

  // x, or what on_stage makes of it. `stage` is prefixed with the scopes entered.
  mx::array stage(const std::string& name, const mx::array& x) const { return on_stage ? on_stage(scope_ + name, x) : x; }

  // Prefixes the stages of its lifetime with "name.".
  class Scope {
   public:
    Scope(Pass& pass, const std::string& name) : pass_(pass), outer_(pass.scope_) {
      if (pass.on_stage) pass.scope_ += name + ".";
    }
    ~Scope() { pass_.scope_ = outer_; }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Pass& pass_;
    std::string outer_;
  };

 private:
  std::optional<mx::array> key_;
  bool skips_padding_ = false;
  std::string scope_;
};

}  // namespace m2bert::nn
