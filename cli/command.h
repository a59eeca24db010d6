#pragma once
// What all commands share: the global options, and the rows of the command table.
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace m2bert::cli {

// Options of every command, before or after its name.
struct Globals {
  bool json = false;   // print results as JSON on stdout, and nothing else there
  bool quiet = false;  // no progress and notes; warnings and errors are printed
  int threads = 0;     // 0: all cores
  std::string device;  // "", "cpu" or "gpu"; empty: the GPU if there is one
};

// An invalid command line; main prints the message with a hint at --help and exits with 2.
class UsageError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Exits with this code and without a message: another process of the run reports the reason.
struct QuietExit {
  int code;
};

// Adds a command's options to its App and returns what runs it after parsing.
using Run = std::function<void()>;
using Setup = Run (*)(CLI::App& app, const Globals& globals);

struct Command {
  const char* name;
  const char* summary;  // one line, for the overview, the completions and the man pages
  const char* example;  // shown under the help
  Setup setup;
  bool computes = true;  // with a model, so on a GPU if there is one
};

// Shown under the help of each command.
inline constexpr const char* global_options_text = R"(
With every command:
  --json               results as JSON on stdout, nothing else there
  --quiet              no progress and no notes
  --threads N          processor threads (default: OMP_NUM_THREADS, else all cores)
  --device cpu|gpu     where to compute (default: the GPU if there is one)
)";

// What every command takes for MODEL.
inline constexpr const char* model_text =
    R"(MODEL is a model folder (Hugging Face or sentence-transformers), a .safetensors file, an M2-BERT checkpoint (.pt) with its --config YAML,
or the name of a model on Hugging Face's hub, ORG/NAME or ORG/NAME@REVISION, which is downloaded once.
)";

Run embed_command(CLI::App& app, const Globals& globals);
Run classify_command(CLI::App& app, const Globals& globals);
Run fill_mask_command(CLI::App& app, const Globals& globals);
Run similarity_command(CLI::App& app, const Globals& globals);
Run data_command(CLI::App& app, const Globals& globals);
Run tokenize_command(CLI::App& app, const Globals& globals);
Run inspect_command(CLI::App& app, const Globals& globals);
Run convert_command(CLI::App& app, const Globals& globals);
Run download_command(CLI::App& app, const Globals& globals);
Run pretrain_command(CLI::App& app, const Globals& globals);
Run finetune_command(CLI::App& app, const Globals& globals);
Run eval_command(CLI::App& app, const Globals& globals);
Run serve_command(CLI::App& app, const Globals& globals);
Run report_command(CLI::App& app, const Globals& globals);
Run bench_command(CLI::App& app, const Globals& globals);
Run completion_command(CLI::App& app, const Globals& globals);
Run man_command(CLI::App& app, const Globals& globals);

// Version, MLX's version, device and CPU features, as lines or as one JSON document.
std::string version_text(const Globals& globals);

}  // namespace m2bert::cli
