// m2bert finetune glue: a sweep over the tasks of GLUE, a process for each task and seed, and the table of the results.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <iostream>
#include <map>
#include <memory>
#include <optional>
#include <set>

#include "cli/child_process.h"
#include "cli/choice.h"
#include "cli/finetune.h"
#include "cli/glue_predictions.h"
#include "cli/job_pool.h"
#include "cli/training_run.h"
#include "m2bert/data/glue.h"
#include "m2bert/error.h"
#include "m2bert/io/file.h"
#include "m2bert/io/file_lock.h"
#include "m2bert/io/interrupt.h"
#include "m2bert/io/json.h"
#include "m2bert/io/log.h"
#include "m2bert/io/number_text.h"
#include "m2bert/mx.h"
#include "m2bert/threads.h"
#include "m2bert/train/glue_sweep.h"

namespace m2bert::cli {
namespace {

namespace fs = std::filesystem;
using train::GlueJob;
using train::GlueResult;

struct GlueCommand {
  std::string recipe, data, tasks, submission, job;
  std::vector<std::string> overrides;
  bool start_from_mnli = false, keep_models = false, allow_unknown = false, overwrite = false, markdown = false;
  int jobs = 0;
};

train::GlueSweep sweep_of(const GlueCommand& c) {
  train::GlueSweepOptions options{c.data, c.start_from_mnli, c.keep_models, c.allow_unknown};
  if (!c.tasks.empty()) options.tasks = CLI::detail::split(c.tasks, ',');
  return train::read_glue_sweep(c.recipe, c.overrides, options);
}

// Files of the predictions for the test sets of a job; empty without --submission.
std::vector<fs::path> prediction_files(const GlueCommand& c, const GlueJob& job) {
  std::vector<fs::path> files;
  if (c.submission.empty()) return files;
  for (const auto& test : test_sets_of(c.data, job.task)) files.push_back(job.folder / test.file);
  return files;
}

// ---- One job, in a process of its own ----

GlueResult result_of(const GlueJob& job, const train::RunResult& run) {
  GlueResult result{.task = job.task, .seed = job.seed, .metrics = {}};
  const auto wanted = train::glue_reported_metrics(job.task);
  for (const auto& evaluation : run.evaluations)
    for (const auto& name : wanted) {
      const double* value = tasks::find(evaluation.metrics, name);
      require(value != nullptr, job.name(), ": the evaluation has no ", name);
      result.metrics[evaluation.label].push_back({name, *value});
    }
  return result;
}

// Every job writes them, so that --submission needs no model later. Without --submission, test sets that cannot be read are no error.
void write_predictions(const GlueCommand& c, const GlueJob& job, const fs::path& model) {
  try {
    write_glue_predictions(job.recipe, model, c.data, job.task, job.folder);
  } catch (const Error& error) {
    if (!c.submission.empty() || io::interrupted()) throw;
    io::warn("no predictions for the test set: ", error.what());
  }
}

void run_job(const GlueCommand& c, const Globals& globals) {
  const auto sweep = sweep_of(c);
  const auto found = std::find_if(sweep.jobs.begin(), sweep.jobs.end(), [&](const GlueJob& job) { return job.name() == c.job; });
  require(found != sweep.jobs.end(), "the recipe has no job ", c.job);
  const GlueJob& job = *found;
  TrainingCommand training;
  training.options.allow_unknown = c.allow_unknown;
  training.read = [&](const train::RecipeOptions& options) { return train::read_generated_recipe(job.recipe, job.name(), {}, options); };
  training.shows_recipe = false;
  training.finish = [&](const train::Recipe&, const tasks::Task&, const train::RunResult& run) {
    write_predictions(c, job, run.model);
    train::write_glue_result(job, result_of(job, run), run.time.batch, run.seconds);
  };
  run_training(training, globals);
}

// ---- The sweep ----

bool is_complete(const GlueCommand& c, const GlueJob& job) {
  if (!train::read_glue_result(job)) return false;
  if (job.keep_model && !fs::exists(job.folder / "model")) return false;
  const auto files = prediction_files(c, job);
  return std::all_of(files.begin(), files.end(), [](const fs::path& file) { return fs::exists(file); });
}

// Removes what a finished job needs no longer.
void remove_weights(const GlueJob& job) {
  if (job.keep_model) return;
  std::error_code ignored;
  fs::remove_all(job.folder / "model", ignored);
  for (fs::directory_iterator at(job.folder, ignored), end; !ignored && at != end; at.increment(ignored))
    if (at->path().extension() == ".safetensors") fs::remove(at->path(), ignored);
}

bool on_gpu(const Globals& globals) { return globals.device != "cpu" && mx::is_available(mx::Device::gpu); }

int workers_of(const GlueCommand& c, const train::GlueSweep& sweep, size_t missing, const Globals& globals) {
  const int most = std::max(1, int(missing));
  if (c.jobs > 0) return std::min(c.jobs, most);
  if (!sweep.parallel) return 1;
  constexpr int kThreadsOfJob = 4;
  return std::min(on_gpu(globals) ? std::max(1, int(visible_gpus().size())) : std::max(1, threads() / kThreadsOfJob), most);
}

std::vector<std::string> arguments_of(const GlueCommand& c, const GlueJob& job, int job_threads, const Globals& globals) {
  std::vector<std::string> all = {"finetune", "glue", c.recipe};
  all.insert(all.end(), c.overrides.begin(), c.overrides.end());
  all.insert(all.end(), {"--data", c.data, "--job", job.name(), "--threads", std::to_string(job_threads)});
  if (!c.submission.empty()) all.insert(all.end(), {"--submission", c.submission});
  if (c.start_from_mnli) all.emplace_back("--start-from-mnli");
  if (c.keep_models) all.emplace_back("--keep-models");
  if (c.allow_unknown) all.emplace_back("--allow-unknown");
  if (!globals.device.empty()) all.insert(all.end(), {"--device", globals.device});
  return all;
}

std::string score_text(const GlueResult& result) {
  std::string text;
  for (const auto& [set, metrics] : result.metrics)
    for (const auto& metric : metrics)
      text += (text.empty() ? "" : ", ") + set + " " + metric.name + " " + io::fixed_text(metric.value * 100, 2);
  return text;
}

constexpr const char* kNotRun = "was not run";

// Why a job failed: what its error says first, without the job's name, or the end of its log.
std::string reason_of(const PoolJob& job, std::optional<int> code) {
  if (!code) return kNotRun;
  if (*code > 128) return "ended by signal " + std::to_string(*code - 128);
  const std::string error = last_error(job.log), name = job.name + ": ";
  return error.starts_with(name) ? error.substr(name.size()) : error;
}

// A line for each reason, with the jobs that failed for it: "mnli(seed=3), rte(seed=1): ... (LOG of the first)".
std::string failures(const std::vector<PoolJob>& pool, const std::vector<std::optional<int>>& codes) {
  std::vector<std::pair<std::string, std::vector<const PoolJob*>>> reasons;
  for (size_t i = 0; i < pool.size(); ++i) {
    if (codes[i] == 0) continue;
    const std::string reason = reason_of(pool[i], codes[i]);
    const auto known = std::find_if(reasons.begin(), reasons.end(), [&](const auto& one) { return one.first == reason; });
    if (known == reasons.end()) reasons.push_back({reason, {&pool[i]}});
    else known->second.push_back(&pool[i]);
  }
  std::string lines;
  for (const auto& [reason, jobs] : reasons) {
    std::string names;
    for (const PoolJob* job : jobs) names += (names.empty() ? "" : ", ") + job->name;
    lines += "\n  " + names + ": " + reason + (reason == kNotRun ? "" : " (" + jobs.front()->log.string() + ")");
  }
  return lines;
}

// The position of MNLI's first job among these; nullopt if it is done already.
std::optional<size_t> first_mnli(const train::GlueSweep& sweep, const std::vector<const GlueJob*>& missing) {
  const auto first = std::find_if(sweep.jobs.begin(), sweep.jobs.end(), [](const GlueJob& job) { return job.task == "mnli"; });
  for (size_t i = 0; i < missing.size(); ++i)
    if (first != sweep.jobs.end() && missing[i] == &*first) return i;
  return std::nullopt;
}

// Runs the jobs that are missing. Error if one fails, once all others are done.
void run_missing(const GlueCommand& c, const train::GlueSweep& sweep, const std::vector<const GlueJob*>& missing, const Globals& globals) {
  const int workers = workers_of(c, sweep, missing.size(), globals);
  const int job_threads = std::max(1, threads() / workers);
  std::vector<PoolJob> pool;
  for (const GlueJob* job : missing) {
    fs::create_directories(job->folder);
    PoolJob one{job->name(), arguments_of(c, *job, job_threads, globals), job->folder / "job.log", std::nullopt};
    if (job->starts_from_mnli) one.after = first_mnli(sweep, missing);
    pool.push_back(std::move(one));
  }
  const auto said = [&](size_t job, const std::string& what) { io::info(pool[job].name, ": ", what); };
  std::set<std::string> reasons;  // that were said
  PoolEvents events;
  events.started = [&](size_t job) {
    said(job, "started, with " + std::to_string(job_threads) + (job_threads == 1 ? " thread" : " threads"));
  };
  events.running = [&](size_t job, const std::string& line) { said(job, line); };
  events.ended = [&](size_t job, int code) {
    if (code != 0) {
      const std::string reason = reason_of(pool[job], code);
      return said(job, io::interrupted() ? "stopped" : reasons.insert(reason).second ? "failed: " + reason : "failed in the same way");
    }
    remove_weights(*missing[job]);
    if (const auto result = train::read_glue_result(*missing[job])) said(job, "done: " + score_text(*result));
  };
  const auto codes = run_pool(pool, {.workers = workers, .gpus = on_gpu(globals) ? visible_gpus() : std::vector<std::string>()}, events);
  require(!io::interrupted(), "stopped; the same command goes on with what is missing");
  const std::string failed = failures(pool, codes);
  require(failed.empty(), "these jobs of the sweep failed, the others are done:", failed, "\nThe same command runs them again");
}

// The jobs to run: MNLI first, if others wait for it.
std::vector<const GlueJob*> missing_jobs(const GlueCommand& c, const train::GlueSweep& sweep) {
  std::vector<const GlueJob*> missing;
  for (const GlueJob& job : sweep.jobs)
    if (!is_complete(c, job)) missing.push_back(&job);
    else remove_weights(job);
  std::stable_partition(missing.begin(), missing.end(), [](const GlueJob* job) { return !job->starts_from_mnli; });
  return missing;
}

// Copies the predictions of the best seed of each task.
void write_submission(const GlueCommand& c, const train::GlueSweep& sweep, const std::vector<GlueResult>& results) {
  if (c.submission.empty()) return;
  fs::create_directories(c.submission);
  std::map<std::string, std::pair<double, const GlueJob*>> best;
  for (size_t i = 0; i < sweep.jobs.size(); ++i) {
    const double score = train::glue_table({results[i]}).average;
    auto& entry = best[sweep.jobs[i].task];
    if (!entry.second || score > entry.first) entry = {score, &sweep.jobs[i]};
  }
  for (const auto& [task, entry] : best)
    for (const fs::path& file : prediction_files(c, *entry.second))
      io::write_file(fs::path(c.submission) / file.filename(), io::read_file(file));
  io::info("submission: ", c.submission);
}

void show(const GlueCommand& c, const train::GlueSweep& sweep, const std::vector<GlueResult>& results, const Globals& globals) {
  const auto table = train::glue_table(results);
  io::Tree tree = train::glue_table_tree(table);
  tree.set("folder", sweep.folder.string());
  io::write_file(sweep.folder / "glue.json", io::to_json(tree, 2) + "\n");
  io::write_file(sweep.folder / "glue.md", train::glue_table_markdown(table));
  io::write_file(sweep.folder / "glue.html", train::glue_table_html(table, sweep.name));
  if (globals.json) std::cout << io::to_json(tree) << "\n";
  else std::cout << (c.markdown ? train::glue_table_markdown(table) : train::glue_table_text(table));
}

void run_sweep(const GlueCommand& c, const Globals& globals) {
  io::install_interrupt_handlers();
  const auto sweep = sweep_of(c);
  for (const auto& note : sweep.notes) io::warn(note);
  const data::GlueFolder data(c.data);
  for (const GlueJob& job : sweep.jobs)
    require(data.has(data::glue_task(job.task)), c.data, ": has no folder for the task ", job.task, "; a recipe with tasks.", job.task,
            " needs it");
  fs::create_directories(sweep.folder);
  const io::FileLock lock(sweep.folder / ".lock", [&] { fail(sweep.folder.string(), ": another sweep is running in this folder"); });
  if (c.overwrite)
    for (const GlueJob& job : sweep.jobs) fs::remove_all(job.folder);
  const auto missing = missing_jobs(c, sweep);
  if (missing.size() < sweep.jobs.size())
    io::info(sweep.jobs.size() - missing.size(), " of ", sweep.jobs.size(), " jobs are done already in ", sweep.folder.string());
  if (!missing.empty()) run_missing(c, sweep, missing, globals);
  std::vector<GlueResult> results;
  for (const GlueJob& job : sweep.jobs) results.push_back(train::read_glue_result(job).value());
  write_submission(c, sweep, results);
  show(c, sweep, results, globals);
}

}  // namespace

Run finetune_glue_command(CLI::App& finetune, const Globals& globals) {
  CLI::App* app = finetune.add_subcommand("glue", "Train and evaluate a model on the tasks of GLUE");
  const auto c = std::make_shared<GlueCommand>();
  app->add_option("recipe", c->recipe, "Recipe (YAML) of upstream's finetune-glue")->required()->type_name("RECIPE");
  app->add_option("overrides", c->overrides, "Values in place of the recipe's: starting_checkpoint_load_path=runs/bert default_seed=1")
      ->type_name("KEY=VALUE");
  app->add_option("--data", c->data, "Folder with a folder a task: GLUE's own TSV files, or Parquet or JSON lines as on the hub")
      ->required()
      ->type_name("DIR");
  add_number(*app, "--jobs", c->jobs, 1, 1024,
             "Jobs at a time (default: 1; if the recipe says parallel: true, as many as have 4 threads each, or the number of GPUs)");
  app->add_option("--tasks", c->tasks, "Only these of the recipe's tasks (default: all)")->type_name("TASK,...");
  app->add_flag("--start-from-mnli", c->start_from_mnli, "RTE, MRPC and STS-B start from the model that this sweep trains on MNLI");
  app->add_flag("--keep-models", c->keep_models, "Keep the model of every job, as if save_num_checkpoints_to_keep were not 0");
  app->add_option("--submission", c->submission, "Write the files for GLUE's server here, from each task's best seed")->type_name("DIR");
  app->add_flag("--overwrite", c->overwrite, "Run all jobs again");
  app->add_flag("--markdown", c->markdown, "Print the table as Markdown");
  app->add_flag("--allow-unknown", c->allow_unknown, "Ignore keys that look like misspelt ones");
  app->add_option("--job", c->job, "Run one job of the sweep")->group("");
  app->footer(
      "\nExample:\n  m2bert finetune glue finetune-glue.yaml starting_checkpoint_load_path=runs/bert --data glue_data\n"
      "The same command goes on with a sweep that was stopped.\n");
  return [c, &globals] { c->job.empty() ? run_sweep(*c, globals) : run_job(*c, globals); };
}

}  // namespace m2bert::cli
