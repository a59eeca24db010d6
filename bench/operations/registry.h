#pragma once
// The operations that m2bert-bench-operations runs, by the names of the cases in bench/operations.py. Shapes come with the inputs; other
// parameters (heads, eps) are those of the 80M model.
#include <functional>
#include <map>
#include <string>
#include <utility>

#include "m2bert/error.h"
#include "m2bert/mx.h"

namespace m2bert::bench {

inline constexpr int kHeads = 12;
inline constexpr float kLayerNormEps = 1e-12F;
inline constexpr float kDropout = 0.1F;
inline constexpr int kRank = 32;   // of low_rank_project
inline constexpr int kB2 = 2;      // of the einsum with b1 and b2
inline constexpr int kFactor = 4;  // the number of a butterfly factor

class Inputs {
 public:
  const mx::array& operator[](const std::string& name) const {
    const auto found = arrays_.find(name);
    require(found != arrays_.end(), "the case has no input ", name);
    return found->second;
  }
  bool has(const std::string& name) const { return arrays_.contains(name); }
  void set(const std::string& name, mx::array value) { arrays_.insert_or_assign(name, std::move(value)); }

 private:
  std::map<std::string, mx::array> arrays_;
};

using Function = std::function<mx::array(const Inputs&)>;

class Registry {
 public:
  void add(const std::string& name, Function function) {
    add_with_setup(name, [function = std::move(function)](const Inputs&) { return function; });
  }

  // setup runs once, when the case is loaded, and is not timed: for what a program computes once and caches.
  void add_with_setup(const std::string& name, std::function<Function(const Inputs&)> setup) { operations_[name] = std::move(setup); }

  Function make(const std::string& name, const Inputs& inputs) const {
    const auto found = operations_.find(name);
    require(found != operations_.end(), "no operation is called ", name);
    return found->second(inputs);
  }

 private:
  std::map<std::string, std::function<Function(const Inputs&)>> operations_;
};

// Each in a file of its own.
void add_attention(Registry& registry);
void add_convolution(Registry& registry);
void add_einops(Registry& registry);
void add_fused(Registry& registry);
void add_mixer_core(Registry& registry);  // where there are CUDA kernels
void add_monarch(Registry& registry);
void add_padding(Registry& registry);

}  // namespace m2bert::bench
