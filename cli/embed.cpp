// m2bert embed: texts to vectors, in constant memory, and resumable.
#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <memory>
#include <stdexcept>

#include "cli/choice.h"
#include "cli/command.h"
#include "cli/model_option.h"
#include "cli/number_text.h"
#include "cli/output_path.h"
#include "cli/resumable_file.h"
#include "cli/text_option.h"
#include "cli/vector_format.h"
#include "cli/vector_stream.h"
#include "m2bert/error.h"
#include "m2bert/infer/read_ahead.h"
#include "m2bert/io/hash.h"
#include "m2bert/io/interrupt.h"
#include "m2bert/io/json.h"
#include "m2bert/io/log.h"
#include "m2bert/io/progress.h"
#include "m2bert/version.h"

namespace m2bert::cli {
namespace {

struct EmbedCommand {
  ModelOption model;
  TextOption input;
  BatchOption batch;
  std::string output = "-", output_format, pooling, prompt;
  bool normalize = false, no_normalize = false, prompt_given = false;
  bool resume = false, overwrite = false;
  double save_seconds = 1;
};

infer::EmbedOptions embed_options(const EmbedCommand& command) {
  infer::EmbedOptions options = batching(command.batch);
  if (!command.pooling.empty()) options.pooling = models::pooling_named(command.pooling);
  if (command.normalize || command.no_normalize) options.normalize = command.normalize;
  if (command.prompt_given) options.prompt = command.prompt;
  return options;
}

// A pipe or device is written in order, and has no final name that must stay clean.
bool is_stream(const std::string& output) {
  namespace fs = std::filesystem;
  return output == "-" || (fs::exists(output) && !fs::is_regular_file(output) && !fs::is_directory(output));
}

VectorFormat format_of(const EmbedCommand& command) {
  if (!command.output_format.empty()) return vector_format_named(command.output_format);
  return is_stream(command.output) ? VectorFormat::jsonl : vector_format_of(command.output);
}

// Everything that the vectors depend on. Differences between two runs are reported by these keys.
io::Tree settings_of(const EmbedCommand& command, const infer::Embedder& embedder, const std::optional<TextSummary>& input) {
  const infer::BatchOptions& batching = embedder.batcher().options();
  constexpr const char* pads[] = {"max", "longest", "bucket"};
  return {{"input", input ? input->hash : "stream"},
          {"input_texts", input ? io::Tree(input->texts) : io::Tree()},
          {"model", model_hash(embedder.pretrained())},
          {"output_format", name_of(format_of(command))},
          {"pad", pads[static_cast<size_t>(batching.pad)]},
          {"max_length", batching.max_length},
          {"batch_size", batching.batch_size},
          {"truncation_side", batching.truncation_side == tokenize::TruncationSide::left ? "left" : "right"},
          {"reference_cut", batching.upstream_cut},
          {"prompt", batching.prompt},
          {"pooling", models::name(embedder.pooling())},
          {"normalize", embedder.normalize()},
          {"dtype", checkpoint::dtype_name(embedder.pretrained().dtype)},
          {"device", mx::default_device() == mx::Device::gpu ? "gpu" : "cpu"},
          {"program", M2BERT_VERSION " with MLX " M2BERT_MLX_VERSION}};
}

// A window of the input, with the hash of all texts up to its end.
struct NumberedWindow {
  infer::Window window;
  std::string input_hash;
};

class WindowReader {
 public:
  WindowReader(std::shared_ptr<Texts> texts, infer::Batcher batcher) : texts_(std::move(texts)), batcher_(std::move(batcher)) {}

  // Skips the texts of an earlier run. Error if they differ.
  void skip(const Done& done) {
    std::string text;
    for (uint64_t i = 0; i < done.texts; ++i) {
      require(texts_->next(text), "cannot resume: the input ends after ", i, " texts, the earlier run had read ", done.texts);
      add_text(hasher_, text);
    }
    require(done.texts == 0 || hasher_.hash128() == done.input_hash, "cannot resume: the first ", done.texts,
            " texts of the input are not those of the earlier run. Put them back, or start over with --overwrite");
  }

  std::optional<NumberedWindow> next() {
    infer::Window window = batcher_.next([this](std::string& text) {
      const bool there = texts_->next(text);
      if (there) add_text(hasher_, text);
      return there;
    });
    if (window.texts() == 0) return std::nullopt;
    return NumberedWindow{std::move(window), hasher_.hash128()};
  }

 private:
  std::shared_ptr<Texts> texts_;
  infer::Batcher batcher_;
  io::Hasher hasher_;
};

void add(Done& done, const NumberedWindow& read, const infer::Embeddings& rows) {
  done.texts += rows.tokens.size();
  for (const int32_t tokens : rows.tokens) done.tokens += static_cast<uint64_t>(tokens);
  for (const uint8_t cut : rows.truncated) done.truncated += cut;
  done.input_hash = read.input_hash;
}

// Receives the rows of a window, and the progress including them.
using Sink = std::function<void(std::string_view rows, const Done& done)>;

// The loop: read a window, embed it, write it. Returns the progress; a signal stops it early.
Done embed_all(const infer::Embedder& embedder, std::shared_ptr<WindowReader> reader, VectorFormat format, Done done,
               io::Progress& progress, const Sink& sink) {
  infer::ReadAhead<NumberedWindow> windows([reader] { return reader->next(); }, 2);
  while (const auto read = windows.next(io::interrupted)) {
    const infer::Embeddings rows = embedder.embed(read->window, done.texts, io::interrupted);
    if (io::interrupted()) break;
    const uint64_t first = done.texts;
    add(done, *read, rows);
    sink(vector_rows(format, rows.vectors, rows.dim, rows.truncated, first), done);
    progress.update(done.texts);
  }
  return done;
}

void report(const EmbedCommand& command, const Globals& globals, const infer::Embedder& embedder, const Done& done, double seconds) {
  const int max_length = embedder.batcher().options().max_length;
  if (done.truncated > 0) io::info(done.truncated, " of ", done.texts, " texts were truncated to ", max_length, " tokens");
  if (done.texts == 0) io::warn("the input has no texts: the output has no vectors");
  if (!globals.json || is_stream(command.output)) return;
  std::cout << io::to_json(io::Tree{{"output", command.output},
                                    {"format", name_of(format_of(command))},
                                    {"texts", done.texts},
                                    {"dim", embedder.dim()},
                                    {"tokens", done.tokens},
                                    {"truncated", done.truncated},
                                    {"max_length", max_length},
                                    {"seconds", seconds}})
            << "\n";
}

io::ProgressOptions progress_options(const std::optional<TextSummary>& input) {
  io::ProgressOptions options;
  if (input) options.total = input->texts;
  return options;
}

void embed_to_stream(const EmbedCommand& command, const Globals& globals, const infer::Embedder& embedder) {
  if (command.resume || command.overwrite) throw UsageError("--resume and --overwrite need a file: --output FILE");
  const VectorFormat format = format_of(command);
  VectorStream out(command.output, format, embedder.dim());
  io::Progress progress("embed", progress_options(std::nullopt));
  auto reader = std::make_shared<WindowReader>(open_texts(command.input), embedder.batcher());
  const Done done = embed_all(embedder, reader, format, {}, progress, [&](std::string_view rows, const Done&) { out.write(rows); });
  require(!io::interrupted(), "stopped after ", done.texts, " texts");
  out.finish(done.texts);
  if (command.output != "-") progress.finish();
  report(command, globals, embedder, done, progress.seconds());
}

// The message after a run that ended early.
std::string kept_text(const ResumableFile& out) {
  if (out.texts_saved() == 0) return "nothing was kept";
  return std::to_string(out.texts_saved()) + " texts are kept in " + out.part().string() +
         "; the same command with --resume continues there";
}

Done embed_rows(const EmbedCommand& command, const infer::Embedder& embedder, const std::optional<TextSummary>& input, ResumableFile& out,
                io::Progress& progress) {
  Done done = out.before();
  try {
    auto reader = std::make_shared<WindowReader>(open_texts(command.input), embedder.batcher());
    reader->skip(done);
    done = embed_all(embedder, reader, format_of(command), done, progress, [&](std::string_view rows, const Done& so_far) {
      out.append(rows, so_far);
      done = so_far;
    });
    require(io::interrupted() || !input || done.input_hash == input->hash || done.texts == 0, "the input changed while it was read");
  } catch (const std::runtime_error& e) {
    try {
      out.save(done);
    } catch (const Error&) {  // a full disk: the last saved state stays valid
    }
    fail(e.what(), " (", kept_text(out), ")");
  }
  return done;
}

void embed_to_file(const EmbedCommand& command, const Globals& globals, const infer::Embedder& embedder) {
  require_not_read(command.output, {command.input.file, command.model.model, command.model.config, command.model.tokenizer});
  std::optional<TextSummary> input;
  if (can_reread(command.input)) input = summarize(*open_texts(command.input));
  const VectorFormat format = format_of(command);
  ResumableFile out(command.output, settings_of(command, embedder, input),
                    {command.resume, command.overwrite, command.save_seconds, vector_header_size(format)});
  if (out.complete()) {
    io::info(command.output, " is complete already");
    if (globals.json)
      std::cout << io::to_json(io::Tree{{"output", command.output}, {"format", name_of(format)}, {"complete", true}}) << "\n";
    return;
  }
  if (out.before().texts > 0) io::info("resuming after ", out.before().texts, " texts");
  io::Progress progress("embed", progress_options(input), out.before().texts);
  const Done done = embed_rows(command, embedder, input, out, progress);
  if (io::interrupted()) {
    out.save(done);
    fail("stopped after ", done.texts, " texts: ", kept_text(out));
  }
  out.finish(vector_header(format, done.texts, embedder.dim()), done);
  progress.finish();
  report(command, globals, embedder, done, progress.seconds());
}

void run_embed(const EmbedCommand& command, const Globals& globals) {
  check_texts(command.input);
  require(!std::filesystem::is_directory(command.output), "output ", command.output, " is a folder; name a file");
  if (globals.json && command.output == "-" && format_of(command) != VectorFormat::jsonl)
    throw UsageError(std::string("--json prints JSON alone on stdout, and ") + name_of(format_of(command)) +
                     " is none: name a file with --output");
  format_of(command);
  io::install_interrupt_handlers();
  const infer::Embedder embedder(load_model(command.model), embed_options(command));
  if (is_stream(command.output)) embed_to_stream(command, globals, embedder);
  else embed_to_file(command, globals, embedder);
}

}  // namespace

Run embed_command(CLI::App& app, const Globals& globals) {
  const auto command = std::make_shared<EmbedCommand>();
  add_model_options(app, command->model);
  add_text_options(app, command->input);
  app.add_option("-o,--output", command->output, "File (.npy, .safetensors, .jsonl), or - for stdout")
      ->type_name("FILE")
      ->capture_default_str();
  add_choice(app, "--output-format", command->output_format, {"npy", "safetensors", "jsonl"},
             "Format (default: by the file's name; jsonl on stdout)");
  add_batch_options(app, command->batch);
  add_choice(app, "--pooling", command->pooling, {"pooler", "cls", "mean", "max"},
             "How the states of a text become one vector (default: the model's)");
  CLI::Option* normalize = app.add_flag("--normalize", command->normalize, "Scale vectors to length 1 (default: the model's)");
  app.add_flag("--no-normalize", command->no_normalize, "Do not scale vectors")->excludes(normalize);
  CLI::Option* prompt =
      app.add_option("--prompt", command->prompt, "Put in front of each text: the name of one of the model's prompts, or the text itself")
          ->type_name("TEXT");
  app.add_flag("--resume", command->resume, "Resume an unfinished run of the same command");
  app.add_flag("--overwrite", command->overwrite, "Replace the output file, or an unfinished run of it");
  add_number(app, "--save-every", command->save_seconds, 0.0, 86400.0,
             "Seconds between saves of the state that --resume needs; 0: as often as possible")
      ->capture_default_str();
  return [command, prompt, &globals] {
    command->prompt_given = prompt->count() > 0;
    run_embed(*command, globals);
  };
}

}  // namespace m2bert::cli
