#pragma once
// Weights to start training from, whatever the file was trained for.
#include <string>
#include <vector>

#include "m2bert/checkpoint/tensor_file.h"
#include "m2bert/models/model.h"

namespace m2bert::models {

struct StartReport {
  size_t loaded = 0;               // arrays from the file
  std::vector<std::string> fresh;  // parts that keep their initial values: "masked-LM head", "classifier", "pooler"
  bool other_labels = false;       // whether the file has a classifier, but one for other labels
};

// Loads the encoder into an initialised model, and each part of its head that the file has. A part that the file lacks as a whole keeps its
// initial values, and so does the classifier if the file's is for other labels; weights of other heads are ignored. Throws an Error with a
// table, and leaves the model unchanged, if names of the encoder or some names of a part are missing, or if shapes differ. source: the
// file's name, for the error. labels: the names of the file's labels, if they are known.
StartReport start_from(Model& model, checkpoint::TensorMap weights, const std::string& source, const std::vector<std::string>& labels = {});

}  // namespace m2bert::models
