#pragma once
// Fine-tuning on GLUE: a recipe of upstream's finetune-glue as one run for each task and seed, and the table of their results.
// Source: bert/glue.py and bert/src/glue/finetuning_jobs.py of upstream.
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "m2bert/io/tree.h"
#include "m2bert/tasks/task.h"

namespace m2bert::train {

// A task with one seed.
struct GlueJob {
  std::string task;
  uint64_t seed = 0;
  std::filesystem::path folder;   // SAVE_FOLDER/task=rte/seed=19
  io::Tree recipe;                // of the run
  bool keep_model = false;        // otherwise the run leaves its result alone
  bool starts_from_mnli = false;  // begins when the first MNLI job is done, with its model

  std::string name() const;  // "rte(seed=19)"
};

struct GlueSweepOptions {
  std::filesystem::path data;    // a folder for data::GlueFolder
  bool start_from_mnli = false;  // RTE, MRPC and STS-B start from the model of the MNLI job of the same sweep
  bool keep_models = false;      // of every job, not only those with save_num_checkpoints_to_keep above 0
  bool allow_unknown = false;
  std::vector<std::string> tasks = {};  // of the recipe's; empty: all
};

struct GlueSweep {
  std::string name;              // base_run_name
  std::filesystem::path folder;  // save_finetune_checkpoint_folder
  bool parallel = false;
  std::vector<GlueJob> jobs;       // in the recipe's order of tasks, then seeds
  std::vector<std::string> notes;  // keys without effect, tasks that are left out
};

// Reads a recipe with overrides. A starting_checkpoint_load_path that has "mnli" in it leaves only RTE, MRPC and STS-B, as upstream does.
// Error with file, line and key: no starting checkpoint, an unknown task, trainer argument or key.
GlueSweep read_glue_sweep(const std::filesystem::path& recipe, const std::vector<std::string>& overrides, const GlueSweepOptions& options);

// The metrics of one job, by evaluation set: glue_mnli, glue_mnli_mismatched.
struct GlueResult {
  std::string task;
  uint64_t seed = 0;
  std::map<std::string, std::vector<tasks::Metric>> metrics;  // those that upstream reports
};

// The metrics that upstream reports for a task: MatthewsCorrCoef for CoLA.
std::vector<std::string> glue_reported_metrics(const std::string& task);

// The result of a finished job; nullopt if it is not finished. Error: the result was made with other settings, or is damaged.
std::optional<GlueResult> read_glue_result(const GlueJob& job);
// Writes it in one piece, with the settings of the job.
void write_glue_result(const GlueJob& job, const GlueResult& result, int64_t batches, double seconds);

struct GlueRow {
  std::string task, set, metric;
  std::vector<uint64_t> seeds;
  std::vector<double> values;  // of the seeds, in percent
  double mean = 0;
  std::optional<double> deviation;  // of the seeds (n - 1); nullopt for one
};

// Scores in percent. The score of a task is the mean of all its metrics over sets and seeds, and the average that of the tasks, as in
// upstream's table.
struct GlueTable {
  std::vector<GlueRow> rows;
  std::vector<std::pair<std::string, double>> scores;
  double average = 0;  // NaN without results
};
GlueTable glue_table(const std::vector<GlueResult>& results);

std::string glue_table_text(const GlueTable& table);
std::string glue_table_markdown(const GlueTable& table);
io::Tree glue_table_tree(const GlueTable& table);
std::string glue_table_html(const GlueTable& table, const std::string& title);

}  // namespace m2bert::train
