// m2bert similarity: compares texts with texts, or questions with a file of passages.
#include <CLI/CLI.hpp>
#include <chrono>
#include <iostream>
#include <memory>
#include <numeric>

#include "cli/choice.h"
#include "cli/command.h"
#include "cli/model_option.h"
#include "cli/number_text.h"
#include "cli/text_option.h"
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
  std::string pooling, measure = "cosine", prompt, corpus_prompt;
  int top_k = 5;
};

class Stopwatch {
 public:
  double seconds() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count(); }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

search::Similarity measure_of(const SimilarityCommand& command) {
  return command.measure == "dot" ? search::Similarity::dot : search::Similarity::cosine;
}

Embedder make_embedder(const SimilarityCommand& command) {
  infer::EmbedOptions options = batching(command.batch);
  if (!command.pooling.empty()) options.pooling = models::pooling_named(command.pooling);
  options.prompt = "";  // questions and passages may have different ones
  return Embedder(load_model(command.model), options);
}

std::vector<std::string> with_prompt(const Embedder& embedder, const std::string& prompt, std::vector<std::string> texts) {
  const std::string text = infer::prompt_text(embedder.pretrained(), prompt.empty() ? std::nullopt : std::optional(prompt));
  for (std::string& t : texts) t.insert(0, text);
  return texts;
}

// Embeds all passages, with a progress bar.
Embeddings embed_passages(const Embedder& embedder, const std::vector<std::string>& texts) {
  io::ProgressOptions how;
  how.unit = "passages";
  how.total = texts.size();
  io::Progress progress("embed", how);
  return embedder(texts, [&](uint64_t done) { progress.update(done); });
}

std::vector<std::vector<search::Hit>> nearest(const SimilarityCommand& command, const Embeddings& from, const Embeddings& to, size_t k) {
  search::TopKOptions how;
  how.k = k;
  how.similarity = measure_of(command);
  how.threads = threads();
  return search::top_k(from.vectors, to.vectors, static_cast<size_t>(from.dim), how);
}

// Compares every text of --a with every text of --b, row by row.
void compare(const SimilarityCommand& command, const Globals& globals) {
  const Embedder embedder = make_embedder(command);
  const Embeddings a = embedder(with_prompt(embedder, command.prompt, command.a));
  const Embeddings b = embedder(with_prompt(embedder, command.prompt, command.b));
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

io::Tree hits_tree(const std::vector<search::Hit>& hits, const AllTexts& passages) {
  io::Tree rows = io::Tree::list();
  for (const search::Hit& hit : hits) {
    io::Tree row = {{"index", passages.indices[hit.index]}, {"score", hit.score}, {"text", passages.texts[hit.index]}};
    for (const auto& [name, value] : passages.kept[hit.index].members()) row.set(name, value);
    rows.push_back(row);
  }
  return rows;
}

void print_hits(const SimilarityCommand& command, const std::vector<std::vector<search::Hit>>& hits, const AllTexts& passages) {
  for (size_t q = 0; q < hits.size(); ++q) {
    std::cout << command.queries[q] << "\n";
    for (const search::Hit& hit : hits[q])
      std::cout << "  " << fixed_text(hit.score, 4) << "  " << passages.indices[hit.index] + 1 << ": " << passages.texts[hit.index] << "\n";
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
void find_nearest(const SimilarityCommand& command, const Globals& globals) {
  const AllTexts passages = all_texts(command.corpus);
  const size_t count = passages.texts.size();
  require(count > 0, command.corpus.file, ": has no passages");
  Timing timing;
  const Stopwatch load;
  const Embedder embedder = make_embedder(command);
  timing.load = load.seconds();
  const Stopwatch embed;
  const Embeddings corpus = embed_passages(embedder, with_prompt(embedder, command.corpus_prompt, passages.texts));
  timing.embed = embed.seconds();
  timing.tokens = std::accumulate(corpus.tokens.begin(), corpus.tokens.end(), int64_t{0});
  const Stopwatch search;
  const Embeddings queries = embedder(with_prompt(embedder, command.prompt, command.queries));
  const auto hits = nearest(command, queries, corpus, static_cast<size_t>(command.top_k));
  timing.search = search.seconds();
  const auto cut = std::accumulate(corpus.truncated.begin(), corpus.truncated.end(), size_t{0});
  if (cut > 0) io::info(cut, " of ", count, " passages were truncated to ", embedder.batcher().options().max_length, " tokens");
  if (!globals.json) {
    print_hits(command, hits, passages);
    if (!globals.quiet) print_timing(timing, count, command.queries.size());
    return;
  }
  io::Tree results = io::Tree::list();
  for (size_t q = 0; q < hits.size(); ++q) results.push_back({{"query", command.queries[q]}, {"hits", hits_tree(hits[q], passages)}});
  std::cout << io::to_json(io::Tree{{"passages", count},
                                    {"skipped", passages.skipped},
                                    {"truncated", cut},
                                    {"results", results},
                                    {"timing", timing_tree(timing, count)}})
            << "\n";
}

void run_similarity(const SimilarityCommand& command, const Globals& globals) {
  const bool pairs = !command.a.empty() || !command.b.empty(), search = !command.queries.empty() || !command.corpus.file.empty();
  if (pairs == search) throw UsageError("give --a and --b, or --query and --corpus");
  if (pairs && (command.a.empty() || command.b.empty())) throw UsageError("--a and --b go together");
  if (search && (command.queries.empty() || command.corpus.file.empty())) throw UsageError("--query and --corpus go together");
  for (const auto* texts : {&command.a, &command.b, &command.queries})
    for (const std::string& text : *texts) check_option_text("a text", text);
  check_option_text("--prompt", command.prompt);
  check_option_text("--corpus-prompt", command.corpus_prompt);
  check_keep(command.corpus, globals.json, {"index", "score", "text"});
  if (pairs) compare(command, globals);
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
  app.add_option("--corpus", command->corpus.file, "File of passages, or - for stdin")->type_name("FILE");
  add_read_options(app, command->corpus, "corpus", "passage");
  add_keep_option(app, command->corpus, "corpus");
  add_number(app, "--top-k", command->top_k, 1, 1 << 20, "Passages for each question")->capture_default_str();
  add_choice(app, "--measure", command->measure, {"cosine", "dot"}, "Similarity")->capture_default_str();
  add_choice(app, "--pooling", command->pooling, {"pooler", "cls", "mean", "max"},
             "How the states of a text become one vector (default: the model's)");
  app.add_option("--prompt", command->prompt, "Put in front of questions and of --a and --b: a prompt's name or the text itself")
      ->type_name("TEXT");
  app.add_option("--corpus-prompt", command->corpus_prompt, "Put in front of passages")->type_name("TEXT");
  add_batch_options(app, command->batch);
  return [command, &globals] { run_similarity(*command, globals); };
}

}  // namespace m2bert::cli
