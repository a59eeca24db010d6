#pragma once
// Strict matching of checkpoint names and shapes into a module.
#include "m2bert/checkpoint/tensor_file.h"
#include "m2bert/nn/module.h"

namespace m2bert::checkpoint {

struct MatchReport {
  std::vector<std::string> loaded, missing, unexpected;
  std::vector<std::string> mismatched;  // "name: file [30522, 768], model [30528, 768]"

  // One table of counts and names, ready to print.
  std::string table() const;
};

struct MatchOptions {
  bool allow_missing = false;     // names the model has and the file lacks keep the model's values
  bool allow_unexpected = false;  // names the file has and the model lacks are left out
  std::string source;             // the file's name, for the error
};

// Puts the weights into the module's arrays, in the model's dtype for floats (integer and float never mix).
// Error with the table unless all names and shapes agree or the options allow the difference; then the module is unchanged.
// A mismatched shape is never allowed. An alias may be absent from the file, or stand there alone for its owner; values that
// differ from the owner's are an error. embeddings.position_ids, which only counts up, may be absent on either side.
MatchReport match(nn::Module& module, const TensorMap& weights, const MatchOptions& options = {});

}  // namespace m2bert::checkpoint
