#pragma once
// A run that fine-tunes a retriever: its data and negatives, its task, and the folder of its model.
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "m2bert/io/tree.h"
#include "m2bert/tasks/retrieval.h"
#include "m2bert/train/retrieval_source.h"
#include "m2bert/train/run.h"

namespace m2bert::train {

// A recipe of retrieval with what upstream's recipes leave to their script:
//   base_model                     a trained model: its configuration, in which model.model_config changes fields, weights, tokenizer and
//                                  pooling; else `model` and the weights that load_path, starting_checkpoint_load_path or
//                                  model.pretrained_checkpoint names. Both are an error
//   task                           becomes {name: retrieval}
//   train_loader, eval_loader      get `name: retrieval`; an eval_loader without data is left out
//   run_name, save_folder          base_run_name, save_finetune_checkpoint_folder
//   precision: bf16                is amp_bf16
//   algorithms.gradient_clipping   norm 1, as the script has it, unless the recipe says otherwise
// Error with the recipe's place if it names no weights or no training data.
io::Tree complete_retrieval_recipe(io::Tree recipe);

class RetrievalRun {
 public:
  // Reads the training data, mines what does not need the trained model, and embeds all texts with the guide and the teacher.
  explicit RetrievalRun(const Recipe& recipe);

  // Of this run, which must outlive it.
  std::unique_ptr<tasks::Task> task();
  // The data, the state and the model folder of this run, which must outlive them.
  RunHooks hooks();

 private:
  void read_data();
  void choose_negatives();
  void read_evaluation();
  void read_vector_settings();
  void embed_tables();
  data::TextRows text_rows(const LoaderConfig& loader) const;
  RunData open(const Processes& processes);
  void describe(checkpoint::FolderDescription& description) const;

  const Recipe& recipe_;
  const RetrievalConfig& config_;
  tokenize::WordPiece tokenizer_;
  std::string query_prompt_, passage_prompt_;
  data::RetrievalData data_;
  tasks::RetrievalSettings settings_;
  std::vector<std::string> eval_queries_, eval_passages_;
  std::string eval_fingerprint_;
  std::optional<tasks::MemoryBank> bank_;
  std::unique_ptr<data::RetrievalBatches> batches_;
  MiningSource* mining_ = nullptr;  // owned by the run's data
  const tasks::BatchLoss* task_ = nullptr;
};

}  // namespace m2bert::train
