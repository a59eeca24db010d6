#pragma once
// The modules of sentence-transformers after the pooling: Dense, LayerNorm, Normalize.
#include <functional>
#include <string>
#include <vector>

#include "m2bert/checkpoint/folder.h"
#include "m2bert/mx.h"

namespace m2bert::models {

class VectorModules {
 public:
  VectorModules() = default;
  // Reads the modules' weights. Error that names the file for a missing tensor, a wrong shape and an activation that is not known.
  explicit VectorModules(const std::vector<checkpoint::VectorModule>& modules);

  // vectors [B, in] float32 -> [B, width(in)].
  mx::array operator()(mx::array vectors) const;

  // The size of the vectors for inputs of size `in`. Error if a module wants another size.
  int width(int in) const;

  bool empty() const { return steps_.empty(); }

 private:
  struct Step {
    std::string name;       // for errors
    int in = -1, out = -1;  // -1: any, and the same
    std::function<mx::array(const mx::array&)> apply;
  };
  std::vector<Step> steps_;
};

}  // namespace m2bert::models
