#pragma once
// The run of a command that turns texts into rows: window by window, in constant memory, to stdout, a pipe or a file that can be resumed.
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "cli/command.h"
#include "cli/model_option.h"
#include "cli/resumable_file.h"
#include "cli/shards.h"
#include "cli/text_option.h"
#include "m2bert/infer/batches.h"
#include "m2bert/io/tree.h"
#include "m2bert/train/processes.h"

namespace m2bert::cli {

struct OutputOption {
  std::string file = "-";
  bool resume = false, overwrite = false;
  double save_seconds = 1;
};

// Adds --output (described by `what`), --resume, --overwrite and --save-every.
void add_output_options(CLI::App& app, OutputOption& option, const std::string& what);

// The --output of commands that write lines, for their help.
inline constexpr const char* lines_output_help = "File of JSON lines (.jsonl), or - for stdout";

// Whether such a command writes JSON lines: to a file always, to stdout with --json. Error for a file that is not named .jsonl, .ndjson or
// .json.
bool writes_json_lines(const OutputOption& output, const Globals& globals);

// Whether the output is stdout, a pipe or a device: it is written in order, and has no final name that must stay clean.
bool is_stream(const std::string& output);

// The options that the rows of every command depend on, apart from the input. Differences between two runs are reported by these keys.
io::Tree row_settings(const std::string& command, const models::Pretrained& pretrained, const infer::BatchOptions& batching);

// How several processes share a run.
struct SharedRun {
  train::Processes processes;  // that a launcher started: each computes a shard, and the first one joins them
  std::optional<Shard> shard;  // computes this shard alone
  uint64_t join = 0;           // joins that many shards, which are there already

  bool is_shared() const { return processes.size() > 1 || shard || join > 0; }
};

// UsageError if several processes cannot share a run: one option excludes another, the output is not a file, or the input cannot be read
// by each of them. launch: how many processes are to be started.
void check_shared(const SharedRun& shared, int launch, const TextOption& input, const OutputOption& output);

// Whether this process has to stop: a signal came, or a launcher says that another process of the run is gone.
bool is_stopped();

// A window of the input.
struct TextWindow {
  uint64_t first = 0;  // the number of texts before it
  infer::Window window;
  std::vector<std::string> texts;
  std::vector<io::Tree> heads;  // what the row of each text begins with in JSON: {"index": 3} and its kept fields. See Texts::index
  std::vector<io::Tree> spans;  // see Texts::spans
  std::string input_hash;       // of all texts up to its end
};

struct Rows {
  std::string bytes;
  std::string index;            // of rows that are not one for each text, if it follows them in the file
  uint64_t rows = 0;            // that the header counts
  uint64_t without_result = 0;  // texts that got none, which their rows say
};

// What a command does with texts.
struct TextRun {
  std::string command, format;  // "embed", "npy"
  TextOption input;
  OutputOption output;
  infer::Batcher batcher;
  io::Tree settings;                                 // see row_settings
  size_t header_size = 0;                            // bytes before the rows; the header is written last
  std::function<std::string(uint64_t rows)> header;  // needed if header_size > 0
  bool has_index = false;                            // the bytes of Rows::index follow the last row
  bool pairs = false;                                // the input has pairs of texts
  SharedRun shared;
  // Gets each window before its rows are asked for, and before those of the window before it if it has been read by then, so that a GPU
  // can begin with it. May be empty.
  std::function<void(const TextWindow& window)> launch;
  // The rows of a window, which has not moved since launch(). They are not written if is_stopped(), so they may then be incomplete.
  std::function<Rows(const TextWindow& window)> rows;
};

// Error for an output that cannot be written, or would replace what the command reads: one of these files, or a file in one of these
// folders. Call it before the model is loaded.
void check_output(const OutputOption& output, const std::vector<std::string>& read);

// Reads the texts and writes their rows, until the end or a signal. Notes how many texts were truncated. With --json and a file as output,
// prints a summary: output, format, texts, tokens, truncated, max_length, seconds, and the members of `more`.
// Returns the progress; nullopt if the output was complete already.
std::optional<Done> run_texts(const TextRun& run, const Globals& globals, const io::Tree& more = io::Tree::map());

}  // namespace m2bert::cli
