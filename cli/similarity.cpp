// m2bert similarity: compares texts with texts, or questions with a file of passages or of their vectors.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <numeric>
#include <optional>

#include "cli/choice.h"
#include "cli/command.h"
#include "cli/model_option.h"
#include "cli/quantizer_option.h"
#include "cli/text_option.h"
#include "cli/vector_file.h"
#include "m2bert/error.h"
#include "m2bert/io/json.h"
#include "m2bert/io/log.h"
#include "m2bert/io/number_text.h"
#include "m2bert/io/progress.h"
#include "m2bert/search/hamming.h"
#include "m2bert/search/top_k.h"
#include "m2bert/threads.h"

namespace m2bert::cli {
namespace {

using infer::Embedder;
using infer::Embeddings;

constexpr int default_multiplier = 4;

struct SimilarityCommand {
  ModelOption model;
  BatchOption batch;
  std::vector<std::string> a, b, queries;
  TextOption corpus;
  std::string vectors, pooling, measure, prompt, corpus_prompt;
  std::string calibration;
  std::optional<bool> normalize, normalize_cut;
  bool allow_other_model = false, rescore = false;
  int top_k = 5, dimensions = 0, rescore_multiplier = default_multiplier;
};

class Stopwatch {
 public:
  double seconds() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count(); }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

search::TopKOptions search_options(const SimilarityCommand& command, size_t k) {
  return {k, search::measure_named(command.measure), threads()};
}

Embedder make_embedder(const SimilarityCommand& command) {
  infer::EmbedOptions options = batching(command.batch);
  if (!command.pooling.empty()) options.pooling = models::poolings_named(command.pooling);
  options.normalize = command.normalize;
  options.normalize_cut = command.normalize_cut;
  if (command.dimensions > 0) options.dimensions = command.dimensions;
  options.prompt = "";  // questions and passages may have different ones
  return Embedder(load_model(command.model), options);
}

// The command with the measure of the model where --measure names none. Error if that one is not known.
SimilarityCommand with_measure(const SimilarityCommand& given, const Embedder& embedder) {
  SimilarityCommand command = given;
  if (!command.measure.empty()) return command;
  const std::string& own = embedder.pretrained().similarity;
  command.measure = own.empty() ? "cosine" : own;
  try {
    search::measure_named(command.measure);
  } catch (const Error& e) {
    fail(command.model.model, ": similarity_fn_name of config_sentence_transformers.json: ", e.what(), "; choose one with --measure");
  }
  return command;
}

// Embeds texts behind a prompt.
Embeddings embed_texts(const Embedder& embedder, const std::string& prompt, const std::vector<std::string>& texts,
                       const std::function<void(uint64_t)>& progress = {}) {
  return embedder(texts, progress, infer::prompt_text(embedder.pretrained(), prompt.empty() ? std::nullopt : std::optional(prompt)));
}

// Embeds all passages, with a progress bar.
Embeddings embed_passages(const Embedder& embedder, const std::string& prompt, const std::vector<std::string>& texts) {
  io::ProgressOptions how;
  how.unit = "passages";
  how.total = texts.size();
  io::Progress progress("embed", how);
  return embed_texts(embedder, prompt, texts, [&](uint64_t done) { progress.update(done); });
}

using Hits = std::vector<std::vector<search::Hit>>;  // of each question

Hits nearest(const SimilarityCommand& command, const Embeddings& from, const Embeddings& to, size_t k) {
  return search::top_k(from.vectors, to.vectors, static_cast<size_t>(from.dim), search_options(command, k));
}

// The candidates of a search with --rescore.
search::HammingSearch binary_search(const SimilarityCommand& command, const Embeddings& queries, size_t documents_a_hit) {
  const auto k = static_cast<size_t>(command.top_k) * documents_a_hit;
  return {queries.vectors, static_cast<size_t>(queries.dim), k, threads()};
}

// --rescore over passages whose vectors are there: candidates by their signs, scores by their values.
Hits nearest_by_bits(const SimilarityCommand& command, const Embeddings& queries, const Embeddings& corpus) {
  const auto dim = static_cast<size_t>(corpus.dim);
  search::HammingSearch search = binary_search(command, queries, static_cast<size_t>(command.rescore_multiplier));
  search.add(corpus.vectors);
  const auto read = [&](size_t row, std::span<float> out) {
    std::copy_n(corpus.vectors.begin() + static_cast<std::ptrdiff_t>(row * dim), dim, out.begin());
  };
  return search::rescore(queries.vectors, dim, search.finish(), read, search_options(command, static_cast<size_t>(command.top_k)));
}

// Compares every text of --a with every text of --b, row by row.
void compare(const SimilarityCommand& given, const Globals& globals) {
  const Embedder embedder = make_embedder(given);
  const SimilarityCommand command = with_measure(given, embedder);
  const Embeddings a = embed_texts(embedder, command.prompt, command.a);
  const Embeddings b = embed_texts(embedder, command.prompt, command.b);
  const auto hits = nearest(command, a, b, command.b.size());
  std::vector<std::vector<float>> matrix(command.a.size(), std::vector<float>(command.b.size()));
  for (size_t row = 0; row < hits.size(); ++row)
    for (const search::Hit& hit : hits[row]) matrix[row][hit.index] = hit.score;
  if (globals.json) {
    io::Tree rows = io::Tree::list();
    for (const auto& row : matrix) rows.push_back(io::Tree::list({row.begin(), row.end()}));
    std::cout << io::to_json(io::Tree{{"measure", command.measure}, {"similarity", rows}}) << "\n";
    return;
  }
  for (const auto& row : matrix) {
    for (size_t i = 0; i < row.size(); ++i) std::cout << (i == 0 ? "" : "  ") << io::fixed_text(row[i], 4);
    std::cout << "\n";
  }
}

struct Timing {
  double load = 0, embed = 0, search = 0;  // seconds
  int64_t tokens = 0;                      // of the passages
};

struct Passage {
  uint64_t index = 0;                                 // see Texts::index
  std::optional<std::pair<uint64_t, uint64_t>> span;  // the characters of the text that are meant; nullopt: all
  std::optional<std::string> text;                    // nullopt where only vectors are known
  io::Tree kept = io::Tree::map();                    // the fields that --keep names
};
using PassageOf = std::function<Passage(size_t row)>;

io::Tree results_tree(const SimilarityCommand& command, const Hits& hits, const PassageOf& passage_of) {
  io::Tree results = io::Tree::list();
  for (size_t q = 0; q < hits.size(); ++q) {
    io::Tree rows = io::Tree::list();
    for (const search::Hit& hit : hits[q]) {
      const Passage passage = passage_of(hit.index);
      rows.push_back({{"index", passage.index}, {"score", hit.score}});
      if (passage.span) rows.items().back().set("start", passage.span->first);
      if (passage.span) rows.items().back().set("end", passage.span->second);
      if (passage.text) rows.items().back().set("text", *passage.text);
      for (const auto& [name, value] : passage.kept.members()) rows.items().back().set(name, value);
    }
    results.push_back({{"query", command.queries[q]}, {"hits", rows}});
  }
  return results;
}

void print_hits(const SimilarityCommand& command, const Hits& hits, const PassageOf& passage_of) {
  for (size_t q = 0; q < hits.size(); ++q) {
    std::cout << command.queries[q] << "\n";
    for (const search::Hit& hit : hits[q]) {
      const Passage passage = passage_of(hit.index);
      std::cout << "  " << io::fixed_text(hit.score, 4) << "  " << passage.index + 1;
      if (passage.span) std::cout << " [" << passage.span->first << ", " << passage.span->second << ")";
      std::cout << (passage.text ? ": " + *passage.text : "") << "\n";
    }
    std::cout << "\n";
  }
}

double rate(double count, double seconds) { return seconds > 0 ? count / seconds : 0; }

void print_timing(const Timing& timing, size_t passages, size_t queries) {
  std::cout << io::show_count(passages) << " passages embedded in " << io::fixed_text(timing.embed, 2) << " s ("
            << io::fixed_text(rate(static_cast<double>(passages), timing.embed), 0) << " passages/s, "
            << io::show_count(static_cast<uint64_t>(rate(static_cast<double>(timing.tokens), timing.embed))) << " tokens/s); " << queries
            << (queries == 1 ? " question" : " questions") << " answered in " << io::fixed_text(timing.search * 1000, 1)
            << " ms; model loaded in " << io::fixed_text(timing.load, 2) << " s\n";
}

io::Tree timing_tree(const Timing& timing, size_t passages) {
  return {{"load_seconds", timing.load},
          {"embed_seconds", timing.embed},
          {"search_seconds", timing.search},
          {"passages_per_second", rate(static_cast<double>(passages), timing.embed)},
          {"tokens_per_second", rate(static_cast<double>(timing.tokens), timing.embed)}};
}

// The passages nearest to each question.
void find_nearest(const SimilarityCommand& given, const Globals& globals) {
  const AllTexts passages = all_texts(given.corpus);
  const size_t count = passages.texts.size();
  require(count > 0, given.corpus.file, ": has no passages");
  Timing timing;
  const Stopwatch load;
  const Embedder embedder = make_embedder(given);
  const SimilarityCommand command = with_measure(given, embedder);
  timing.load = load.seconds();
  const Stopwatch embed;
  const Embeddings corpus = embed_passages(embedder, command.corpus_prompt, passages.texts);
  timing.embed = embed.seconds();
  timing.tokens = std::accumulate(corpus.tokens.begin(), corpus.tokens.end(), int64_t{0});
  const Stopwatch search;
  const Embeddings queries = embed_texts(embedder, command.prompt, command.queries);
  const auto hits =
      command.rescore ? nearest_by_bits(command, queries, corpus) : nearest(command, queries, corpus, static_cast<size_t>(command.top_k));
  timing.search = search.seconds();
  const auto cut = std::accumulate(corpus.truncated.begin(), corpus.truncated.end(), size_t{0});
  if (cut > 0) io::info(cut, " of ", count, " passages were truncated to ", embedder.batcher().options().max_length, " tokens");
  const PassageOf passage_of = [&](size_t row) {
    return Passage{passages.indices[row], std::nullopt, passages.texts[row], passages.kept[row]};
  };
  if (!globals.json) {
    print_hits(command, hits, passage_of);
    if (!globals.quiet) print_timing(timing, count, command.queries.size());
    return;
  }
  std::cout << io::to_json(io::Tree{{"passages", count},
                                    {"skipped", passages.skipped},
                                    {"truncated", cut},
                                    {"measure", command.measure},
                                    {"results", results_tree(command, hits, passage_of)},
                                    {"timing", timing_tree(timing, count)}})
            << "\n";
}

// Takes the value with which saved vectors were made, unless the option is given: then it must be the same.
void adopt(const VectorFile& vectors, const std::string& file, const char* key, const char* option, std::string& value) {
  const std::string recorded = vectors.recorded(key);
  require(value.empty() || value == recorded, option, " ", value, ": the vectors of ", file, " were embedded with ", recorded,
          "; leave the option out");
  value = recorded;
}

// Whether embed wrote the file with its settings. Other programs may use the same words for other things.
bool records_its_model(const VectorFile& vectors) {
  const auto format = vectors.metadata().find("format");
  return format != vectors.metadata().end() && format->second == "m2bert" && vectors.metadata().contains("model");
}

// How the questions are embedded: as the vectors were, where their file records it.
SimilarityCommand as_vectors_were(const SimilarityCommand& given, const VectorFile& vectors) {
  SimilarityCommand command = given;
  if (!records_its_model(vectors)) {
    io::info(given.vectors, " does not record which model its vectors come from, so only their dimensions are checked");
    return command;
  }
  adopt(vectors, given.vectors, "pooling", "--pooling", command.pooling);
  adopt(vectors, given.vectors, "pad", "--pad", command.batch.pad);
  std::string length = given.batch.max_length > 0 ? std::to_string(given.batch.max_length) : "";
  adopt(vectors, given.vectors, "max_length", "--max-length", length);
  command.batch.max_length = static_cast<int>(io::parse_json(length, given.vectors + ": max_length").integer(1, INT32_MAX));
  command.normalize = vectors.recorded("normalize") == "true";
  if (vectors.metadata().contains("normalize_cut")) command.normalize_cut = vectors.recorded("normalize_cut") == "true";
  std::string dimensions = given.dimensions > 0 ? std::to_string(given.dimensions) : "";
  adopt(vectors, given.vectors, "dimensions", "--dimensions", dimensions);
  command.dimensions = static_cast<int>(io::parse_json(dimensions, given.vectors + ": dimensions").integer(1, INT32_MAX));
  return command;
}

// How the vectors of a file are stored. Error if they are not those of the embedder.
search::Quantizer stored_as(const SimilarityCommand& command, const VectorFile& vectors, const Embedder& embedder) {
  const auto dim = static_cast<size_t>(embedder.dim());
  const search::Precision precision = vectors.precision(dim);
  const size_t wanted = search::is_binary(precision) ? search::bytes_of(precision, dim) : dim;
  require(vectors.dim() == wanted, command.vectors, ": its vectors have ", vectors.dim(),
          search::is_binary(precision) ? " bytes" : " dimensions", ", those of ", command.model.model, " have ", wanted,
          ": they come from another model");
  if (search::is_scalar(precision)) {
    require(command.calibration.empty() || vectors.ranges().empty(), "--calibration: ", command.vectors,
            " records the ranges of its values; leave the option out");
    require(!command.calibration.empty() || !vectors.ranges().empty(), command.vectors, ": its values are ", search::name_of(precision),
            ", and it does not record their ranges; give the file they were made with: --calibration FILE");
    return {precision, dim, vectors.ranges().empty() ? read_ranges(command.calibration, dim) : vectors.ranges()};
  }
  require(command.calibration.empty(), "--calibration is for int8 and uint8 vectors, and those of ", command.vectors, " are ",
          search::name_of(precision));
  return {precision, dim};
}

void require_same_model(const SimilarityCommand& command, const VectorFile& vectors, const Embedder& embedder) {
  if (!records_its_model(vectors) || command.allow_other_model) return;
  require(vectors.recorded("model") == model_hash(embedder.pretrained()), command.vectors, ": its vectors come from another model than ",
          command.model.model, " (other weights, configuration or vocabulary); --allow-other-model searches them all the same");
}

// Calls `use` with all vectors as float32, in blocks.
void for_each_block(const VectorFile& vectors, const search::Quantizer& quantizer, const std::function<void(std::span<const float>)>& use) {
  if (vectors.is_float()) return vectors.for_each_block(use);
  constexpr size_t rows_a_block = 4096;
  std::vector<float> block;
  for (size_t row = 0; row < vectors.rows(); row += rows_a_block) {
    const size_t count = std::min<size_t>(rows_a_block, vectors.rows() - row);
    block.resize(count * quantizer.dim());
    quantizer.decode(vectors.bytes().subspan(row * quantizer.row_bytes(), count * quantizer.row_bytes()), block);
    use(block);
  }
}

Hits search_bits(const SimilarityCommand& command, const VectorFile& vectors, const search::Quantizer& quantizer,
                 const Embeddings& queries) {
  search::HammingSearch search = binary_search(command, queries, command.rescore ? static_cast<size_t>(command.rescore_multiplier) : 1);
  if (search::is_binary(quantizer.precision())) search.add(vectors.bytes(), quantizer.precision());
  else for_each_block(vectors, quantizer, [&](std::span<const float> rows) { search.add(rows); });
  if (!command.rescore) return search.finish();
  const auto read = [&](size_t row, std::span<float> out) {
    if (vectors.is_float()) vectors.read_row(row, out);
    else quantizer.decode(vectors.bytes().subspan(row * quantizer.row_bytes(), quantizer.row_bytes()), out);
  };
  return search::rescore(queries.vectors, quantizer.dim(), search.finish(), read,
                         search_options(command, static_cast<size_t>(command.top_k)));
}

Hits search_vectors(const SimilarityCommand& command, const VectorFile& vectors, const search::Quantizer& quantizer,
                    const Embeddings& queries) {
  try {
    if (command.rescore || search::is_binary(quantizer.precision())) return search_bits(command, vectors, quantizer, queries);
    search::TopKSearch search(queries.vectors, quantizer.dim(), search_options(command, static_cast<size_t>(command.top_k)));
    for_each_block(vectors, quantizer, [&](std::span<const float> rows) { search.add(rows); });
    return search.finish();
  } catch (const Error&) {
    if (vectors.is_float()) vectors.require_finite();  // says it better: file and row
    throw;
  }
}

// The command with the measure of a search of saved vectors. Binary vectors have one of their own: the bits that differ, or with --rescore
// the dot product of the query and the bits.
SimilarityCommand with_measure_of(const SimilarityCommand& given, const search::Quantizer& quantizer, const Embedder& embedder) {
  if (!search::is_binary(quantizer.precision())) return with_measure(given, embedder);
  SimilarityCommand command = given;
  command.measure = given.rescore ? "dot" : "hamming";
  require(given.measure.empty() || given.measure == command.measure, "--measure ", given.measure, ": the vectors of ", given.vectors,
          " are bits, which are compared by their number of differences, or with --rescore by the dot product of the query and the bits");
  return command;
}

// The characters [start, end) of a text. Error if it has fewer.
std::string part_of(const std::string& text, std::pair<uint64_t, uint64_t> span, const std::string& file) {
  std::vector<size_t> starts;  // of each character
  for (size_t i = 0; i < text.size(); ++i)
    if ((static_cast<unsigned char>(text[i]) & 0xC0) != 0x80) starts.push_back(i);
  starts.push_back(text.size());
  require(span.first <= span.second && span.second < starts.size(), file, ": a text has ", starts.size() - 1,
          " characters, and the vectors are of a passage that ends at ", span.second, "; give the file that was embedded");
  return text.substr(starts[span.first], starts[span.second] - starts[span.first]);
}

// The passages of the hits by themselves.
std::map<size_t, Passage> passages_of(const VectorFile& vectors, const Hits& hits) {
  std::map<size_t, Passage> passages;
  for (const auto& of_query : hits)
    for (const search::Hit& hit : of_query) {
      passages[hit.index].index = vectors.index(hit.index);
      if (vectors.has_passages()) passages[hit.index].span = vectors.passage(hit.index);
    }
  return passages;
}

// Adds the texts of late chunks, whose file says which text each is of.
void add_texts_of_parts(const SimilarityCommand& command, std::map<size_t, Passage>& passages) {
  std::map<uint64_t, std::vector<Passage*>> of_text;
  for (auto& [row, passage] : passages) of_text[passage.index].push_back(&passage);
  const auto corpus = open_texts(command.corpus);
  for (std::string text; corpus->next(text);) {
    const auto wanted = of_text.find(corpus->index());
    if (wanted == of_text.end()) continue;
    for (Passage* passage : wanted->second) {
      passage->text = part_of(text, *passage->span, command.corpus.file);
      passage->kept = corpus->kept();
    }
    of_text.erase(wanted);
  }
  report_skipped(corpus->skipped(), corpus->first_skipped());
  require(of_text.empty(), command.corpus.file, ": has no text with the index ", of_text.empty() ? 0 : of_text.begin()->first, ", but ",
          command.vectors, " has passages of it; give the file that was embedded");
}

// Adds the texts, from the file that the vectors were made of. Error if it does not have as many texts as there are vectors.
void add_texts(const SimilarityCommand& command, const VectorFile& vectors, std::map<size_t, Passage>& passages) {
  if (vectors.has_passages()) return add_texts_of_parts(command, passages);
  const auto corpus = open_texts(command.corpus);
  uint64_t count = 0;
  for (std::string text; corpus->next(text); ++count) {
    const auto wanted = passages.find(count);
    if (wanted == passages.end()) continue;
    require(!vectors.has_indices() || vectors.index(count) == corpus->index(), command.corpus.file, ": its text with the index ",
            corpus->index(), " meets the vector with the index ", vectors.index(count), " of ", command.vectors,
            "; give the file that was embedded");
    wanted->second = {corpus->index(), std::nullopt, text, corpus->kept()};
  }
  report_skipped(corpus->skipped(), corpus->first_skipped());
  require(count == vectors.rows(), command.corpus.file, ": has ", count, " texts, but ", command.vectors, " has ", vectors.rows(),
          " vectors; give the file that was embedded");
}

// The saved vectors nearest to each question.
void search_saved(const SimilarityCommand& given, const Globals& globals) {
  const VectorFile vectors(given.vectors);
  const SimilarityCommand as_saved = as_vectors_were(given, vectors);
  const Stopwatch load;
  const Embedder embedder = make_embedder(as_saved);
  const search::Quantizer quantizer = stored_as(as_saved, vectors, embedder);
  const SimilarityCommand command = with_measure_of(as_saved, quantizer, embedder);
  require_same_model(command, vectors, embedder);
  const double load_seconds = load.seconds();
  const Stopwatch search;
  const Embeddings queries = embed_texts(embedder, command.prompt, command.queries);
  const Hits hits = search_vectors(command, vectors, quantizer, queries);
  const double search_seconds = search.seconds();
  std::map<size_t, Passage> passages = passages_of(vectors, hits);
  if (!command.corpus.file.empty()) add_texts(command, vectors, passages);
  const PassageOf passage_of = [&](size_t row) { return passages.at(row); };
  if (globals.json) {
    std::cout << io::to_json(io::Tree{{"passages", vectors.rows()},
                                      {"measure", command.measure},
                                      {"results", results_tree(command, hits, passage_of)},
                                      {"timing", {{"load_seconds", load_seconds}, {"search_seconds", search_seconds}}}})
              << "\n";
    return;
  }
  print_hits(command, hits, passage_of);
  if (globals.quiet) return;
  std::cout << io::show_count(vectors.rows()) << " vectors searched for " << hits.size() << (hits.size() == 1 ? " question" : " questions")
            << " in " << io::fixed_text(search_seconds * 1000, 1) << " ms; model loaded in " << io::fixed_text(load_seconds, 2) << " s\n";
}

void run_similarity(const SimilarityCommand& command, const Globals& globals) {
  const bool saved = !command.vectors.empty(), corpus = !command.corpus.file.empty();
  const bool pairs = !command.a.empty() || !command.b.empty(), search = !command.queries.empty() || saved || corpus;
  if (pairs == search) throw UsageError("give --a and --b, or --query with --corpus or --vectors");
  if (pairs && (command.a.empty() || command.b.empty())) throw UsageError("--a and --b go together");
  if (search && (command.queries.empty() || !(saved || corpus))) throw UsageError("--query goes with --corpus or --vectors");
  if (saved && !command.corpus_prompt.empty())
    throw UsageError("--corpus-prompt does not change saved vectors; m2bert embed takes it as --prompt");
  for (const auto* texts : {&command.a, &command.b, &command.queries})
    for (const std::string& text : *texts) check_option_text("a text", text);
  if (pairs && command.rescore) throw UsageError("--rescore is for a search: it goes with --query");
  if (!command.rescore && command.rescore_multiplier != default_multiplier) throw UsageError("--rescore-multiplier goes with --rescore");
  if (!saved && !command.calibration.empty()) throw UsageError("--calibration is for saved vectors: it goes with --vectors");
  check_option_text("--prompt", command.prompt);
  check_option_text("--corpus-prompt", command.corpus_prompt);
  if (!corpus) refuse_read_options(command.corpus, "is for a corpus: it goes with --corpus");
  check_keep(command.corpus, globals.json, {"index", "score", "text"});
  if (pairs) compare(command, globals);
  else if (saved) search_saved(command, globals);
  else find_nearest(command, globals);
}

CLI::Option* text_option(CLI::App& app, const std::string& name, std::vector<std::string>& texts, const std::string& what) {
  return app.add_option(name, texts, what)->type_name("TEXT")->expected(1)->allow_extra_args(false)->take_all();
}

}  // namespace

Run similarity_command(CLI::App& app, const Globals& globals) {
  const auto command = std::make_shared<SimilarityCommand>();
  add_model_options(app, command->model);
  text_option(app, "--a", command->a, "Text of the rows; may be given several times");
  text_option(app, "--b", command->b, "Text of the columns; may be given several times");
  text_option(app, "--query", command->queries, "Question; may be given several times");
  app.add_option("--corpus", command->corpus.file, "File of passages, or - for stdin; with --vectors, their texts, to print")
      ->type_name("FILE");
  app.add_option("--vectors", command->vectors, "Vectors of the passages, as m2bert embed saves them (.npy, .safetensors, .jsonl)")
      ->type_name("FILE");
  app.add_flag("--allow-other-model", command->allow_other_model, "Search vectors whose file records another model");
  add_read_options(app, command->corpus, "corpus", "passage");
  add_keep_option(app, command->corpus, "corpus");
  add_number(app, "--top-k", command->top_k, 1, 1 << 20, "Passages for each question")->capture_default_str();
  add_choice(app, "--measure", command->measure, {"cosine", "dot", "euclidean", "manhattan"},
             "Similarity; distances count negative\n(default: the model's, else cosine)");
  app.add_flag("--rescore", command->rescore,
               "Find candidates by the signs of the vectors' values, which takes a bit a value, and\n"
               "score these by the values: faster, and close to the exact search");
  add_number(app, "--rescore-multiplier", command->rescore_multiplier, 1, 1 << 20, "Candidates for each of the passages to find")
      ->capture_default_str();
  add_dimensions_option(app, command->dimensions);
  add_calibration_option(app, command->calibration, "Ranges of int8 and uint8 --vectors that do not record them: the file that embed took");
  add_pooling_option(app, command->pooling);
  app.add_option("--prompt", command->prompt, "Put in front of questions and of --a and --b: a prompt's name or the text itself")
      ->type_name("TEXT");
  app.add_option("--corpus-prompt", command->corpus_prompt, "Put in front of passages")->type_name("TEXT");
  add_batch_options(app, command->batch);
  return [command, &globals] { run_similarity(*command, globals); };
}

}  // namespace m2bert::cli
