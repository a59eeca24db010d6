#pragma once
// The settings of one forward pass: training or inference, dropout key, hooks.
#include <functional>
#include <optional>
#include <string>

#include "m2bert/mx.h"

namespace m2bert::nn {

class Pass {
 public:
  // Inference: no dropout.
  Pass() = default;
  // Training: every dropout uses its own split of key. The key is an array, so a compiled step that gets a new key draws new masks.
  static Pass training(const mx::array& key) {
    Pass pass;
    pass.key_ = key;
    return pass;
  }

  bool train() const { return key_.has_value(); }

  // Inference for callers that ignore the states at the padding: attention skips the padding and returns zeros there.
  static Pass without_padding() {
    Pass pass;
    pass.skips_padding_ = true;
    return pass;
  }
  bool skips_padding() const { return skips_padding_ && !train() && !on_hook; }

  // Whether packed weights may be used: their kernels have no gradient, no dropout and no hooks.
  bool allows_packed() const { return !train() && !has_hook(); }

  // Dropout of x in training; x itself at inference.
  mx::array dropout(const mx::array& x, float p);
  // The key of the next dropout with probability p, for operations that contain dropout; nullopt at inference or if p is 0.
  std::optional<mx::array> dropout_key(float p);

  // Receives every named activation of the forward pass ("layer.0.mixer.in_linear", the names of the golden files) and may replace it.
  std::function<mx::array(const std::string& name, const mx::array& x)> on_hook;
  bool has_hook() const { return bool(on_hook); }

  // x, or what on_hook returns for it. `name` is prefixed with the current scopes.
  mx::array hook(const std::string& name, const mx::array& x) const { return on_hook ? on_hook(scope_ + name, x) : x; }

  // Called with the states after each encoder layer but the last, which it may evaluate: a long pass can so make room for other work.
  std::function<void(const mx::array& states)> after_layer;

  // Whether an encoder may evaluate its first layer before the graph of the others is built, so that a GPU begins early. Inputs without
  // values (placeholders) need false.
  bool launches_early = true;

  // During its lifetime, prefixes the names of hooks with "name.".
  class Scope {
   public:
    Scope(Pass& pass, const std::string& name) : pass_(pass), outer_(pass.scope_) {
      if (pass.on_hook) pass.scope_ += name + ".";
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
