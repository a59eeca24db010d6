// m2bert convert: converts a model to another format.
#include "m2bert/checkpoint/convert.h"

#include <CLI/CLI.hpp>
#include <filesystem>
#include <iostream>
#include <map>
#include <memory>

#include "cli/choice.h"
#include "cli/command.h"
#include "cli/model_option.h"
#include "cli/output_path.h"
#include "m2bert/error.h"
#include "m2bert/io/json.h"
#include "m2bert/io/log.h"
#include "m2bert/io/progress.h"
#include "m2bert/models/pretrained.h"

namespace m2bert::cli {
namespace {

namespace fs = std::filesystem;
using checkpoint::Target;

struct ConvertCommand {
  std::string in, out, to, dtype, config, pooling = "cls";
  bool normalize = false, overwrite = false;
  int max_length = 0;
};

const std::map<std::string, Target> targets = {{"safetensors", Target::safetensors},
                                               {"pt", Target::composer_pt},
                                               {"hugging-face", Target::hugging_face},
                                               {"sentence-transformers", Target::sentence_transformers}};

std::string name_of(Target target) {
  for (const auto& [name, value] : targets)
    if (value == target) return name;
  return "";
}

// The configuration for a folder made from a checkpoint file: --config, or the one beside the file.
std::string config_text(const ConvertCommand& command, const std::filesystem::path& in, checkpoint::Target target) {
  std::optional<std::filesystem::path> file;
  if (!command.config.empty()) file = command.config;
  if (!file && checkpoint::is_folder(target) && std::filesystem::is_regular_file(in)) file = models::find_config_beside(in);
  return file ? io::to_json(models::read_config(*file).to_tree(), 2) + "\n" : "";
}

checkpoint::ConvertOptions convert_options(const ConvertCommand& command, const std::filesystem::path& in) {
  checkpoint::ConvertOptions options;
  if (!command.to.empty()) options.target = targets.at(command.to);
  if (!command.dtype.empty()) options.dtype = checkpoint::to_mlx_dtype(command.dtype, "--dtype");
  options.config_json = config_text(command, in, options.target.value_or(checkpoint::target_of(command.out)));
  options.pooling = command.pooling;
  options.normalize = command.normalize;
  if (command.max_length > 0) options.max_seq_length = command.max_length;
  return options;
}

// Other programs cannot guess the tokenizer of a folder without one; m2bert uses BERT's.
void warn_without_tokenizer(const fs::path& out) {
  if (!fs::is_directory(out) || fs::exists(out / "vocab.txt") || fs::exists(out / "tokenizer.json")) return;
  io::warn(out.string(), ": has no tokenizer, since only that of a model folder is copied; put its vocab.txt or tokenizer.json there");
}

void run_convert(const ConvertCommand& command, const Globals& globals) {
  require_free(command.out, command.overwrite);
  require_not_read(command.out, {command.config});
  const auto in = find_model(command.in);
  const checkpoint::ConvertReport report = checkpoint::convert(in, command.out, convert_options(command, in));
  warn_without_tokenizer(command.out);
  if (globals.json) {
    std::cout << io::to_json(io::Tree{{"input", command.in},
                                      {"output", command.out},
                                      {"format", name_of(report.target)},
                                      {"tensors", report.tensors},
                                      {"bytes_in", report.bytes_in},
                                      {"bytes_out", report.bytes_out}})
              << "\n";
  } else if (!globals.quiet) {
    std::cout << command.out << ": " << report.tensors << " tensors, " << io::show_bytes(report.bytes_out) << " (" << name_of(report.target)
              << ", from " << io::show_bytes(report.bytes_in) << ")\n";
  }
}

}  // namespace

Run convert_command(CLI::App& app, const Globals& globals) {
  const auto command = std::make_shared<ConvertCommand>();
  app.add_option("in", command->in, "Checkpoint (.pt, .pth, .bin, .safetensors), model folder, or ORG/NAME[@REVISION] on the hub")
      ->required()
      ->type_name("IN");
  app.add_option("out", command->out, "File (.safetensors, .pt) or folder to write")->required()->type_name("OUT");
  add_choice(app, "--to", command->to, {"safetensors", "pt", "hugging-face", "sentence-transformers"},
             "Format of OUT (default: by its name; a folder is hugging-face)");
  add_dtype(app, command->dtype, "Type of the numbers (default: as they are); int8 for the weights of layers and embeddings");
  app.add_option("--config", command->config, "Recipe (YAML) or config.json, for folders made from a checkpoint file")->type_name("FILE");
  add_choice(app, "--pooling", command->pooling, {"cls", "mean"}, "Pooling of a sentence-transformers folder made from another format")
      ->capture_default_str();
  app.add_flag("--normalize", command->normalize, "The same folder scales vectors to length 1");
  add_number(app, "--max-length", command->max_length, 3, 1 << 24, "Longest text of a sentence-transformers folder, in tokens");
  app.add_flag("--overwrite", command->overwrite, "Replace OUT");
  return [command, &globals] { run_convert(*command, globals); };
}

}  // namespace m2bert::cli
