#include "cli/text_run.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <iostream>
#include <memory>
#include <stdexcept>

#include "cli/choice.h"
#include "cli/output_path.h"
#include "cli/process_group.h"
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
  // Reads the windows of a shard.
  explicit WindowReader(const TextRun& run, Shard shard = {})
      : texts_(open_texts(run.input)), batcher_(run.batcher), pairs_(run.pairs), shard_(shard) {}

  // Skips the texts of an earlier run. Error if they differ.
  void skip(const Done& done) {
    std::string text;
    while (read_ < done.texts) {
      const bool there = shard_.count > 1 ? skip_window() : next_text(text);
      require(there, "cannot resume: the input ends after ", read_, " texts, the earlier run had read ", done.texts);
    }
    require(done.texts == 0 || hasher_.hash128() == done.input_hash, "cannot resume: the first ", done.texts,
            " texts of the input are not those of the earlier run. Put them back, or start over with --overwrite");
  }

  std::optional<TextWindow> next() {
    while (window_ % shard_.count != shard_.index)
      if (!skip_window()) return std::nullopt;
    TextWindow read;
    read.first = read_;
    const auto next_text = [&](std::string& text) { return next_into(read, text); };
    const auto next_pair = [&](std::string& first, std::string& second) {
      const bool there = next_into(read, first);
      second = there ? texts_->second() : "";
      return there;
    };
    read.window = pairs_ ? batcher_.next_pairs(next_pair) : batcher_.next(next_text);
    if (read.window.texts() == 0) return std::nullopt;
    ++window_;
    read.input_hash = hasher_.hash128();
    return read;
  }

  const Texts& texts() const { return *texts_; }
  // The texts so far, and their hash.
  uint64_t read() const { return read_; }
  std::string input_hash() const { return hasher_.hash128(); }

 private:
  bool next_text(std::string& text) {
    if (!texts_->next(text)) return false;
    add_text(hasher_, text, *texts_);
    ++read_;
    return true;
  }

  // Passes over a window of another shard. False at the end of the input.
  bool skip_window() {
    io::throw_if_interrupted();
    ++window_;
    return batcher_.skip([&](std::string& text) { return next_text(text); }) > 0;
  }

  bool next_into(TextWindow& read, std::string& text) {
    if (!next_text(text)) return false;
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
  Shard shard_;
  uint64_t window_ = 0, read_ = 0;
  io::Hasher hasher_;
};

// What a window counts.
Done counts_of(const TextWindow& read, const Rows& rows) {
  Done window;
  window.texts = read.window.texts();
  for (const int32_t tokens : read.window.tokens) window.tokens += static_cast<uint64_t>(tokens);
  for (const uint8_t cut : read.window.truncated) window.truncated += cut;
  window.without_result = rows.without_result;
  window.rows = rows.rows;
  window.input_hash = read.input_hash;
  return window;
}

// The texts of other shards count as read.
void add(Done& done, const TextWindow& read, const Done& window) {
  done.texts = read.first + window.texts;
  done.tokens += window.tokens;
  done.truncated += window.truncated;
  done.without_result += window.without_result;
  done.rows += window.rows;
  done.input_hash = window.input_hash;
}

// Receives the rows of a window, what the window counts, and the progress including it.
using Sink = std::function<void(const Rows& rows, const Done& window, const Done& done)>;

// The loop: read a window, launch it, write the rows of the one before it, unless they are written already. Returns the progress; a signal
// stops it early.
Done write_rows(const TextRun& run, const std::shared_ptr<WindowReader>& reader, Done done, io::Progress* progress, const Sink& sink) {
  const auto write = [&](const TextWindow& read) {
    const Rows rows = run.rows(read);
    if (is_stopped()) return false;
    const Done window = counts_of(read, rows);
    add(done, read, window);
    sink(rows, window, done);
    if (progress != nullptr) progress->update(done.texts);
    return true;
  };
  {
    infer::ReadAhead<TextWindow> windows([reader] { return reader->next(); }, 2);
    std::unique_ptr<const TextWindow> launched;
    while (!is_stopped()) {
      if (launched && !windows.has_next()) {  // the rows do not wait for texts that come later
        if (!write(*launched)) break;
        launched.reset();
      }
      auto read = windows.next(is_stopped);
      if (!read) break;
      auto next = std::make_unique<const TextWindow>(std::move(*read));
      if (run.launch) run.launch(*next);
      if (launched && !write(*launched)) break;
      launched = std::move(next);
    }
  }
  if (is_stopped()) return done;  // the reader may be blocked in a pipe
  done.texts = reader->read();
  done.input_hash = reader->input_hash();
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
  const Done done = write_rows(run, reader, {}, on_screen ? nullptr : &progress, [&](const Rows& rows, const Done&, const Done&) {
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

// Writes the rows of a shard, or of all texts.
Done write_resumable(const TextRun& run, const std::optional<TextSummary>& input, const Shard& shard, ResumableFile& out,
                     io::Progress& progress) {
  Done done = out.before();
  try {
    auto reader = std::make_shared<WindowReader>(run, shard);
    reader->skip(done);
    done = write_rows(run, reader, done, &progress, [&](const Rows& rows, const Done& window, const Done& so_far) {
      if (run.shared.is_shared()) out.append(frame_of(window, rows.bytes, rows.index), "", so_far);
      else out.append(rows.bytes, rows.index, so_far);
      done = so_far;
    });
    require(is_stopped() || !input || done.input_hash == input->hash || done.texts == 0, "the input changed while it was read");
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

ResumableOptions resumable_options(const TextRun& run) {
  const OutputOption& output = run.output;
  return {output.resume, output.overwrite, output.save_seconds, run.header_size, run.has_index};
}

std::optional<Done> report_complete(const TextRun& run, const Globals& globals, const std::string& file) {
  io::info(file, " is complete already");
  if (globals.json) std::cout << io::to_json(io::Tree{{"output", file}, {"format", run.format}, {"complete", true}}) << "\n";
  return std::nullopt;
}

std::optional<Done> write_file(const TextRun& run, const Globals& globals, const io::Tree& more) {
  std::optional<TextSummary> input;
  if (can_reread(run.input)) input = summarize(*open_texts(run.input));
  const OutputOption& output = run.output;
  check_other_shards(output.file, 1, output.resume, output.overwrite);
  ResumableFile out(output.file, settings_with_input(run, input), resumable_options(run));
  if (out.complete()) return report_complete(run, globals, output.file);
  if (out.before().texts > 0) io::info("resuming after ", out.before().texts, " texts");
  io::Progress progress(run.command, progress_options(input), out.before().texts);
  Done done = write_resumable(run, input, {}, out, progress);
  if (io::interrupted()) {
    out.save(done);
    fail("stopped after ", done.texts, " texts: ", kept_text(out));
  }
  out.finish(header_of(run, done), done);
  progress.finish();
  report(run, globals, done, progress.seconds(), more);
  return done;
}

// Ends a process of a shared run that was stopped. Only the first one says so.
[[noreturn]] void stop_shard(const TextRun& run, const std::string& shard) {
  const std::string text =
      "stopped; what was done is kept beside " + run.output.file + " (" + shard + "); the same command with --resume continues there";
  if (run.shared.processes.first() && io::interrupted()) fail(text);
  io::info(text);
  throw QuietExit{io::interrupted() ? 128 + io::interrupt_signal() : kProcessLost};
}

// Computes a shard, unless it is complete. Returns the seconds that it took.
double write_shard(const TextRun& run, const TextSummary& input, const io::Tree& settings, const Shard& shard) {
  const std::filesystem::path file = shard_file(run.output.file, shard);
  ResumableOptions options = resumable_options(run);
  options.header_size = 0;
  options.has_index = false;
  options.keep_state = true;
  ResumableFile out(file, shard_settings(settings, shard), options);
  io::Progress progress(run.command, progress_options(input), out.before().texts);
  if (out.complete()) {
    io::info("shard ", name_of(shard), " is complete already");
    return 0;
  }
  if (out.before().texts > 0) io::info("resuming shard ", name_of(shard), " after ", out.before().texts, " texts");
  const Done done = write_resumable(run, input, shard, out, progress);
  if (is_stopped()) {
    out.save(done);
    stop_shard(run, file.filename().string());
  }
  out.finish("", done);
  progress.finish();
  return progress.seconds();
}

std::optional<Done> write_one_shard(const TextRun& run, const Globals& globals, const TextSummary& input, const io::Tree& settings) {
  const Shard& shard = *run.shared.shard;
  check_other_shards(run.output.file, shard.count, true, run.output.overwrite);
  require_free(run.output.file, run.output.overwrite);
  const double seconds = write_shard(run, input, settings, shard);
  const std::string file = shard_file(run.output.file, shard).string();
  io::info(file, " is complete; once all shards are, --join ", shard.count, " makes ", run.output.file, " of them");
  if (globals.json)
    std::cout << io::to_json(io::Tree{{"output", file}, {"shard", shard.index}, {"shards", shard.count}, {"seconds", seconds}}) << "\n";
  return std::nullopt;
}

// Joins the shards, of which all are finished, and removes them.
Done join(const TextRun& run, const TextSummary& input, const io::Tree& settings, ResumableFile& out, uint64_t count) {
  Done done = join_shards(out, run.output.file, count, settings);
  require(done.texts == input.texts, run.output.file, ": its shards have ", done.texts, " texts, and the input ", input.texts,
          "; start over with --overwrite");
  out.finish(header_of(run, done), done);
  remove_shards(run.output.file, count);
  done.skipped = input.skipped;
  done.first_skipped = input.first_skipped;
  return done;
}

std::optional<Done> write_joined(const TextRun& run, const Globals& globals, const TextSummary& input, const io::Tree& settings,
                                 const io::Tree& more) {
  const io::Progress progress(run.command, progress_options(input));
  check_other_shards(run.output.file, run.shared.join, true, false);
  ResumableFile out(run.output.file, settings, resumable_options(run));
  if (out.complete()) {
    remove_shards(run.output.file, run.shared.join);
    return report_complete(run, globals, run.output.file);
  }
  Done done = join(run, input, settings, out, run.shared.join);
  report(run, globals, done, progress.seconds(), more);
  return done;
}

// Error if the processes do not see the same input, model and options.
void require_same_settings(const train::Processes& processes, const io::Tree& settings) {
  const std::string first = without_message_of_loss([&] { return processes.broadcast(io::to_json(settings)); });
  all_or_none(processes, [&] {
    const std::string other = differences(io::parse_json(first, "the settings of process 0"), settings);
    require(other.empty(), "process ", processes.rank(), " does not see what process 0 sees: ", other,
            ". All processes need the same command, and the same files on every machine");
  });
}

// The run of each process that a launcher started.
std::optional<Done> write_together(const TextRun& run, const Globals& globals, const TextSummary& input, const io::Tree& settings,
                                   const io::Tree& more) {
  const train::Processes& processes = run.shared.processes;
  const auto count = static_cast<uint64_t>(processes.size());
  require_same_settings(processes, settings);
  std::optional<ResumableFile> out;  // of the first process
  bool complete = false;
  all_or_none(processes, [&] {
    if (!processes.first()) return;
    check_other_shards(run.output.file, count, run.output.resume, run.output.overwrite);
    out.emplace(run.output.file, settings, resumable_options(run));
    complete = out->complete();
  });
  if (without_message_of_loss([&] { return processes.any(complete); })) {
    if (!processes.first()) return std::nullopt;
    remove_shards(run.output.file, count);
    return report_complete(run, globals, run.output.file);
  }
  const io::Progress progress(run.command, progress_options(input));
  write_shard(run, input, settings, {static_cast<uint64_t>(processes.rank()), count});
  if (!processes.first()) return std::nullopt;
  if (!wait_for_shards(run.output.file, count, settings, is_stopped)) stop_shard(run, "its shards");
  Done done = join(run, input, settings, *out, count);
  report(run, globals, done, progress.seconds(), more);
  return done;
}

std::optional<Done> write_shared(const TextRun& run, const Globals& globals, const io::Tree& more) {
  TextSummary input;
  all_or_none(run.shared.processes, [&] { input = summarize(*open_texts(run.input)); });
  const io::Tree settings = settings_with_input(run, input);
  if (run.shared.shard) return write_one_shard(run, globals, input, settings);
  if (run.shared.join > 0) return write_joined(run, globals, input, settings, more);
  return write_together(run, globals, input, settings, more);
}

}  // namespace

bool is_stopped() { return io::interrupted() || train::is_process_lost(); }

void check_shared(const SharedRun& shared, int launch, const TextOption& input, const OutputOption& output) {
  const bool several = launch > 1 || shared.processes.size() > 1;
  if (several && shared.shard) throw UsageError("--shard is for processes on their own; it does not go with --launch or mpirun");
  if (several && shared.join > 0) throw UsageError("--join is for one process; it does not go with --launch or mpirun");
  if (shared.shard && shared.join > 0) throw UsageError("--join puts shards together, --shard computes one: give one of them");
  if (!several && !shared.is_shared()) return;
  if (is_stream(output.file)) throw UsageError("several processes share a run through files beside its output: name a file with --output");
  if (!can_reread(input))
    throw UsageError("several processes share the input, each reads all of it, and a pipe can be read only once: give a file");
}

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
  if (run.shared.is_shared()) return write_shared(run, globals, more);
  if (is_stream(run.output.file)) return write_stream(run, globals, more);
  return write_file(run, globals, more);
}

}  // namespace m2bert::cli
