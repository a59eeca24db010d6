// m2bert convert: converts a model to another format.
#include "m2bert/checkpoint/convert.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <iostream>
#include <map>
#include <memory>
#include <optional>

#include "cli/choice.h"
#include "cli/command.h"
#include "cli/model_option.h"
#include "cli/output_path.h"
#include "m2bert/checkpoint/folder.h"
#include "m2bert/error.h"
#include "m2bert/io/file.h"
#include "m2bert/io/json.h"
#include "m2bert/io/log.h"
#include "m2bert/io/progress.h"
#include "m2bert/models/check_weights.h"
#include "m2bert/models/pretrained.h"
#include "m2bert/tokenize/model_max_length.h"
#include "m2bert/tokenize/wordpiece.h"

namespace m2bert::cli {
namespace {

namespace fs = std::filesystem;
using checkpoint::Target;

struct ConvertCommand {
  std::string in, out, to, dtype, weights, config, tokenizer, pooling;
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

Target target_of(const ConvertCommand& command) {
  return command.to.empty() ? checkpoint::target_of(fs::path(command.out)) : targets.at(command.to);
}

// A recipe or config.json.
struct ModelConfig {
  fs::path file;
  models::Config config;
  bool copied = false;  // the new folder gets this config.json unchanged
};

ModelConfig read_model_config(const fs::path& file, bool copied) { return {file, models::read_config(file), copied}; }

// The configuration of a new folder's model, or of the weights that --config is to fit: --config, the input folder's, or the one beside
// the input file.
std::optional<ModelConfig> find_config(const ConvertCommand& command, const fs::path& in,
                                       const std::optional<checkpoint::ModelFolder>& folder) {
  if (!command.config.empty()) return read_model_config(command.config, false);
  if (!checkpoint::is_folder(target_of(command))) return std::nullopt;
  const auto found = folder ? models::find_config(*folder) : models::find_config_beside(in);
  if (!found) return std::nullopt;
  return read_model_config(*found, folder && found->extension() == ".json");
}

// Checks the weights against the configuration, and describes their model: config.json with the number of labels that the weights have, and
// the pooling that embed takes.
checkpoint::ModelDescription describe_model(ModelConfig model, const checkpoint::TensorMap& weights, const ConvertCommand& command) {
  models::adopt_num_labels(model.config, weights, model.file.string());
  models::check_weights(model.config, weights, command.in + " with " + model.file.string());
  const models::Model built(model.config, models::head_of(weights));
  require(command.pooling != "pooler" || built.has_pooler(), "--pooling pooler: the weights of ", command.in, " have no pooler");
  return {model.copied ? "" : io::to_json(model.config.to_tree(), 2) + "\n", {models::name(models::default_pooling(built))}};
}

// The first word with a capital; none of "[CLS]" and the like.
std::optional<std::string> word_with_capital(const tokenize::WordPiece& tokenizer) {
  for (size_t id = 0; id < tokenizer.vocab_size(); ++id) {
    const std::string word(tokenizer.token(int32_t(id)));
    if (!word.starts_with('[') && std::ranges::any_of(word, [](char c) { return c >= 'A' && c <= 'Z'; })) return word;
  }
  return std::nullopt;
}

// What a vocabulary alone does not say: whether texts are lower-cased. tokenizer_config.json beside it does. Error if it does not, and the
// vocabulary has words that lower-cased texts never have.
void add_casing(const fs::path& vocabulary, const tokenize::WordPiece& tokenizer, std::map<std::string, std::string>& files) {
  const fs::path beside = vocabulary.parent_path() / "tokenizer_config.json";
  const io::Tree settings = fs::exists(beside) ? io::read_json(beside) : io::Tree::map();
  io::Tree casing = io::Tree::map();
  for (const char* key : {"do_lower_case", "strip_accents", "tokenize_chinese_chars"})
    if (const io::Tree* value = settings.find(key); value && !value->is_null()) casing.set(key, *value);
  if (casing.size() > 0) files["tokenizer_config.json"] = io::to_json(casing, 2) + "\n";
  if (casing.contains("do_lower_case")) return;
  const auto capital = word_with_capital(tokenizer);
  require(!capital, vocabulary.string(), ": has words with capitals (", capital.value_or(""),
          "), and no tokenizer_config.json beside it says ", "do_lower_case: true or false");
}

// The files of --tokenizer. Reading it as a tokenizer checks it. The limit of the model stays if the tokenizer sets none.
std::map<std::string, std::string> named_tokenizer(const fs::path& path, const models::Config& config, std::optional<size_t> limit) {
  const auto tokenizer = tokenize::WordPiece::from_file(path);
  const size_t tokens = tokenizer.vocab_size();
  require(tokens <= size_t(config.vocab_size), path.string(), ": has ", tokens, " tokens, the model has embeddings for ",
          config.vocab_size);
  std::map<std::string, std::string> files;
  if (fs::is_directory(path)) files = checkpoint::tokenizer_files(path);
  else files[path.extension() == ".json" ? "tokenizer.json" : "vocab.txt"] = io::read_file(path);
  if (files.contains("vocab.txt") && !fs::is_directory(path)) add_casing(path, tokenizer, files);
  if (!limit || tokenizer.settings().model_max_length) return files;
  checkpoint::set_json_field(files["tokenizer_config.json"], path.string(), "model_max_length", int(*limit));
  return files;
}

// bert-base-uncased, which a model without a tokenizer of its own uses; also for its 30,528 rows, which upstream pads to a multiple of 8.
std::map<std::string, std::string> builtin_tokenizer(const models::Config& config) {
  const auto words = tokenize::WordPiece::builtin();
  const size_t tokens = words.vocab_size(), padded = (tokens + 7) / 8 * 8;
  if (size_t(config.vocab_size) != tokens && size_t(config.vocab_size) != padded) return {};
  std::string lines;
  for (size_t id = 0; id < tokens; ++id) (lines += words.token(int32_t(id))) += '\n';
  const io::Tree settings = {{"tokenizer_class", "BertTokenizer"},
                             {"do_lower_case", true},
                             {"model_max_length", config.max_length()},
                             {"unk_token", "[UNK]"},
                             {"sep_token", "[SEP]"},
                             {"pad_token", "[PAD]"},
                             {"cls_token", "[CLS]"},
                             {"mask_token", "[MASK]"}};
  return {{"vocab.txt", lines}, {"tokenizer_config.json", io::to_json(settings, 2) + "\n"}};
}

// Files for a new folder; none: those of the input folder stay.
std::map<std::string, std::string> tokenizer_for(const ConvertCommand& command, const std::optional<checkpoint::ModelFolder>& folder,
                                                 const models::Config& config) {
  if (!command.tokenizer.empty())
    return named_tokenizer(command.tokenizer, config, folder ? tokenize::model_max_length({folder->model, folder->root}) : std::nullopt);
  if (folder && checkpoint::tokenizer_folder(*folder)) return {};
  auto files = builtin_tokenizer(config);
  if (files.empty())
    io::warn(command.out, ": has no tokenizer: the input has none, and ", config.vocab_size,
             " embeddings are not those of bert-base-uncased; name the vocabulary with --tokenizer FILE");
  return files;
}

// Options that the output has no place for are refused.
void check_options(const ConvertCommand& command, const std::optional<checkpoint::ModelFolder>& folder) {
  const Target target = target_of(command);
  require(command.tokenizer.empty() || checkpoint::is_folder(target), "--tokenizer: ", command.out,
          " is a file; only a folder has a tokenizer");
  const char* option = !command.pooling.empty() ? "--pooling"
                       : command.normalize      ? "--normalize"
                       : command.max_length > 0 ? "--max-length"
                                                : "";
  if (!*option) return;
  require(target == Target::sentence_transformers, option,
          ": only a sentence-transformers folder says this; add --to sentence-transformers");
  require(!folder || !folder->sentence_transformers, option, ": ", command.in,
          " is a sentence-transformers folder, whose own settings are kept");
}

checkpoint::ConvertOptions convert_options(const ConvertCommand& command, const fs::path& in) {
  std::optional<checkpoint::ModelFolder> folder;
  if (fs::is_directory(in)) folder = checkpoint::read_folder(in);
  check_options(command, folder);
  checkpoint::ConvertOptions options;
  if (!command.to.empty()) options.target = targets.at(command.to);
  if (!command.dtype.empty()) options.dtype = checkpoint::to_mlx_dtype(command.dtype, "--dtype");
  options.copy = command.weights;
  if (const auto model = find_config(command, in, folder)) {
    options.configure = [model, command](const checkpoint::TensorMap& weights) { return describe_model(*model, weights, command); };
    if (checkpoint::is_folder(target_of(command))) options.tokenizer = tokenizer_for(command, folder, model->config);
  }
  if (!command.pooling.empty())
    for (const auto pooling : models::poolings_named(command.pooling)) options.pooling.emplace_back(models::name(pooling));
  options.normalize = command.normalize;
  if (command.max_length > 0) options.max_seq_length = command.max_length;
  return options;
}

// What a command reads may not be in a folder that it replaces.
void check_inputs(const ConvertCommand& command) {
  require_not_read(command.out, {command.config, command.tokenizer});
  for (const auto& path : {command.config, command.tokenizer}) {
    const bool lost = !path.empty() && fs::is_directory(command.out) && io::is_inside(path, command.out);
    require(!lost, "output ", command.out, " would be replaced, and ", path, " is in it; name another output");
  }
}

void run_convert(const ConvertCommand& command, const Globals& globals) {
  require(command.out != "-", "-: convert does not write to standard output; a file or folder of that name is ./-");
  require_free(command.out, command.overwrite);
  check_inputs(command);
  const auto in = find_model(command.in);
  const checkpoint::ConvertReport report = checkpoint::convert(in, command.out, convert_options(command, in));
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
  app.add_option("--weights", command->weights,
                 "Weights to take where the file holds several copies: the beginning of their names, as\n"
                 "inspect shows them (ema, state_dict_ema; default: the average of a run, else the plain ones)")
      ->type_name("PREFIX");
  app.add_option("--config", command->config, "Recipe (YAML) or config.json of a checkpoint file; the weights must fit it")
      ->type_name("FILE");
  app.add_option("--tokenizer", command->tokenizer,
                 "vocab.txt, tokenizer.json or folder to copy into a new folder (default: the input\n"
                 "folder's, else bert-base-uncased if the model has embeddings for it)")
      ->type_name("PATH");
  add_pooling_option(app, command->pooling,
                     "Pooling of a sentence-transformers folder made from another format: one, or several\n"
                     "joined by +, such as cls+mean (default: the one that embed takes)");
  app.add_flag("--normalize", command->normalize, "The same folder scales vectors to length 1");
  add_number(app, "--max-length", command->max_length, 3, 1 << 24, "Longest text of a sentence-transformers folder, in tokens");
  app.add_flag("--overwrite", command->overwrite, "Replace OUT; a folder with all of its files");
  return [command, &globals] { run_convert(*command, globals); };
}

}  // namespace m2bert::cli
