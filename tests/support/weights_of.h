#pragma once
#include "m2bert/checkpoint/tensor_file.h"
#include "m2bert/nn/module.h"

namespace m2bert::test {

// The arrays of a model by their names, as a checkpoint holds them: each once.
inline checkpoint::TensorMap weights_of(nn::Module& model) {
  checkpoint::TensorMap weights;
  for (const nn::NamedArray& named : nn::named_arrays(model)) {
    if (named.role != nn::Role::alias) weights.emplace_back(named.name, *named.array);
  }
  return weights;
}

}  // namespace m2bert::test
