#include "cli/text_run.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <iostream>
#include <memory>
#include <stdexcept>

#include "cli/choice.h"
#include "cli/output_path.h"
#include "cli/row_stream.h"
#include "m2bert/error.h"
#include "m2bert/infer/read_ahead.h"
#include "m2bert/io/hash.h"
#include "m2bert/io/interrupt.h"
#include "m2bert/io/json.h"
#include "m2bert/io/log.h"
#include "m2bert/io/path.h"
#include "m2bert/io/progress.h"
#include "m2bert/version.h"

namespace m2bert::cli {
namespace {

class WindowReader {
 public:
  explicit WindowReader(const TextRun& run) : texts_(open_texts(run.input)), batcher_(run.batcher), pairs_(run.pairs) {}

  // Skips the texts of an earlier run. Error if they differ.
  void skip(const Done& done) {
    std::string text;
    for (uint64_t i = 0; i < done.texts; ++i) {
      require(texts_->next(text), "cannot resume: the input ends after ", i, " texts, the earlier run had read ", done.texts);
      add_text(hasher_, text, *texts_);
    }
    require(done.texts == 0 || hasher_.hash128() == done.input_hash, "cannot resume: the first ", done.texts,
            " texts of the input are not those of the earlier run. Put them back, or start over with --overwrite");
  }

  std::optional<TextWindow> next() {
    TextWindow read;
    const auto next_text = [&](std::string& text) { return next_into(read, text); };
    const auto next_pair = [&](std::string& first, std::string& second) {
      const bool there = next_into(read, first);
      second = there ? texts_->second() : "";
      return there;
    };
    read.window = pairs_ ? batcher_.next_pairs(next_pair) : batcher_.next(next_text);
    if (read.window.texts() == 0) return std::nullopt;
    read.input_hash = hasher_.hash128();
    return read;
  }

  const Texts& texts() const { return *texts_; }

 private:
  bool next_into(TextWindow& read, std::string& text) {
    if (!texts_->next(text)) return false;
    add_text(hasher_, text, *texts_);
    read.texts.push_back(text);
    io::Tree head = {{"index", texts_->index()}};
    const io::Tree kept = texts_->kept();
    for (const auto& [name, value] : kept.members()) head.set(name, value);
    read.heads.push_back(std::move(head));
    read.spans.push_back(texts_->spans());
    return true;
  }

  std::unique_ptr<Texts> texts_;
  infer::Batcher batcher_;
  bool pairs_;
  io::Hasher hasher_;
};

void add(Done& done, const TextWindow& read, const Rows& rows) {
  done.texts += read.window.texts();
  for (const int32_t tokens : read.window.tokens) done.tokens += static_cast<uint64_t>(tokens);
  for (const uint8_t cut : read.window.truncated) done.truncated += cut;
  done.without_result += rows.without_result;
  done.rows += rows.rows;
  done.input_hash = read.input_hash;
}

// Receives the rows of a window, and the progress including them.
using Sink = std::function<void(const Rows& rows, const Done& done)>;

// The loop: read a window, compute its rows, write them. Returns the progress; a signal stops it early.
Done write_rows(const TextRun& run, std::shared_ptr<WindowReader> reader, Done done, io::Progress* progress, const Sink& sink) {
  {
    infer::ReadAhead<TextWindow> windows([reader] { return reader->next(); }, 2);
    while (const auto read = windows.next(io::interrupted)) {
      const std::optional<Rows> rows = run.rows(*read, done.texts);
      if (!rows || io::interrupted()) break;
      add(done, *read, *rows);
      sink(*rows, done);
      if (progress != nullptr) progress->update(done.texts);
    }
  }
  if (io::interrupted()) return done;  // the reader may be blocked in a pipe
  done.skipped = reader->texts().skipped();
  done.first_skipped = reader->texts().first_skipped();
  return done;
}

std::string header_of(const TextRun& run, const Done& done) { return run.header_size > 0 ? run.header(done.rows) : std::string(); }

void report(const TextRun& run, const Globals& globals, const Done& done, double seconds, const io::Tree& more) {
  const int max_length = run.batcher.options().max_length;
  if (done.truncated > 0) io::info(done.truncated, " of ", done.texts, " texts were truncated to ", max_length, " tokens");
  report_skipped(done.skipped, done.first_skipped);
  if (done.texts == 0) io::warn("the input has no texts: the output has no rows");
  if (!globals.json || is_stream(run.output.file)) return;
  io::Tree summary = {{"output", run.output.file}, {"format", run.format},        {"texts", done.texts},      {"skipped", done.skipped},
                      {"tokens", done.tokens},     {"truncated", done.truncated}, {"max_length", max_length}, {"seconds", seconds}};
  for (const auto& [key, value] : more.members()) summary.set(key, value);
  std::cout << io::to_json(summary) << "\n";
}

io::ProgressOptions progress_options(const std::optional<TextSummary>& input) {
  io::ProgressOptions options;
  if (input) options.total = input->texts;
  return options;
}

Done write_stream(const TextRun& run, const Globals& globals, const io::Tree& more) {
  const bool on_stdout = run.output.file == "-";
  RowStream out(run.output.file, run.header_size > 0);
  io::Progress progress(run.command, progress_options(std::nullopt));
  const bool on_screen = on_stdout && ::isatty(STDOUT_FILENO) != 0;  // a bar would be drawn over the rows
  auto reader = std::make_shared<WindowReader>(run);
  std::string index;
  const Done done = write_rows(run, reader, {}, on_screen ? nullptr : &progress, [&](const Rows& rows, const Done&) {
    out.write(rows.bytes);
    index += rows.index;
  });
  require(!io::interrupted(), "stopped after ", done.texts, " texts");
  out.write(index);
  out.finish(header_of(run, done));
  if (!on_stdout) progress.finish();
  report(run, globals, done, progress.seconds(), more);
  return done;
}

// The message after a run that ended early.
std::string kept_text(const ResumableFile& out) {
  if (out.texts_saved() == 0) return "nothing was kept";
  return std::to_string(out.texts_saved()) + " texts are kept in " + out.part().string() +
         "; the same command with --resume continues there";
}

Done write_resumable(const TextRun& run, const std::optional<TextSummary>& input, ResumableFile& out, io::Progress& progress) {
  Done done = out.before();
  try {
    auto reader = std::make_shared<WindowReader>(run);
    reader->skip(done);
    done = write_rows(run, reader, done, &progress, [&](const Rows& rows, const Done& so_far) {
      out.append(rows.bytes, rows.index, so_far);
      done = so_far;
    });
    require(io::interrupted() || !input || done.input_hash == input->hash || done.texts == 0, "the input changed while it was read");
  } catch (const std::runtime_error& e) {
    try {
      out.save(done);
    } catch (const Error&) {  // a full disk: the last saved state stays valid
    }
    fail(io::message_of(e), " (", kept_text(out), ")");
  }
  return done;
}

// The settings of the command, after those of its input.
io::Tree settings_with_input(const TextRun& run, const std::optional<TextSummary>& input) {
  io::Tree settings = {{"input", input ? input->hash : "stream"}, {"input_texts", input ? io::Tree(input->texts) : io::Tree()}};
  settings.set("skip_bad", run.input.skip_bad);
  io::Tree keep = io::Tree::list();
  for (const std::string& field : run.input.keep) keep.push_back(field);
  settings.set("keep", io::to_json(keep));
  for (const auto& [key, value] : run.settings.members()) settings.set(key, value);
  return settings;
}

std::optional<Done> write_file(const TextRun& run, const Globals& globals, const io::Tree& more) {
  std::optional<TextSummary> input;
  if (can_reread(run.input)) input = summarize(*open_texts(run.input));
  const OutputOption& output = run.output;
  ResumableFile out(output.file, settings_with_input(run, input),
                    {output.resume, output.overwrite, output.save_seconds, run.header_size, run.has_index});
  if (out.complete()) {
    io::info(output.file, " is complete already");
    if (globals.json) std::cout << io::to_json(io::Tree{{"output", output.file}, {"format", run.format}, {"complete", true}}) << "\n";
    return std::nullopt;
  }
  if (out.before().texts > 0) io::info("resuming after ", out.before().texts, " texts");
  io::Progress progress(run.command, progress_options(input), out.before().texts);
  const Done done = write_resumable(run, input, out, progress);
  if (io::interrupted()) {
    out.save(done);
    fail("stopped after ", done.texts, " texts: ", kept_text(out));
  }
  out.finish(header_of(run, done), done);
  progress.finish();
  report(run, globals, done, progress.seconds(), more);
  return done;
}

}  // namespace

void add_output_options(CLI::App& app, OutputOption& option, const std::string& what) {
  const auto dash_of_stdout = [](const std::string& file) { return file == "/dev/stdout" ? std::string("-") : file; };
  app.add_option("-o,--output", option.file, what)->type_name("FILE")->capture_default_str()->transform(dash_of_stdout);
  app.add_flag("--resume", option.resume, "Resume an unfinished run of the same command");
  app.add_flag("--overwrite", option.overwrite, "Replace the output file, or an unfinished run of it");
  add_number(app, "--save-every", option.save_seconds, 0.0, 86400.0,
             "Seconds between saves of the state that --resume needs; 0: as often as possible")
      ->capture_default_str();
}

bool writes_json_lines(const OutputOption& output, const Globals& globals) {
  if (output.file == "-") return globals.json;
  const std::string extension = std::filesystem::path(output.file).extension().string();
  require(is_stream(output.file) || extension == ".jsonl" || extension == ".ndjson" || extension == ".json", "output ", output.file,
          ": JSON lines are written; end its name in .jsonl");
  return true;
}

bool is_stream(const std::string& output) { return output == "-" || io::is_stream(output); }

io::Tree row_settings(const std::string& command, const models::Pretrained& pretrained, const infer::BatchOptions& batching) {
  constexpr const char* pads[] = {"max", "longest", "bucket"};
  return {{"command", command},
          {"model", model_hash(pretrained)},
          {"pad", pads[static_cast<size_t>(batching.pad)]},
          {"max_length", batching.max_length},
          {"batch_size", batching.batch_size},
          {"truncation_side", batching.truncation_side == tokenize::TruncationSide::left ? "left" : "right"},
          {"reference_cut", batching.upstream_cut},
          {"prompt", batching.prompt},
          {"dtype", checkpoint::dtype_name(pretrained.dtype)},
          {"device", mx::default_device() == mx::Device::gpu ? "gpu" : "cpu"},
          {"program", M2BERT_VERSION " with MLX " M2BERT_MLX_VERSION}};
}

void check_output(const OutputOption& output, const std::vector<std::string>& read) {
  if (is_stream(output.file)) {
    if (output.resume || output.overwrite) throw UsageError("--resume and --overwrite need a file: --output FILE");
    return;
  }
  (void)io::writable_path(output.file);
  require_not_read(output.file, read);
}

std::optional<Done> run_texts(const TextRun& run, const Globals& globals, const io::Tree& more) {
  if (is_stream(run.output.file)) return write_stream(run, globals, more);
  return write_file(run, globals, more);
}

}  // namespace m2bert::cli
