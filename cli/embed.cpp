// m2bert embed: texts to vectors, in constant memory, and resumable.
#include <CLI/CLI.hpp>
#include <map>
#include <memory>

#include "cli/choice.h"
#include "cli/command.h"
#include "cli/model_option.h"
#include "cli/text_option.h"
#include "cli/text_run.h"
#include "cli/vector_format.h"
#include "m2bert/io/interrupt.h"
#include "m2bert/io/json.h"

namespace m2bert::cli {
namespace {

struct EmbedCommand {
  ModelOption model;
  TextOption input;
  BatchOption batch;
  OutputOption output;
  std::string output_format, pooling, prompt;
  bool normalize = false, no_normalize = false, prompt_given = false;
};

infer::EmbedOptions embed_options(const EmbedCommand& command) {
  infer::EmbedOptions options = batching(command.batch);
  if (!command.pooling.empty()) options.pooling = models::poolings_named(command.pooling);
  if (command.normalize || command.no_normalize) options.normalize = command.normalize;
  if (command.prompt_given) options.prompt = command.prompt;
  return options;
}

VectorFormat format_of(const EmbedCommand& command) {
  if (!command.output_format.empty()) return vector_format_named(command.output_format);
  return is_stream(command.output.file) ? VectorFormat::jsonl : vector_format_of(command.output.file);
}

io::Tree settings_of(const infer::Embedder& embedder, VectorFormat format) {
  io::Tree settings = row_settings("embed", embedder.pretrained(), embedder.batcher().options());
  settings.set("output_format", name_of(format));
  settings.set("pooling", models::name(embedder.pooling()));
  settings.set("normalize", embedder.normalize());
  return settings;
}

// What a search of the saved vectors needs to know (see VectorFile).
std::map<std::string, std::string> metadata_of(const io::Tree& settings) {
  std::map<std::string, std::string> metadata;
  for (const char* key : {"model", "pooling", "normalize", "prompt", "pad", "max_length", "dtype", "program"}) {
    const io::Tree& value = settings.at(key);
    metadata[key] = value.is_string() ? value.string() : io::to_json(value);
  }
  return metadata;
}

std::optional<Rows> embed_window(const infer::Embedder& embedder, VectorFormat format, const TextWindow& read, uint64_t first) {
  const infer::Embeddings rows = embedder.embed(read.window, first, io::interrupted);
  if (io::interrupted()) return std::nullopt;
  return Rows{vector_rows(format, rows.vectors, rows.dim, rows.truncated, read.heads)};
}

void run_embed(const EmbedCommand& command, const Globals& globals) {
  check_texts(command.input);
  check_output(command.output, {command.input.file, command.model.model, command.model.config, command.model.tokenizer});
  const VectorFormat format = format_of(command);
  if (globals.json && command.output.file == "-" && format != VectorFormat::jsonl)
    throw UsageError(std::string("--json prints JSON alone on stdout, and ") + name_of(format) + " is none: name a file with --output");
  check_option_text("--prompt", command.prompt);
  check_keep(command.input, format == VectorFormat::jsonl, {"index", "truncated", "embedding"});
  io::install_interrupt_handlers();
  const infer::Embedder embedder(load_model(command.model), embed_options(command));
  TextRun run{"embed", name_of(format), command.input, command.output, embedder.batcher(), settings_of(embedder, format)};
  const VectorHeader header(format, embedder.dim(), metadata_of(run.settings));
  run.header_size = header.size();
  run.header = [&](uint64_t rows) { return header.text(rows); };
  run.rows = [&](const TextWindow& read, uint64_t first) { return embed_window(embedder, format, read, first); };
  run_texts(run, globals, {{"dim", embedder.dim()}});
}

}  // namespace

Run embed_command(CLI::App& app, const Globals& globals) {
  const auto command = std::make_shared<EmbedCommand>();
  add_model_options(app, command->model);
  add_text_options(app, command->input);
  add_keep_option(app, command->input, "input");
  add_output_options(app, command->output, "File (.npy, .safetensors, .jsonl), or - for stdout");
  add_choice(app, "--output-format", command->output_format, {"npy", "safetensors", "jsonl"},
             "Format (default: by the file's name; jsonl on stdout)");
  add_batch_options(app, command->batch);
  add_pooling_option(app, command->pooling);
  CLI::Option* normalize = app.add_flag("--normalize", command->normalize, "Scale vectors to length 1 (default: the model's)");
  app.add_flag("--no-normalize", command->no_normalize, "Do not scale vectors")->excludes(normalize);
  CLI::Option* prompt =
      app.add_option("--prompt", command->prompt, "Put in front of each text: the name of one of the model's prompts, or the text itself")
          ->type_name("TEXT");
  return [command, prompt, &globals] {
    command->prompt_given = prompt->count() > 0;
    run_embed(*command, globals);
  };
}

}  // namespace m2bert::cli
