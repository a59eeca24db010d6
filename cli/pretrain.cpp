// m2bert pretrain: a masked-language model from a recipe.
#include "m2bert/train/pretrain.h"

#include <CLI/CLI.hpp>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <new>

#include "cli/choice.h"
#include "cli/command.h"
#include "cli/evaluation_text.h"
#include "cli/launch.h"
#include "cli/number_text.h"
#include "cli/runtime.h"
#include "m2bert/error.h"
#include "m2bert/io/interrupt.h"
#include "m2bert/io/json.h"
#include "m2bert/io/log.h"
#include "m2bert/io/progress.h"
#include "m2bert/io/yaml_writer.h"
#include "m2bert/tasks/masked_lm.h"
#include "m2bert/train/distributed.h"

namespace m2bert::cli {
namespace {

struct PretrainCommand {
  std::string recipe, hostfile;
  std::vector<std::string> overrides;
  int launch = 1, rank = -1;
  bool allow_unknown = false;
};

io::Tree result_tree(const train::PretrainResult& r) {
  io::Tree tree{{"folder", r.folder.string()}, {"model", r.model.string()},   {"parameters", r.parameters},
                {"batches", r.time.batch},     {"epochs", r.time.epoch},      {"samples", r.time.sample},
                {"tokens", r.time.token},      {"loss", json_number(r.loss)}, {"seconds", r.seconds}};
  if (r.evaluation) tree.set("evaluation", evaluation_tree(*r.evaluation));
  return tree;
}

std::string result_text(const train::PretrainResult& r) {
  std::string text = (r.was_finished ? "nothing was left to do: the run had trained " : "trained ") +
                     io::show_count(uint64_t(r.time.batch)) + " batches, " + io::show_count(uint64_t(r.time.token)) + " tokens in " +
                     io::show_duration(r.seconds);
  if (std::isfinite(r.loss)) text += ", last loss " + fixed_text(r.loss, 4);
  if (r.evaluation) text += ", evaluation: " + evaluation_text(*r.evaluation);
  return text + "\nmodel: " + r.model.string();
}

// The arguments of this command, for the processes of launch().
std::vector<std::string> arguments_of(const PretrainCommand& command, const Globals& globals) {
  std::vector<std::string> all = {"pretrain", command.recipe};
  all.insert(all.end(), command.overrides.begin(), command.overrides.end());
  if (command.allow_unknown) all.emplace_back("--allow-unknown");
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

train::Processes join(const PretrainCommand& command, double timeout) {
  if (!command.hostfile.empty()) train::use_hostfile(command.hostfile, command.rank);
  auto processes = without_message_of_loss([&] { return train::join_processes(timeout); });
  if (!processes.first()) silence();
  if (is_launched()) forget_hostfile(processes);
  return processes;
}

void print_recipe(const train::Recipe& recipe) {
  io::info(io::to_yaml(recipe.tree));
  if (!recipe.warning.empty()) io::warn(recipe.warning);
  for (const auto& note : recipe.notes) io::warn(note);
}

train::PretrainResult run_recipe(const train::Recipe& recipe, const train::Processes& processes) {
  try {
    return without_message_of_loss(
        [&] { return train::pretrain(recipe, tasks::MaskedLM(recipe.model), processes, [&] { print_recipe(recipe); }); });
  } catch (const std::bad_alloc&) {
    fail("out of memory; lower device_train_microbatch_size (auto chooses one that fits)");
  }
}

[[noreturn]] void stop(const train::PretrainResult& r, bool autoresume) {
  const std::string text = "stopped after " + std::to_string(r.time.batch) + " batches; they are saved in " + r.folder.string() +
                           ", and the same command " + (autoresume ? "" : "with autoresume=true ") + "resumes from there";
  if (io::interrupted()) throw Error(text);
  io::warn(text, " (another process of the run was asked to stop)");
  throw QuietExit{128 + SIGTERM};
}

// The recipe again, with the ranks of this process in its paths.
train::Recipe read_for(const train::Processes& processes, const PretrainCommand& command) {
  const int local = processes.local_size();
  const train::Placeholders placeholders{"", processes.rank(), processes.rank() % local, processes.rank() / local, processes.size(), local};
  return train::read_recipe(command.recipe, command.overrides, {command.allow_unknown, placeholders});
}

void run_pretrain(const PretrainCommand& command, const Globals& globals) {
  ::signal(SIGPIPE, SIG_IGN);  // a run goes on when nobody reads its output, and saves when another process is gone
  auto recipe = train::read_recipe(command.recipe, command.overrides, {.allow_unknown = command.allow_unknown});
  if (command.launch > 1 && !is_launched()) {
    const int code = launch(command.launch, arguments_of(command, globals), globals);
    if (code != 0) throw QuietExit{code};
    return;
  }
  io::install_interrupt_handlers();
  train::handle_process_lost_signal();
  set_device_of(recipe, globals);
  const WithoutRingMessages no_ring_messages;
  const auto processes = join(command, recipe.dist_timeout);
  if (processes.size() > 1) recipe = read_for(processes, command);
  const auto result = run_recipe(recipe, processes);
  if (!processes.first()) {
    if (io::interrupted()) throw QuietExit{128 + io::interrupt_signal()};
    return;  // through main: MPI requires an orderly exit
  }
  if (result.end == train::TrainingEnd::stopped) stop(result, recipe.save.autoresume);
  if (globals.json) std::cout << io::to_json(result_tree(result)) << "\n";
  else std::cout << result_text(result) << "\n";
}

}  // namespace

Run pretrain_command(CLI::App& app, const Globals& globals) {
  const auto command = std::make_shared<PretrainCommand>();
  app.add_option("recipe", command->recipe, "Recipe (YAML)")->required()->type_name("RECIPE");
  app.add_option("overrides", command->overrides, "Values in place of the recipe's: optimizer.lr=1e-4 max_duration=100ba")
      ->type_name("KEY=VALUE");
  app.add_flag("--allow-unknown", command->allow_unknown, "Ignore keys that look like misspelt ones");
  add_number(app, "--launch", command->launch, 1, 1024, "Processes to start on this machine, which share each batch")
      ->capture_default_str();
  auto* hostfile = app.add_option("--hostfile", command->hostfile,
                                  "Processes on several machines: MLX's hostfile, [[\"10.0.0.1:5000\"], [\"10.0.0.2:5000\"]],\n"
                                  "in the order of --rank. Give the same command on each machine.")
                       ->type_name("FILE");
  auto* rank = add_number(app, "--rank", command->rank, 0, 1 << 20, "This machine's place in the hostfile, from 0");
  hostfile->needs(rank);
  rank->needs(hostfile);
  return [command, &globals] { run_pretrain(*command, globals); };
}

}  // namespace m2bert::cli
