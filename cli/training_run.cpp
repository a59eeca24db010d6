#include "cli/training_run.h"

#include <CLI/CLI.hpp>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <new>
#include <set>

#include "cli/choice.h"
#include "cli/evaluation_text.h"
#include "cli/launch.h"
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
std::vector<std::string> arguments_of(const TrainingCommand& command, const Globals& globals) {
  std::vector<std::string> all = command.words;
  all.insert(all.end(), command.options.overrides.begin(), command.options.overrides.end());
  if (command.options.allow_unknown) all.emplace_back("--allow-unknown");
  if (globals.json) all.emplace_back("--json");
  if (globals.quiet) all.emplace_back("--quiet");
  if (!globals.device.empty()) all.insert(all.end(), {"--device", globals.device});
  if (globals.threads > 0) all.insert(all.end(), {"--threads", std::to_string(globals.threads)});
  return all;
}

// Only the first process prints.
void silence() {
  io::set_quiet(true);
  io::set_log_level(io::LogLevel::off);
}

// A launcher reports lost processes, but does not know which one another waits for.
template <class Body>
auto without_message_of_loss(Body&& body) {
  try {
    return body();
  } catch (const train::ProcessTimeout&) {
    throw;
  } catch (const train::ProcessLost&) {
    if (is_launched()) throw QuietExit{kProcessLost};
    throw;
  }
}

// Removes the launcher's hostfile once every process has read it, so that it does not stay even if the launcher is killed.
void forget_hostfile(const train::Processes& processes) {
  without_message_of_loss([&] { return processes.any(false); });
  const char* hostfile = std::getenv("MLX_HOSTFILE");
  if (processes.first() && hostfile) std::remove(hostfile);
}

train::Processes join(const TrainingOptions& options, double timeout) {
  if (!options.hostfile.empty()) train::use_hostfile(options.hostfile, options.rank);
  auto processes = without_message_of_loss([&] { return train::join_processes(timeout); });
  if (!processes.first()) silence();
  if (is_launched()) forget_hostfile(processes);
  return processes;
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
    const int code = launch(command.options.launch, arguments_of(command, globals), globals);
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

std::vector<std::string> words_of(const CLI::App& app) {
  std::vector<std::string> words;
  for (const CLI::App* level = &app; level->get_parent(); level = level->get_parent()) words.insert(words.begin(), level->get_name());
  for (const CLI::Option* option : app.get_options()) {
    static const std::set<std::string> ours = {"overrides", "--allow-unknown", "--launch", "--hostfile", "--rank", "--help"};
    if (option->count() == 0 || ours.contains(option->get_name())) continue;
    if (!option->get_positional()) words.push_back(option->get_name());
    if (option->get_positional() || option->get_items_expected_max() > 0)
      for (const auto& value : option->results()) words.push_back(value);
  }
  return words;
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
