// m2bert similarity: compares texts with texts, or questions with a file of passages or of their vectors.
#include <CLI/CLI.hpp>
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
#include "cli/number_text.h"
#include "cli/text_option.h"
#include "cli/vector_file.h"
#include "m2bert/error.h"
#include "m2bert/io/json.h"
#include "m2bert/io/log.h"
#include "m2bert/io/progress.h"
#include "m2bert/search/top_k.h"
#include "m2bert/threads.h"

namespace m2bert::cli {
namespace {

using infer::Embedder;
using infer::Embeddings;

struct SimilarityCommand {
  ModelOption model;
  BatchOption batch;
  std::vector<std::string> a, b, queries;
  TextOption corpus;
  std::string vectors, pooling, measure, prompt, corpus_prompt;
  std::optional<bool> normalize;
  bool allow_other_model = false;
  int top_k = 5;
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
    for (size_t i = 0; i < row.size(); ++i) std::cout << (i == 0 ? "" : "  ") << fixed_text(row[i], 4);
    std::cout << "\n";
  }
}

struct Timing {
  double load = 0, embed = 0, search = 0;  // seconds
  int64_t tokens = 0;                      // of the passages
};

struct Passage {
  uint64_t index = 0;               // see Texts::index
  std::optional<std::string> text;  // nullopt where only vectors are known
  io::Tree kept = io::Tree::map();  // the fields that --keep names
};
using PassageOf = std::function<Passage(size_t row)>;

io::Tree results_tree(const SimilarityCommand& command, const Hits& hits, const PassageOf& passage_of) {
  io::Tree results = io::Tree::list();
  for (size_t q = 0; q < hits.size(); ++q) {
    io::Tree rows = io::Tree::list();
    for (const search::Hit& hit : hits[q]) {
      const Passage passage = passage_of(hit.index);
      rows.push_back({{"index", passage.index}, {"score", hit.score}});
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
      std::cout << "  " << fixed_text(hit.score, 4) << "  " << passage.index + 1 << (passage.text ? ": " + *passage.text : "") << "\n";
    }
    std::cout << "\n";
  }
}

double rate(double count, double seconds) { return seconds > 0 ? count / seconds : 0; }

void print_timing(const Timing& timing, size_t passages, size_t queries) {
  std::cout << io::show_count(passages) << " passages embedded in " << fixed_text(timing.embed, 2) << " s ("
            << fixed_text(rate(static_cast<double>(passages), timing.embed), 0) << " passages/s, "
            << io::show_count(static_cast<uint64_t>(rate(static_cast<double>(timing.tokens), timing.embed))) << " tokens/s); " << queries
            << (queries == 1 ? " question" : " questions") << " answered in " << fixed_text(timing.search * 1000, 1)
            << " ms; model loaded in " << fixed_text(timing.load, 2) << " s\n";
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
  const auto hits = nearest(command, queries, corpus, static_cast<size_t>(command.top_k));
  timing.search = search.seconds();
  const auto cut = std::accumulate(corpus.truncated.begin(), corpus.truncated.end(), size_t{0});
  if (cut > 0) io::info(cut, " of ", count, " passages were truncated to ", embedder.batcher().options().max_length, " tokens");
  const PassageOf passage_of = [&](size_t row) { return Passage{passages.indices[row], passages.texts[row], passages.kept[row]}; };
  if (!globals.json) {
    print_hits(command, hits, passage_of);
    if (!globals.quiet) print_timing(timing, count, command.queries.size());
    return;
  }
  std::cout << io::to_json(io::Tree{{"passages", count},
                                    {"skipped", passages.skipped},
                                    {"truncated", cut},
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
  return command;
}

void require_same_model(const SimilarityCommand& command, const VectorFile& vectors, const Embedder& embedder) {
  const auto dim = static_cast<size_t>(embedder.dim());
  require(vectors.dim() == dim, command.vectors, ": its vectors have ", vectors.dim(), " dimensions, those of ", command.model.model,
          " have ", dim, ": they come from another model");
  if (!records_its_model(vectors) || command.allow_other_model) return;
  require(vectors.recorded("model") == model_hash(embedder.pretrained()), command.vectors, ": its vectors come from another model than ",
          command.model.model, " (other weights, configuration or vocabulary); --allow-other-model searches them all the same");
}

Hits search_vectors(const SimilarityCommand& command, const VectorFile& vectors, const Embeddings& queries) {
  search::TopKSearch search(queries.vectors, vectors.dim(), search_options(command, static_cast<size_t>(command.top_k)));
  try {
    vectors.for_each_block([&](std::span<const float> rows) { search.add(rows); });
  } catch (const Error&) {
    vectors.require_finite();  // says it better: file and row
    throw;
  }
  return search.finish();
}

// The passages of the hits, from the file that the vectors were made of. Error if it does not have as many texts as there are vectors.
std::map<size_t, Passage> passages_of(const SimilarityCommand& command, const VectorFile& vectors, const Hits& hits) {
  std::map<size_t, Passage> passages;
  for (const auto& of_query : hits)
    for (const search::Hit& hit : of_query) passages[hit.index];
  const auto corpus = open_texts(command.corpus);
  uint64_t count = 0;
  for (std::string text; corpus->next(text); ++count) {
    const auto wanted = passages.find(count);
    if (wanted == passages.end()) continue;
    require(!vectors.has_indices() || vectors.index(count) == corpus->index(), command.corpus.file, ": its text with the index ",
            corpus->index(), " meets the vector with the index ", vectors.index(count), " of ", command.vectors,
            "; give the file that was embedded");
    wanted->second = {corpus->index(), text, corpus->kept()};
  }
  report_skipped(corpus->skipped(), corpus->first_skipped());
  require(count == vectors.rows(), command.corpus.file, ": has ", count, " texts, but ", command.vectors, " has ", vectors.rows(),
          " vectors; give the file that was embedded");
  return passages;
}

// The saved vectors nearest to each question.
void search_saved(const SimilarityCommand& given, const Globals& globals) {
  const VectorFile vectors(given.vectors);
  const SimilarityCommand as_saved = as_vectors_were(given, vectors);
  const Stopwatch load;
  const Embedder embedder = make_embedder(as_saved);
  const SimilarityCommand command = with_measure(as_saved, embedder);
  require_same_model(command, vectors, embedder);
  const double load_seconds = load.seconds();
  const Stopwatch search;
  const Embeddings queries = embed_texts(embedder, command.prompt, command.queries);
  const Hits hits = search_vectors(command, vectors, queries);
  const double search_seconds = search.seconds();
  std::map<size_t, Passage> passages;
  if (!command.corpus.file.empty()) passages = passages_of(command, vectors, hits);
  const PassageOf passage_of = [&](size_t row) { return passages.empty() ? Passage{vectors.index(row), std::nullopt} : passages.at(row); };
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
            << " in " << fixed_text(search_seconds * 1000, 1) << " ms; model loaded in " << fixed_text(load_seconds, 2) << " s\n";
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
  add_pooling_option(app, command->pooling);
  app.add_option("--prompt", command->prompt, "Put in front of questions and of --a and --b: a prompt's name or the text itself")
      ->type_name("TEXT");
  app.add_option("--corpus-prompt", command->corpus_prompt, "Put in front of passages")->type_name("TEXT");
  add_batch_options(app, command->batch);
  return [command, &globals] { run_similarity(*command, globals); };
}

}  // namespace m2bert::cli
