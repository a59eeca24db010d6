// m2bert data build|split|show|index: data sets for pretraining. data loco has its own file.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <iostream>
#include <memory>

#include "cli/choice.h"
#include "cli/command.h"
#include "cli/data_loco.h"
#include "cli/text_option.h"
#include "m2bert/data/bad_record.h"
#include "m2bert/data/dataset_builder.h"
#include "m2bert/data/mds_check.h"
#include "m2bert/data/mds_rebuild.h"
#include "m2bert/data/mds_writer.h"
#include "m2bert/data/shard_split.h"
#include "m2bert/error.h"
#include "m2bert/io/file.h"
#include "m2bert/io/interrupt.h"
#include "m2bert/io/json.h"
#include "m2bert/io/log.h"
#include "m2bert/io/progress.h"
#include "m2bert/io/utf8.h"
#include "m2bert/threads.h"
#include "m2bert/tokenize/wordpiece.h"

namespace m2bert::cli {
namespace {

namespace fs = std::filesystem;

// ---- build ----

struct BuildCommand {
  const CLI::App* app = nullptr;
  std::vector<std::string> inputs, hashes{"xxh64"};
  ReadOption read;
  std::string out, documents = "line", tokenizer, compression = "none";
  uint64_t shard_size = uint64_t{1} << 26;
  bool no_wrap = false;
  int concat_tokens = 0;
  data::TokenPackOptions tokens;
  data::BuildOptions options;
};

data::BuildOptions build_options(const BuildCommand& command) {
  data::BuildOptions options = command.options;
  for (const std::string& input : command.inputs)
    require(input == "-" || !fs::is_directory(input) || !io::is_inside(command.out, input), "--out ", command.out, " lies in the folder ",
            input, ", which is read; name another one");
  options.inputs = data::input_files(command.inputs);
  options.out = command.out;
  options.documents.source = source_options(command.read);
  check_read_options(command.read, options.inputs);
  options.documents.whole_files = command.documents == "file";
  if (command.compression != "none") options.format.compression = command.compression;
  options.format.hashes = command.hashes;
  std::erase(options.format.hashes, "none");
  options.format.size_limit = command.shard_size;
  options.threads = threads();
  if (command.concat_tokens > 0) {
    options.tokens = command.tokens;
    options.tokens->length = command.concat_tokens;
    options.tokens->wrap = !command.no_wrap;
  }
  return options;
}

void warn_of_long_texts(const data::TokenPacker& packer) {
  for (const auto& [name, ids] : {std::pair("--bos-text", packer.bos()), std::pair("--eos-text", packer.eos())})
    if (ids.size() > 1) io::warn(name, ": is ", ids.size(), " tokens, not one");
}

io::Tree build_tree(const data::BuildResult& result, const std::string& out) {
  io::Tree splits = io::Tree::list();
  for (const data::BuiltSplit& split : result.splits)
    splits.push_back({{"name", split.name},
                      {"samples", split.samples},
                      {"shards", split.shards},
                      {"bytes", split.bytes},
                      {"packed_bytes", split.packed_bytes}});
  return {{"out", out},
          {"complete_before", result.was_complete},
          {"documents", result.counts.documents},
          {"empty", result.counts.empty},
          {"bad", result.counts.bad},
          {"cut", result.counts.cut},
          {"tokens_lost", result.tokens_lost},
          {"splits", splits}};
}

std::string split_line(const fs::path& folder, uint64_t samples, uint64_t shards) {
  return folder.string() + ": " + io::show_count(samples) + " samples in " + std::to_string(shards) + (shards == 1 ? " shard" : " shards");
}

void print_built(const data::BuildResult& result, const std::string& out) {
  if (result.was_complete) {
    std::cout << out << " is there, made with these options; nothing was left to do\n";
    return;
  }
  for (const data::BuiltSplit& split : result.splits) {
    std::cout << split_line(fs::path(out) / split.name, split.samples, split.shards) << ", " << io::show_bytes(split.bytes);
    if (split.packed_bytes > 0) std::cout << " (" << io::show_bytes(split.packed_bytes) << " packed)";
    std::cout << "\n";
  }
  const data::BuildCounts& counts = result.counts;
  if (counts.empty > 0) io::info(io::show_count(counts.empty), " empty documents were skipped");
  if (counts.cut > 0) io::info(io::show_count(counts.cut), " documents were truncated to --max-chars");
  if (result.tokens_lost > 0) io::info("the last ", result.tokens_lost, " tokens are too few for a sample and were dropped");
}

// CLI11 would report a missing option rather than a misspelt one.
void require_out(const fs::path& out) {
  if (out.empty()) throw UsageError("--out is required");
}

// Rejects options that would have no effect.
void check_command(const BuildCommand& command) {
  require_out(command.out);
  for (const char* name : {"--no-wrap", "--bos-text", "--eos-text", "--tokenizer"})
    if (command.concat_tokens == 0 && command.app->count(name) > 0)
      throw UsageError(std::string(name) + " is for token samples: it goes with --concat-tokens");
  check_option_text("--bos-text", command.tokens.bos_text);
  check_option_text("--eos-text", command.tokens.eos_text);
  for (const char* name : {"--format", "--field", "--delimiter"})
    if (command.documents == "file" && command.app->count(name) > 0)
      throw UsageError(std::string(name) + " is for documents that are lines or records: it does not go with --documents file");
}

data::BuildResult build(const data::BuildOptions& options, const tokenize::WordPiece& tokenizer) {
  try {
    return data::build_dataset(options, tokenizer);
  } catch (const data::BadRecord& e) {
    fail(e.what(), options.documents.whole_files ? "; --skip-bad passes over such files" : skip_bad_remedy);
  }
}

void run_build(const BuildCommand& command, const Globals& globals) {
  check_command(command);
  io::install_interrupt_handlers();
  const tokenize::WordPiece tokenizer =
      command.tokenizer.empty() ? tokenize::WordPiece::builtin() : tokenize::WordPiece::from_file(command.tokenizer);
  data::BuildOptions options = build_options(command);
  if (options.tokens) warn_of_long_texts(data::TokenPacker(tokenizer, *options.tokens));
  io::Progress progress("data build", {.unit = "documents"});
  options.progress = [&](const data::BuildCounts& counts, std::optional<double> fraction) { progress.update(counts.documents, fraction); };
  const data::BuildResult result = build(options, tokenizer);
  if (!result.was_complete) progress.finish();
  report_skipped(result.counts.bad, result.first_bad);
  if (globals.json) std::cout << io::to_json(build_tree(result, command.out)) << "\n";
  else print_built(result, command.out);
}

void add_document_options(CLI::App& app, BuildCommand& command) {
  app.add_option("input", command.inputs, "Files or folders with documents, or - for stdin (.gz and .zst are unpacked)")
      ->required()
      ->type_name("FILE");
  add_choice(app, "--documents", command.documents, {"line", "file"}, "A document is a line (or record), or a whole file")
      ->capture_default_str();
  add_read_options(app, command.read, "input", "text");
  add_number(app, "--max-chars", command.options.max_chars, uint64_t{0}, uint64_t{1} << 40,
             "Keep the first N characters of a document (default: 0, all of it)");
  add_number(app, "--limit", command.options.limit, uint64_t{0}, uint64_t{1} << 60, "Read N documents (default: 0, all)");
}

void add_split_options(CLI::App& app, BuildCommand& command) {
  app.add_option("--out", command.out, "Folder of the data set; it is created (required)")->type_name("DIR");
  app.add_option("--split", command.options.split, "Name of the folder in it")->type_name("NAME")->capture_default_str();
  app.add_option("--val-split", command.options.val_split, "Name of the folder for validation")->type_name("NAME")->capture_default_str();
  add_number(app, "--val-fraction", command.options.val_fraction, 0.0, 0.5, "Share of the documents that goes to validation (default: 0)");
  add_number(app, "--val-count", command.options.val_count, uint64_t{0}, uint64_t{1} << 60, "Documents that go to validation (default: 0)");
  add_number(app, "--seed", command.options.seed, uint64_t{0}, UINT64_MAX, "Seed of the choice of these documents (default: 0)");
}

void add_shard_options(CLI::App& app, BuildCommand& command) {
  add_number(app, "--concat-tokens", command.concat_tokens, 3, 1 << 24,
             "Pack the documents' tokens into samples of N tokens (default: samples are texts)");
  app.add_option("--tokenizer", command.tokenizer,
                 "For --concat-tokens: vocab.txt, tokenizer.json or model folder (default: bert-base-uncased, built in)")
      ->type_name("PATH");
  app.add_option("--bos-text", command.tokens.bos_text, "Text in front of each token sample")->type_name("TEXT")->capture_default_str();
  app.add_option("--eos-text", command.tokens.eos_text, "Text after each token sample")->type_name("TEXT")->capture_default_str();
  app.add_flag("--no-wrap", command.no_wrap, "Drop the rest of a document's tokens after a sample");
  app.add_option("--compression", command.compression, "none, zstd, gz, bz2, br or snappy; with a level: zstd:19")
      ->type_name("NAME")
      ->capture_default_str();
  app.add_option("--hash", command.hashes, "Checksums of the shards: sha1, sha256, md5, xxh64, ... or none; may be given several times")
      ->type_name("NAME")
      ->expected(1)
      ->take_all()
      ->allow_extra_args(false)
      ->capture_default_str();
  app.add_option("--shard-size", command.shard_size, "Maximum bytes of an uncompressed shard, such as 64mb (default: 64mb)")
      ->transform(CLI::AsSizeValue(false).description(""))
      ->type_name("SIZE");
  app.add_flag("--resume", command.options.resume, "Resume an unfinished run");
  app.add_flag("--overwrite", command.options.overwrite, "Replace what is there, also the validation data that was made with it");
  add_number(app, "--save-seconds", command.options.save_seconds, 0.0, 86400.0, "Seconds between two states that --resume can start from")
      ->group("");
}

Run add_build(CLI::App& data, const Globals& globals) {
  CLI::App* app = data.add_subcommand("build", "Make a data set from text files");
  const auto command = std::make_shared<BuildCommand>();
  command->app = app;
  add_document_options(*app, *command);
  add_split_options(*app, *command);
  add_shard_options(*app, *command);
  app->footer("\nExample:\n  m2bert data build corpus.txt --out my-data --val-fraction 0.01\n");
  return [command, &globals] { run_build(*command, globals); };
}

// ---- split ----

void run_split(const data::ShardSplitOptions& given, const Globals& globals) {
  require_out(given.out);
  io::install_interrupt_handlers();
  data::ShardSplitOptions options = given;
  std::unique_ptr<io::Progress> progress;
  options.progress = [&](uint64_t bytes, uint64_t total) {
    if (!progress) progress = std::make_unique<io::Progress>("data split", io::ProgressOptions{.bytes = true, .total = total});
    progress->update(bytes);
    io::throw_if_interrupted();
  };
  const data::ShardSplitResult result = data::split_shards(options);
  progress->finish();
  if (globals.json) {
    std::cout << io::to_json({{"out", options.out.string()},
                              {"shards", result.shards},
                              {"samples", result.samples},
                              {"val_shards", result.val_shards},
                              {"val_samples", result.val_samples}})
              << "\n";
    return;
  }
  std::cout << split_line(options.out / options.split, result.samples, result.shards) << "\n"
            << split_line(options.out / options.val_split, result.val_samples, result.val_shards) << "\n";
}

Run add_split(CLI::App& data, const Globals& globals) {
  CLI::App* app = data.add_subcommand("split", "Divide a data set into training and validation data, shard by shard");
  const auto options = std::make_shared<data::ShardSplitOptions>();
  app->add_option("folder", options->folder, "Folder with the data set's index.json")->required()->type_name("DIR");
  app->add_option("--out", options->out, "Folder for both; it is created (required)")->type_name("DIR");
  add_number(*app, "--val-fraction", options->val_fraction, 0.0, 1.0, "Share of the shards for validation: the last ones");
  add_number(*app, "--val-shards", options->val_shards, uint64_t{0}, uint64_t{1} << 40, "Shards for validation: the last ones");
  app->add_option("--split", options->split, "Name of the folder for training")->type_name("NAME")->capture_default_str();
  app->add_option("--val-split", options->val_split, "Name of the folder for validation")->type_name("NAME")->capture_default_str();
  app->add_flag("--link", options->link, "Hard links instead of copies");
  app->add_flag("--overwrite", options->overwrite, "Replace what is there");
  app->footer("\nExample:\n  m2bert data split c4/train --out c4-split --val-fraction 0.0005\n");
  return [options, &globals] { run_split(*options, globals); };
}

// ---- show ----

struct ShowCommand {
  std::string place;
  uint64_t samples = 0;
  bool check = false;
};

// The folder itself, or those in it that hold a data set.
std::vector<data::MdsStreamConfig> places_of(const std::string& place) {
  const data::RemoteFolder remote(place, {});
  if (!remote.folder()) return {{.remote = place, .keep_raw = false}};
  std::vector<data::MdsStreamConfig> found;
  std::error_code none;
  if (!fs::exists(*remote.folder() / data::kMdsIndex, none))
    for (const auto& entry : fs::directory_iterator(*remote.folder(), none))
      if (fs::is_regular_file(entry.path() / data::kMdsIndex, none)) found.push_back({.local = entry.path().string(), .keep_raw = false});
  std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.local < b.local; });
  if (found.empty()) found.push_back({.local = remote.folder()->string(), .keep_raw = false});
  return found;
}

bool has_shards(const fs::path& folder) {
  std::error_code none;
  for (const auto& entry : fs::directory_iterator(folder, none)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("shard.") && name.find(".mds") != std::string::npos) return true;
  }
  return false;
}

// Says which folders beside the data sets of `place` lost their index; returns how many.
uint64_t report_lost_indexes(const std::string& place) {
  const data::RemoteFolder remote(place, {});
  std::error_code none;
  if (!remote.folder() || fs::exists(*remote.folder() / data::kMdsIndex, none)) return 0;
  std::vector<fs::path> lost;
  for (const auto& entry : fs::directory_iterator(*remote.folder(), none))
    if (entry.is_directory(none) && !fs::exists(entry.path() / data::kMdsIndex, none) && has_shards(entry.path()))
      lost.push_back(entry.path());
  std::sort(lost.begin(), lost.end());
  for (const fs::path& folder : lost)
    io::warn(folder.string(), ": has shards but no ", data::kMdsIndex, "; m2bert data index ", folder.string(), " makes it anew");
  return lost.size();
}

io::Tree value_tree(const data::MdsValue& value, const std::string& encoding) {
  if (const auto* text = std::get_if<std::string>(&value)) {
    if (encoding == "bytes") return {{"bytes", text->size()}};
    return *text;
  }
  if (const auto* number = std::get_if<int64_t>(&value)) return *number;
  if (const auto* number = std::get_if<uint64_t>(&value))
    return std::in_range<int64_t>(*number) ? io::Tree(*number) : std::to_string(*number);
  if (const auto* number = std::get_if<double>(&value)) return std::isfinite(*number) ? io::Tree(*number) : std::to_string(*number);
  if (const auto* tree = std::get_if<io::Tree>(&value)) return *tree;
  const auto& array = std::get<data::MdsArray>(value);
  return {{"type", std::string(data::name_of(array.type))}, {"shape", io::Tree::list({array.shape.begin(), array.shape.end()})}};
}

io::Tree sample_tree(const data::MdsShard& shard, uint64_t sample) {
  io::Tree tree = io::Tree::map();
  for (size_t column = 0; column < shard.info().columns.size(); ++column) {
    const auto& [name, encoding, size] = shard.info().columns[column];
    if (data::known_mds_encoding(encoding)) tree.set(name, value_tree(shard.value(sample, column), encoding));
    else tree.set(name, {{"encoding", encoding}, {"bytes", shard.field(sample, column).size()}});
  }
  return tree;
}

io::Tree first_samples(const data::MdsStream& stream, uint64_t wanted) {
  io::Tree samples = io::Tree::list();
  for (size_t i = 0; i < stream.index().shards.size() && samples.size() < wanted; ++i) {
    const auto shard = stream.open(i);
    for (uint64_t sample = 0; sample < shard->samples() && samples.size() < wanted; ++sample)
      samples.push_back(sample_tree(*shard, sample));
  }
  return samples;
}

io::Tree strings(const std::vector<std::string>& words) { return io::Tree::list({words.begin(), words.end()}); }

io::Tree report_tree(const data::MdsStream& stream, const data::MdsReport& report) {
  io::Tree columns = io::Tree::map();
  for (const auto& [name, encoding] : report.columns) columns.set(name, encoding);
  return {{"folder", stream.folder().string()},
          {"shards", report.shards},
          {"samples", report.samples},
          {"bytes", report.bytes},
          {"packed_bytes", report.packed_bytes},
          {"raw_here", report.raw_here},
          {"packed_here", report.packed_here},
          {"columns", columns},
          {"compressions", strings(report.compressions)},
          {"hashes", strings(report.hashes)},
          {"samples_checked", report.samples_checked},
          {"problems", strings(report.problems)},
          {"problem_count", report.problem_count}};
}

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ", ") + io::printable(word, 60);
  return text.empty() ? "none" : text;
}

void print_report(const data::MdsStream& stream, const data::MdsReport& report) {
  std::string columns;
  for (const auto& [name, encoding] : report.columns)
    columns.append(columns.empty() ? "" : ", ")
        .append(io::printable(name, 60))
        .append(" (")
        .append(io::printable(encoding, 60))
        .append(")");
  std::cout << stream.folder().string() << "\n  samples      " << io::show_count(report.samples) << "\n  shards       " << report.shards
            << ", of which " << report.raw_here << " are here unpacked and " << report.packed_here << " packed\n  bytes        "
            << io::show_bytes(report.bytes);
  if (report.packed_bytes > 0) std::cout << ", " << io::show_bytes(report.packed_bytes) << " packed";
  std::cout << "\n  columns      " << columns << "\n  compression  " << joined(report.compressions) << "\n  hashes       "
            << joined(report.hashes) << "\n";
  if (report.samples_checked > 0) std::cout << "  checked      " << io::show_count(report.samples_checked) << " samples\n";
  for (const std::string& problem : report.problems) std::cout << "  problem      " << io::printable(problem, 1000) << "\n";
}

data::MdsReport report_of(const data::MdsStream& stream, bool check) {
  if (!check) return data::describe_mds(stream);
  io::Progress progress("data show", {.unit = "samples", .total = stream.index().samples()});
  auto report = data::check_mds(stream, [&](uint64_t done) { progress.update(done); });
  progress.finish();
  return report;
}

void run_show(const ShowCommand& command, const Globals& globals) {
  io::install_interrupt_handlers();
  uint64_t problems = report_lost_indexes(command.place);
  for (data::MdsStreamConfig& place : places_of(command.place)) {
    place.validate_all = command.check;
    const data::MdsStream stream(place);
    const data::MdsReport report = report_of(stream, command.check);
    problems += report.problem_count;
    io::Tree tree = report_tree(stream, report);
    const io::Tree samples = first_samples(stream, command.samples);
    if (command.samples > 0) tree.set("first_samples", samples);
    if (globals.json) {
      std::cout << io::to_json(tree) << "\n";
      continue;
    }
    print_report(stream, report);
    for (const io::Tree& sample : samples.items()) std::cout << "  sample       " << io::to_json(sample) << "\n";
  }
  std::cout.flush();
  require(problems == 0, command.place, ": ", problems, problems == 1 ? " problem was found" : " problems were found");
}

Run add_show(CLI::App& data, const Globals& globals) {
  CLI::App* app = data.add_subcommand("show", "Show what a data set holds, and check it");
  const auto command = std::make_shared<ShowCommand>();
  app->add_option("place", command->place, "Folder or address of a data set, or a folder of several")->required()->type_name("DIR");
  add_number(*app, "--samples", command->samples, uint64_t{0}, uint64_t{1} << 30, "Print the first N samples (default: 0)");
  app->add_flag("--check", command->check, "Read all of it: checksums, decompression, every value");
  app->footer("\nExample:\n  m2bert data show my-data --check\n");
  return [command, &globals] { run_show(*command, globals); };
}

// ---- index ----

struct IndexCommand {
  std::string folder;
  bool overwrite = false;
};

void run_index(const IndexCommand& command, const Globals& globals) {
  io::install_interrupt_handlers();
  const fs::path index = fs::path(command.folder) / data::kMdsIndex;
  require(command.overwrite || !fs::exists(fs::symlink_status(index)), index.string(), ": is there already; --overwrite replaces it");
  std::unique_ptr<io::Progress> progress;
  const data::MdsIndex made = data::rebuild_mds_index(command.folder, [&](size_t done, size_t all) {
    if (!progress) progress = std::make_unique<io::Progress>("data index", io::ProgressOptions{.unit = "shards", .total = all});
    progress->update(done);
  });
  data::write_mds_index(command.folder, made);
  progress->finish();
  if (globals.json)
    std::cout << io::to_json({{"folder", command.folder}, {"shards", made.shards.size()}, {"samples", made.samples()}}) << "\n";
  else std::cout << split_line(command.folder, made.samples(), made.shards.size()) << "\n";
}

Run add_index(CLI::App& data, const Globals& globals) {
  CLI::App* app = data.add_subcommand("index", "Make a lost index.json anew from the shards of a data set");
  const auto command = std::make_shared<IndexCommand>();
  app->add_option("folder", command->folder, "Folder with the shards")->required()->type_name("DIR");
  app->add_flag("--overwrite", command->overwrite, "Replace the index that is there");
  app->footer("\nExample:\n  m2bert data index my-data/train\n");
  return [command, &globals] { run_index(*command, globals); };
}

}  // namespace

Run data_command(CLI::App& app, const Globals& globals) {
  app.require_subcommand(0, 1);
  const std::vector<std::pair<std::string, Run>> runs = {{"build", add_build(app, globals)},
                                                         {"split", add_split(app, globals)},
                                                         {"show", add_show(app, globals)},
                                                         {"index", add_index(app, globals)},
                                                         {"loco", add_data_loco(app, globals)}};
  return [runs, &app] {
    for (const auto& [name, run] : runs)
      if (app.got_subcommand(name)) return run();
    throw UsageError("say what to do: data build, data split, data show, data index or data loco");
  };
}

}  // namespace m2bert::cli
