#pragma once
// The operations that m2bert-bench-operations can run, by the names of bench/operations.py's cases. Sizes come with the inputs; what an operation is
// told beside them (heads, eps) is the 80M model's, where it has it.
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
inline constexpr int kB2 = 2;      // of the einsum form with b1 and b2
inline constexpr int kFactor = 4;  // which factor of a butterfly matrix

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
    add_prepared(name, [function = std::move(function)](const Inputs&) { return function; });
  }

  // prepare runs once, when the case is loaded, and is not timed: for what a program computes once and keeps.
  void add_prepared(const std::string& name, std::function<Function(const Inputs&)> prepare) { operations_[name] = std::move(prepare); }

  Function make(const std::string& name, const Inputs& inputs) const {
    const auto found = operations_.find(name);
    require(found != operations_.end(), "no operation is called ", name);
    return found->second(inputs);
  }

 private:
  std::map<std::string, std::function<Function(const Inputs&)>> operations_;
};

// One a file.
void add_attention(Registry& registry);
void add_convolution(Registry& registry);
void add_einops(Registry& registry);
void add_fused(Registry& registry);
void add_monarch(Registry& registry);
void add_padding(Registry& registry);

}  // namespace m2bert::bench
