#pragma once
// Everything a run needs to go on as if it had never stopped, in one safetensors file: the model's weights under their own names (so that
// every command reads the file as a model), the optimizer's moments as optimizer.*, averaged weights as algorithms.ema.*, and the rest as
// JSON in the file's metadata.
#include <filesystem>

#include "m2bert/checkpoint/tensor_file.h"
#include "m2bert/data/train_batch.h"
#include "m2bert/io/tree.h"
#include "m2bert/models/model.h"
#include "m2bert/optim/adamw.h"
#include "m2bert/optim/time.h"
#include "m2bert/optim/weight_average.h"
#include "m2bert/train/processes.h"

namespace m2bert::train {

// What is trained.
struct Trained {
  models::Model& model;
  optim::AdamW& optimizer;
  optim::WeightAverage* average = nullptr;
};

struct RunState {
  optim::Timestamp time;
  data::DataPosition position;  // of the next batch
  int64_t attempts = 0;         // batches drawn; more than time.batch where some were left out after a loss spike
  int microbatch_rows = 0;      // as chosen at the start, for the same rounding after a resume
  uint64_t log_bytes = 0;       // of the metrics file
  double seconds = 0;           // of training, over all sessions
  bool evaluated = false;       // at this very time
  bool evaluation_due = false;  // at this very time; a signal broke it off
  io::Tree guard;               // the loss guard's memory
  io::Tree recipe;              // resolved
};

// The state without the arrays, as it is saved.
io::Tree to_tree(const RunState& state, int64_t optimizer_steps);
RunState state_of(const io::Tree& tree);

// Tensors to be written: arrays that are one in memory, as layers that begin alike share theirs, become one each, so that every name is in
// the file.
checkpoint::TensorMap separate_tensors(const std::vector<nn::NamedArray>& arrays);

// Atomic. Error when it cannot be written; what was there before is then unharmed.
void save_run(const std::filesystem::path& file, const Trained& trained, const RunState& state);

// Fills the model, the optimizer and the averages. Error: no checkpoint of a run, other parameters or shapes, values that fail their
// checksum; nothing was changed then.
RunState load_run(const std::filesystem::path& file, const Trained& trained);

// The first process's arrays in all others.
void share_arrays(const Trained& trained, const Processes& processes);

// Whether the file is a checkpoint that save_run wrote (its metadata says so). Error if it cannot be opened.
bool is_run(const std::filesystem::path& file);

// The recipe that a checkpoint was made with.
io::Tree recipe_of_run(const std::filesystem::path& file);

}  // namespace m2bert::train
