#include "cli/training_run.h"

#include <CLI/CLI.hpp>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <new>

#include "cli/choice.h"
#include "cli/evaluation_text.h"
#include "cli/launch.h"
#include "cli/process_group.h"
#include "cli/runtime.h"
#include "m2bert/error.h"
#include "m2bert/io/interrupt.h"
#include "m2bert/io/json.h"
#include "m2bert/io/log.h"
#include "m2bert/io/number_text.h"
#include "m2bert/io/progress.h"
#include "m2bert/io/yaml_writer.h"
#include "m2bert/train/distributed.h"

namespace m2bert::cli {
namespace {

constexpr const char* kTrainingAdvice = "The same command with autoresume=true resumes from its last checkpoint, if it has saved one";

std::string result_text(const train::RunResult& r) {
  std::string text = (r.was_finished ? "nothing was left to do: the run had trained " : "trained ") +
                     io::show_count(uint64_t(r.time.batch)) + " batches, " + io::show_count(uint64_t(r.time.token)) + " tokens in " +
                     io::show_duration(r.seconds);
  if (std::isfinite(r.loss)) text += ", last loss " + io::fixed_text(r.loss, 4);
  if (!r.evaluations.empty()) text += ", evaluation: " + evaluation_text(r.evaluations);
  if (r.best) text += "\nbest evaluation: after batch " + io::show_count(uint64_t(r.best->batch));
  return text + "\nmodel: " + r.model.string();
}

// The arguments of this command, for the processes of launch().
std::vector<std::string> arguments_of(const TrainingCommand& command) {
  std::vector<std::string> all = command.words;
  all.insert(all.end(), command.options.overrides.begin(), command.options.overrides.end());
  if (command.options.allow_unknown) all.emplace_back("--allow-unknown");
  return all;
}

train::Processes join(const TrainingOptions& options, double timeout) {
  if (!options.hostfile.empty()) train::use_hostfile(options.hostfile, options.rank);
  return join_process_group(timeout);
}

void print_recipe(const TrainingCommand& command, const train::Recipe& recipe) {
  if (command.shows_recipe) io::info(io::to_yaml(recipe.tree));
  if (!recipe.warning.empty()) io::warn(recipe.warning);
  for (const auto& note : recipe.notes) io::warn(note);
}

train::RunResult run_recipe(const TrainingCommand& command, const train::Recipe& recipe, const tasks::Task& task,
                            const train::Processes& processes) {
  auto hooks = command.hooks;
  hooks.on_start = [&] {
    print_recipe(command, recipe);
    command.hooks.on_start();
  };
  try {
    return without_message_of_loss([&] { return train::run(recipe, task, processes, hooks); });
  } catch (const std::bad_alloc&) {
    fail("out of memory; lower device_train_microbatch_size (auto chooses one that fits)");
  }
}

[[noreturn]] void stop(const train::RunResult& r, bool resumes, const std::string& resume) {
  const std::string text = "stopped after " + std::to_string(r.time.batch) + " batches; they are saved in " + r.folder.string() +
                           ", and the same command " + (resumes ? "" : "with " + resume + " ") + "resumes from there";
  if (io::interrupted()) throw Error(text);
  io::warn(text, " (another process of the run was asked to stop)");
  throw QuietExit{128 + SIGTERM};
}

// The recipe again, with the ranks of this process in its paths.
train::Recipe read_for(const train::Processes& processes, const TrainingCommand& command) {
  const int local = processes.local_size();
  const train::Placeholders placeholders{"", processes.rank(), processes.rank() % local, processes.rank() / local, processes.size(), local};
  return command.read({command.options.allow_unknown, placeholders});
}

}  // namespace

io::Tree result_tree(const train::RunResult& r) {
  io::Tree tree{{"folder", r.folder.string()}, {"model", r.model.string()},   {"parameters", r.parameters},
                {"batches", r.time.batch},     {"epochs", r.time.epoch},      {"samples", r.time.sample},
                {"tokens", r.time.token},      {"loss", json_number(r.loss)}, {"seconds", r.seconds}};
  if (!r.evaluations.empty()) tree.set("evaluation", evaluation_tree(r.evaluations));
  if (r.best) tree.set("best", io::Tree{{"value", json_number(r.best->value)}, {"batch", r.best->batch}});
  return tree;
}

void run_training(const TrainingCommand& command, const Globals& globals) {
  ::signal(SIGPIPE, SIG_IGN);  // a run goes on when nobody reads its output, and saves when another process is gone
  auto recipe = command.read({.allow_unknown = command.options.allow_unknown});
  if (command.options.launch > 1 && !is_launched()) {
    const int code = launch(command.options.launch, arguments_of(command), globals, kTrainingAdvice);
    if (code != 0) throw QuietExit{code};
    return;
  }
  io::install_interrupt_handlers();
  train::handle_process_lost_signal();
  set_up_training();
  set_device_of(recipe, globals);
  const WithoutRingMessages no_ring_messages;
  const auto processes = join(command.options, recipe.dist_timeout);
  if (processes.size() > 1) recipe = read_for(processes, command);
  const auto task = command.task(recipe);
  const auto result = run_recipe(command, recipe, *task, processes);
  if (!processes.first()) {
    if (io::interrupted()) throw QuietExit{128 + io::interrupt_signal()};
    return;  // through main: MPI requires an orderly exit
  }
  if (result.end == train::TrainingEnd::stopped) stop(result, recipe.save.autoresume, command.resume);
  if (command.finish) command.finish(recipe, *task, result);
  if (globals.json) std::cout << io::to_json(result_tree(result)) << "\n";
  else std::cout << result_text(result) << "\n";
}

void add_training_options(CLI::App& app, TrainingOptions& options) {
  app.add_option("overrides", options.overrides, "Values in place of the recipe's: optimizer.lr=1e-4 max_duration=100ba")
      ->type_name("KEY=VALUE");
  app.add_flag("--allow-unknown", options.allow_unknown, "Ignore keys that look like misspelt ones");
  add_number(app, "--launch", options.launch, 1, 1024, "Processes to start on this machine, which share each batch")->capture_default_str();
  auto* hostfile = app.add_option("--hostfile", options.hostfile,
                                  "Processes on several machines: MLX's hostfile, [[\"10.0.0.1:5000\"], [\"10.0.0.2:5000\"]],\n"
                                  "in the order of --rank. Give the same command on each machine.")
                       ->type_name("FILE");
  auto* rank = add_number(app, "--rank", options.rank, 0, 1 << 20, "This machine's place in the hostfile, from 0");
  hostfile->needs(rank);
  rank->needs(hostfile);
}

}  // namespace m2bert::cli
