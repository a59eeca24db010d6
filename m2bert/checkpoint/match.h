#pragma once
// Strict matching of a checkpoint's names and shapes with a module's.
#include "m2bert/checkpoint/tensor_file.h"
#include "m2bert/nn/module.h"

namespace m2bert::checkpoint {

struct MatchReport {
  std::vector<std::string> loaded, missing, unexpected;
  std::vector<std::string> mismatched;  // "name: file [30522, 768], model [30528, 768]"

  // A table of counts and names, ready to print.
  std::string table() const;
};

struct MatchOptions {
  bool allow_missing = false;     // names that the file lacks keep the model's values
  bool allow_unexpected = false;  // names that the model lacks are ignored
  std::string source;             // the file's name, for the error
  // The error's last line if names are missing or unexpected.
  std::string advice = "Check the configuration.";
};

// Assigns the weights to the module's arrays. Floats are cast to the model's dtype; integers and floats never mix.
// Throws an Error with the table, and leaves the module unchanged, unless all names and shapes agree or the options allow the difference.
// A mismatched shape is never allowed. The file may lack an alias, or have the alias instead of its owner; values that differ from the
// owner's are an error. embeddings.position_ids, which only counts up, may be absent on either side.
MatchReport match(nn::Module& module, const TensorMap& weights, const MatchOptions& options = {});

// match() without assigning: throws if the weights do not fit the module.
MatchReport check_match(nn::Module& module, const TensorMap& weights, const MatchOptions& options = {});

}  // namespace m2bert::checkpoint
