#pragma once
// Everything a run needs to resume as if it had never stopped, in one safetensors file: the model's weights under their own names (so that
// every command reads the file as a model), the optimizer's moments as optimizer.*, averaged weights as algorithms.ema.*, and the rest as
// JSON in the file's metadata.
#include <filesystem>
#include <optional>

#include "m2bert/checkpoint/tensor_file.h"
#include "m2bert/data/batch_source.h"
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
  std::vector<nn::NamedArray> task = {};  // the task's own state, saved as callbacks.*
};

// The best evaluation so far.
struct Best {
  double value = 0;
  int64_t batch = 0;
  int64_t evaluations_since = 0;  // without a better one
};

struct RunState {
  optim::Timestamp time;
  data::DataPosition position;            // of the next batch
  int64_t attempts = 0;                   // batches drawn; more than time.batch where the loss guard skipped some
  int microbatch_rows = 0;                // as chosen at the start, so that a resumed run rounds the same
  uint64_t log_bytes = 0;                 // of the metrics file
  double seconds = 0;                     // of training, over all sessions
  bool evaluated = false;                 // at this time
  bool evaluation_due = false;            // at this time; a signal interrupted it
  std::optional<Best> best;               // where the run looks for the best model
  int64_t evaluations_without_value = 0;  // in a row, while there is no best one: the metric was NaN or infinite
  bool stopped_early = false;             // the run is over before its length is reached
  io::Tree guard;                         // the loss guard's state
  io::Tree recipe;                        // resolved
  std::string data;                       // StreamInfo::fingerprint; empty: unknown
  std::string eval_data;                  // the same, of the evaluation sets
};

// The state without the arrays, as it is saved.
io::Tree to_tree(const RunState& state, int64_t optimizer_steps);
RunState state_of(const io::Tree& tree);

// The arrays of a model without aliases, as its files have them.
std::vector<nn::NamedArray> owned_arrays(models::Model& model);

// Tensors to write. Arrays that share memory, as layers with equal initial weights do, are copied, so that every name is in the file.
checkpoint::TensorMap separate_tensors(const std::vector<nn::NamedArray>& arrays);

// Atomic. Error if the file cannot be written; an earlier file of that name is then intact.
void save_run(const std::filesystem::path& file, const Trained& trained, const RunState& state);

// Loads the model, the optimizer and the averages. Error, with nothing changed: not a checkpoint of a run, other parameters or shapes, a
// checksum that does not match.
RunState load_run(const std::filesystem::path& file, const Trained& trained);

// Gives the first process's arrays and state to all others; returns that state. The first process's state is absent where nothing was
// loaded: then only the arrays are broadcast, and nullopt is returned everywhere.
std::optional<RunState> broadcast_run(const std::optional<RunState>& state, const Trained& trained, const Processes& processes);

// Whether save_run wrote the file, by its metadata. Error if it cannot be opened.
bool is_run(const std::filesystem::path& file);

// The state of the run that wrote a checkpoint, without loading its arrays.
RunState state_of_run(const std::filesystem::path& file);

}  // namespace m2bert::train
