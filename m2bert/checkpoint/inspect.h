#pragma once
// The contents of a checkpoint, without its values.
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "m2bert/checkpoint/tensor_file.h"

namespace m2bert::checkpoint {

// Tensors that belong together: "encoder", "optimizer".
struct TensorGroup {
  std::string name;
  size_t tensors = 0;
  uint64_t values = 0, bytes = 0;  // shared storage counts once
};

struct Inspection {
  std::string path;
  // "PyTorch zip", "PyTorch legacy", "safetensors"; for a folder "sentence-transformers folder", "Hugging Face folder" (with a
  // config.json), or "folder (safetensors)" and the like
  std::string format;
  std::string description;  // "M2-BERT masked LM, Composer checkpoint with optimizer state, 12 layers, hidden 768, L 128"
  uint64_t file_bytes = 0;  // of all weights files
  std::vector<TensorInfo> tensors;
  std::vector<std::string> weight_names;  // per tensor: its name in the model; empty if it is not a model weight
  std::vector<SkippedObject> skipped;     // tensor: a weight, so that loading is an error
  std::map<std::string, std::string> metadata;

  size_t weight_tensors = 0;             // model weights; each tied name counts
  uint64_t weight_values = 0;            // values of the model weights; shared storage counts once
  uint64_t weight_bytes = 0;             // the same in bytes
  uint64_t total_bytes = 0;              // of all tensors; shared storage counts once
  std::map<std::string, size_t> dtypes;  // number of tensors per dtype

  // What names and shapes reveal about the model; -1 or empty if unknown.
  std::string architecture;  // "M2-BERT", "attention BERT", "Hugging Face BERT", ""
  std::string head;          // "masked LM", "classifier", "embedding", ""
  int layers = -1, hidden = -1, length = -1, vocabulary = -1, labels = -1;
  bool optimizer_state = false;
  bool mask_padding = false;  // of a folder's config.json

  std::vector<TensorGroup> modules;                            // of the model weights: embeddings, encoder, pooler, heads
  std::vector<TensorGroup> states;                             // of the other tensors: optimizer, copies of the weights, random state
  std::vector<std::pair<std::string, std::string>> optimizer;  // name, kinds of state, lr, weight_decay: what is known
  std::vector<std::pair<std::string, std::string>> position;   // of a run: batch, epoch, sample, token, seconds
  std::vector<std::pair<std::string, std::string>> recipe;     // the main keys of a run's recipe, as text
};

// Reads only the headers of a checkpoint file or a model folder.
Inspection inspect(const std::filesystem::path& file_or_folder);

}  // namespace m2bert::checkpoint
