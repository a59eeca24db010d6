// m2bert embed: texts to vectors, in constant memory, resumable, and shared by several processes.
#include <CLI/CLI.hpp>
#include <limits>
#include <map>
#include <memory>

#include "cli/choice.h"
#include "cli/command.h"
#include "cli/launch.h"
#include "cli/model_option.h"
#include "cli/process_group.h"
#include "cli/quantizer_option.h"
#include "cli/text_option.h"
#include "cli/text_run.h"
#include "cli/vector_format.h"
#include "m2bert/error.h"
#include "m2bert/infer/token_vectors.h"
#include "m2bert/io/interrupt.h"
#include "m2bert/io/json.h"
#include "m2bert/io/log.h"

namespace m2bert::cli {
namespace {

using infer::Embedder;

// What a vector stands for.
enum class Unit { text, passage, token };

struct EmbedCommand {
  ModelOption model;
  TextOption input;
  BatchOption batch;
  OutputOption output;
  QuantizerOption quantizer;
  std::string output_format, pooling, prompt;
  bool normalize = false, no_normalize = false, prompt_given = false, tokens = false, late_chunking = false;
  infer::ChunkOptions chunks;
  int dimensions = 0, window_overlap = -1, launch = 1;
  std::string shard;
  uint64_t join = 0;
  const CLI::App* app = nullptr;
};

Unit unit_of(const EmbedCommand& command) { return command.tokens ? Unit::token : command.late_chunking ? Unit::passage : Unit::text; }

infer::EmbedOptions embed_options(const EmbedCommand& command, const models::Pretrained& pretrained) {
  infer::EmbedOptions options = batching(command.batch);
  if (!command.pooling.empty()) options.pooling = models::poolings_named(command.pooling);
  if (command.normalize || command.no_normalize) options.normalize = command.normalize;
  if (command.prompt_given) options.prompt = command.prompt;
  if (command.dimensions > 0) options.dimensions = command.dimensions;
  options.offsets = unit_of(command) != Unit::text;
  if (unit_of(command) == Unit::passage) {
    const int length = infer::batch_options(pretrained, batching(command.batch)).max_length;
    options.overlap = command.window_overlap >= 0 ? command.window_overlap : (length - 2) / 4;
  }
  return options;
}

Embedder make_embedder(const EmbedCommand& command) {
  models::Pretrained pretrained = load_model(command.model);
  const infer::EmbedOptions options = embed_options(command, pretrained);
  return {std::move(pretrained), options};
}

VectorFormat format_of(const EmbedCommand& command) {
  if (!command.output_format.empty()) return vector_format_named(command.output_format);
  return is_stream(command.output.file) ? VectorFormat::jsonl : vector_format_of(command.output.file);
}

io::Tree settings_of(const EmbedCommand& command, const Embedder& embedder, const search::Quantizer& quantizer, VectorFormat format) {
  io::Tree settings = row_settings("embed", embedder.pretrained(), embedder.batcher().options());
  settings.set("output_format", name_of(format));
  settings.set("pooling", models::name(embedder.pooling()));
  settings.set("normalize", embedder.normalize());
  settings.set("normalize_cut", embedder.normalizes_cut());
  settings.set("dimensions", quantizer.dim());
  settings.set("precision", search::name_of(quantizer.precision()));
  settings.set("ranges", hash_of(quantizer.ranges()));
  constexpr const char* units[] = {"text", "passage", "token"};
  settings.set("vectors", units[static_cast<size_t>(unit_of(command))]);
  if (unit_of(command) != Unit::passage) return settings;
  settings.set("chunk_tokens", command.chunks.tokens);
  settings.set("chunk_overlap", command.chunks.overlap);
  settings.set("chunk_sentences", command.chunks.sentences);
  settings.set("chunk_spans", command.input.spans_field);
  settings.set("window_overlap", embedder.batcher().options().overlap.value_or(0));
  return settings;
}

// What a search of the saved vectors needs to know (see VectorFile).
std::map<std::string, std::string> metadata_of(const io::Tree& settings) {
  std::map<std::string, std::string> metadata;
  for (const char* key : {"model", "pooling", "normalize", "normalize_cut", "prompt", "pad", "max_length", "dtype", "program", "dimensions",
                          "precision", "vectors"}) {
    const io::Tree& value = settings.at(key);
    metadata[key] = value.is_string() ? value.string() : io::to_json(value);
  }
  return metadata;
}

// The rows of safetensors files say which text and characters they stand for.
VectorIndex index_of(Unit unit, VectorFormat format) {
  if (unit == Unit::text || format != VectorFormat::safetensors) return {};
  return unit == Unit::passage ? VectorIndex{"passages", 3} : VectorIndex{"tokens", 4};
}

io::Tree head_of(const TextWindow& read, size_t text) {
  io::Tree head = read.heads[text];
  head.set("truncated", read.window.truncated[text] != 0);
  return head;
}

void append_index(std::string& index, std::initializer_list<uint64_t> row) {
  for (const uint64_t value : row) index.append(reinterpret_cast<const char*>(&value), sizeof value);
}

uint64_t index_in_input(const TextWindow& read, size_t text) { return read.heads[text].at("index").as<uint64_t>(); }

// What makes rows of windows.
struct Embedding {
  const EmbedCommand& command;
  const Embedder& embedder;
  const search::Quantizer& quantizer;
  VectorFormat format;
  infer::PassQueue& passes;  // of windows of texts

  Rows rows_of_texts(const TextWindow& read) const {
    const infer::Embeddings texts = embedder.read(read.window, passes, read.first, is_stopped);
    std::vector<io::Tree> heads;
    heads.reserve(texts.tokens.size());
    for (size_t text = 0; text < texts.tokens.size(); ++text) heads.push_back(head_of(read, text));
    return {vector_rows(format, quantizer, texts.vectors, heads), "", heads.size()};
  }

  // The passages of a text of the input, by its field or by its tokens and sentences.
  std::vector<infer::Span> passages_of(const TextWindow& read, size_t text) const {
    const tokenize::Encoding& encoding = read.window.encodings[text];
    if (command.input.spans_field.empty())
      return infer::passages_of(read.texts[text], encoding, embedder.batcher().options().prompt.size(), command.chunks);
    std::vector<infer::Span> spans;
    for (const io::Tree& span : read.spans[text].items()) {
      if (span.size() != 2 || !span.is_list()) span.wants("[start, end], the characters of a passage");
      spans.push_back({span.items()[0].as<uint64_t>(), span.items()[1].as<uint64_t>()});
    }
    return spans;
  }

  Rows rows_of_passages(const TextWindow& read) const {
    const infer::PassageVectors passages = infer::late_chunks(
        embedder, read.window, read.texts, [&](uint32_t text) { return passages_of(read, text); }, read.first, is_stopped);
    Rows rows;
    std::vector<io::Tree> heads;
    for (size_t i = 0; i < passages.spans.size(); ++i) {
      heads.push_back(read.heads[passages.texts[i]]);
      heads.back().set("start", passages.spans[i].begin);
      heads.back().set("end", passages.spans[i].end);
      if (format == VectorFormat::safetensors)
        append_index(rows.index, {index_in_input(read, passages.texts[i]), passages.spans[i].begin, passages.spans[i].end});
    }
    rows.bytes = vector_rows(format, quantizer, passages.vectors, heads);
    rows.rows = heads.size();
    return rows;
  }

  // The line of a text's tokens [begin, end).
  void append_line(std::string& lines, const TextWindow& read, const infer::TokenVectors& tokens, size_t begin, size_t end) const {
    io::Tree head = head_of(read, tokens.texts[begin]), words = io::Tree::list(), offsets = io::Tree::list();
    for (size_t i = begin; i < end; ++i) {
      words.push_back(embedder.pretrained().tokenizer.token(tokens.ids[i]));
      offsets.push_back(io::Tree::list({tokens.spans[i].begin, tokens.spans[i].end}));
    }
    head.set("tokens", words);
    head.set("offsets", offsets);
    if (quantizer.precision() != search::Precision::float32) head.set("precision", search::name_of(quantizer.precision()));
    lines += io::to_json(head);
    lines.pop_back();  // the brace
    lines += ",\"embeddings\":[";
    for (size_t i = begin; i < end; ++i) {
      if (i > begin) lines += ',';
      append_json_vector(lines, quantizer, std::span(tokens.vectors).subspan(i * quantizer.dim(), quantizer.dim()));
    }
    lines += "]}\n";
  }

  Rows rows_of_tokens(const TextWindow& read) const {
    const infer::TokenVectors tokens = infer::token_vectors(embedder, read.window, read.texts, read.first, is_stopped);
    Rows rows;
    rows.rows = tokens.ids.size();
    if (format != VectorFormat::jsonl) rows.bytes = vector_rows(format, quantizer, tokens.vectors, {});
    for (size_t begin = 0, end = 0; begin < tokens.ids.size(); begin = end) {
      while (end < tokens.ids.size() && tokens.texts[end] == tokens.texts[begin]) ++end;
      if (format == VectorFormat::jsonl) append_line(rows.bytes, read, tokens, begin, end);
    }
    if (format != VectorFormat::safetensors) return rows;
    for (size_t i = 0; i < tokens.ids.size(); ++i)
      append_index(rows.index, {index_in_input(read, tokens.texts[i]), static_cast<uint64_t>(tokens.ids[i]), tokens.spans[i].begin,
                                tokens.spans[i].end});
    return rows;
  }

  Rows operator()(const TextWindow& read) const {
    const Unit unit = unit_of(command);
    return unit == Unit::text ? rows_of_texts(read) : unit == Unit::passage ? rows_of_passages(read) : rows_of_tokens(read);
  }
};

void refuse(std::initializer_list<std::pair<const char*, bool>> options, const std::string& why) {
  for (const auto& [name, given] : options)
    if (given) throw UsageError(std::string(name) + " " + why);
}

void check_unit(const EmbedCommand& command, VectorFormat format) {
  const infer::ChunkOptions& chunks = command.chunks;
  const bool spans = !command.input.spans_field.empty();
  if (command.tokens)
    refuse({{"--late-chunking", command.late_chunking},
            {"--pooling", !command.pooling.empty()},
            {"--normalize", command.normalize},
            {"--no-normalize", command.no_normalize},
            {"--dimensions", command.dimensions > 0}},
           "does not go with --tokens, whose vectors are the states of the tokens as they are");
  if (!command.late_chunking) {
    refuse({{"--chunk-tokens", chunks.tokens > 0},
            {"--chunk-overlap", chunks.overlap > 0},
            {"--chunk-sentences", chunks.sentences},
            {"--chunk-spans", spans},
            {"--window-overlap", command.window_overlap >= 0}},
           "goes with --late-chunking");
  } else {
    refuse({{"--truncation-side", !command.batch.truncation_side.empty()}, {"--reference-cut", command.batch.upstream_cut}},
           "does not go with --late-chunking, which reads long texts whole");
    if (!chunks.sentences && !spans && chunks.tokens == 0)
      throw UsageError("--late-chunking: say what a passage is with --chunk-tokens N, --chunk-sentences or --chunk-spans FIELD");
    if (spans && (chunks.sentences || chunks.tokens > 0)) throw UsageError("--chunk-spans says all passages; leave the other options out");
    if (chunks.overlap > 0 && (chunks.sentences || chunks.tokens == 0))
      throw UsageError("--chunk-overlap is for passages of tokens; it goes with --chunk-tokens alone");
    if (chunks.overlap > 0 && chunks.overlap >= chunks.tokens) throw UsageError("--chunk-overlap must be less than --chunk-tokens");
  }
  if (unit_of(command) != Unit::text && format == VectorFormat::npy)
    throw UsageError(std::string(command.tokens ? "--tokens" : "--late-chunking") +
                     ": a .npy file cannot say which text and characters a vector stands for; end the output in .safetensors or .jsonl");
}

void check_spans_field(const EmbedCommand& command) {
  if (command.input.spans_field.empty()) return;
  const std::string& file = command.input.file.empty() ? "-" : command.input.file;
  const auto format = command.input.texts.empty() ? data::format_of(file, source_options(command.input).format) : data::Format::text;
  if (format != data::Format::jsonl) throw UsageError("--chunk-spans is a field of JSON lines (--format jsonl)");
}

std::vector<std::string> own_names(const EmbedCommand& command) {
  switch (unit_of(command)) {
    case Unit::text: return {"index", "truncated", "precision", "embedding"};
    case Unit::passage: return {"index", "start", "end", "precision", "embedding"};
    case Unit::token: return {"index", "truncated", "tokens", "offsets", "precision", "embeddings"};
  }
  return {};
}

void check(const EmbedCommand& command, const SharedRun& shared, const Globals& globals) {
  check_texts(command.input);
  check_output(command.output,
               {command.input.file, command.model.model, command.model.config, command.model.tokenizer, command.quantizer.calibration});
  const VectorFormat format = format_of(command);
  check_unit(command, format);
  check_spans_field(command);
  if (globals.json && command.output.file == "-" && format != VectorFormat::jsonl)
    throw UsageError(std::string("--json prints JSON alone on stdout, and ") + name_of(format) + " is binary: name a file with --output");
  check_option_text("--prompt", command.prompt);
  check_keep(command.input, format == VectorFormat::jsonl, own_names(command));
  check_shared(shared, command.launch, command.input, command.output);
}

// Starts the processes of --launch.
void launch_embed(const EmbedCommand& command, const Globals& globals) {
  const int code = launch(command.launch, words_of(*command.app), globals, "The same command with --resume continues it");
  if (code != 0) throw QuietExit{code};
}

// The processes that share the run, if there are several.
SharedRun join_run(const EmbedCommand& command) {
  SharedRun shared;
  if (!command.shard.empty()) shared.shard = shard_named(command.shard);
  shared.join = command.join;
  if (train::backend_of_environment().empty()) return shared;
  train::handle_process_lost_signal();
  shared.processes = join_process_group(std::numeric_limits<double>::infinity());  // their launcher notices when one is gone
  return shared;
}

void run_embed(const EmbedCommand& command, const Globals& globals) {
  if (command.launch > 1 && !is_launched()) {
    check(command, {}, globals);
    return launch_embed(command, globals);
  }
  io::install_interrupt_handlers();
  std::optional<WithoutRingMessages> no_ring_messages;
  if (is_launched()) no_ring_messages.emplace();
  const SharedRun shared = join_run(command);
  std::optional<Embedder> made;
  std::optional<search::Quantizer> made_quantizer;
  all_or_none(shared.processes, [&] {
    check(command, shared, globals);
    made.emplace(make_embedder(command));
    if (command.late_chunking) infer::require_mean_pooling(*made);
    const int dim = command.tokens ? made->pretrained().config.hidden_size : made->dim();
    made_quantizer.emplace(make_quantizer(command.quantizer, static_cast<size_t>(dim)));
  });
  const Embedder& embedder = *made;
  const search::Quantizer& quantizer = *made_quantizer;
  const VectorFormat format = format_of(command);
  TextRun run{"embed",        name_of(format),    command.input,
              command.output, embedder.batcher(), settings_of(command, embedder, quantizer, format)};
  const VectorIndex index = index_of(unit_of(command), format);
  const VectorHeader header(format, quantizer, metadata_of(run.settings), index);
  run.header_size = header.size();
  run.header = [&](uint64_t rows) { return header.text(rows); };
  run.has_index = !index.name.empty();
  infer::PassQueue passes = embedder.pass_queue();
  if (unit_of(command) == Unit::text) run.launch = [&](const TextWindow& read) { passes.add(read.window); };
  run.rows = Embedding{command, embedder, quantizer, format, passes};
  run.shared = shared;
  run_texts(run, globals, {{"dim", quantizer.dim()}, {"precision", search::name_of(quantizer.precision())}});
}

void add_sharing_options(CLI::App& app, EmbedCommand& command) {
  add_number(app, "--launch", command.launch, 1, 1024,
             "Processes to start on this machine, which share the texts. mpirun -n N does the same\non several machines")
      ->capture_default_str();
  app.add_option("--shard", command.shard,
                 "Compute one of N shards, I from 0 to N-1, on a machine of its own, as a job of a batch\nsystem does")
      ->type_name("I/N");
  add_number(app, "--join", command.join, uint64_t{1}, uint64_t{1} << 20,
             "Join N shards, once all of them are complete, into the output. Give the other options\nas for the shards");
}

void add_chunk_options(CLI::App& app, EmbedCommand& command) {
  app.add_flag("--late-chunking", command.late_chunking,
               "A vector for each passage of a text, from one pass over the whole text, so that\n"
               "passages know what is around them");
  add_number(app, "--chunk-tokens", command.chunks.tokens, 1, 1 << 24,
             "A passage is so many tokens; with --chunk-sentences, as many sentences as fit");
  add_number(app, "--chunk-overlap", command.chunks.overlap, 0, 1 << 24,
             "Tokens that a passage shares with the one before it (default: 0)");
  app.add_flag("--chunk-sentences", command.chunks.sentences, "A passage is a sentence");
  app.add_option("--chunk-spans", command.input.spans_field, "Passages are given: field of JSON lines, [[start, end], ...] in characters")
      ->type_name("FIELD");
  add_number(app, "--window-overlap", command.window_overlap, 0, 1 << 24,
             "Texts above the maximum length are read in windows that share so many tokens\n(default: a quarter of the length)");
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
  add_dimensions_option(app, command->dimensions);
  add_quantizer_options(app, command->quantizer);
  CLI::Option* prompt =
      app.add_option("--prompt", command->prompt, "Put in front of each text: the name of one of the model's prompts, or the text itself")
          ->type_name("TEXT");
  app.add_flag("--tokens", command->tokens, "A vector for each token: its last hidden state");
  add_chunk_options(app, *command);
  add_sharing_options(app, *command);
  command->app = &app;
  return [command, prompt, &globals] {
    command->prompt_given = prompt->count() > 0;
    run_embed(*command, globals);
  };
}

}  // namespace m2bert::cli
