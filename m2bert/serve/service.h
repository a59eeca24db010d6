#pragma once
// What requests of all APIs come to: texts to vectors, passages, token vectors or scores. Called on worker threads; the results arrive on
// worker threads too.
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "m2bert/infer/token_vectors.h"
#include "m2bert/serve/api_error.h"
#include "m2bert/serve/engine.h"
#include "m2bert/serve/metrics.h"
#include "m2bert/serve/served_model.h"
#include "m2bert/serve/workers.h"

namespace m2bert::serve {

struct ServiceOptions {
  bool auto_truncate = false;        // texts that are too long are truncated unless a request says otherwise; else they are errors
  bool accept_token_ids = false;     // inputs may be token ids of the model's vocabulary
  size_t max_requests = 4096;        // in progress; further ones get 429
  size_t max_inputs = 2048;          // texts a request
  size_t max_input_chars = 4 << 20;  // bytes of a text
};

// A text, a pair of texts, or token ids.
struct Input {
  std::string text;
  std::optional<std::string> second;
  std::vector<int32_t> ids;
  bool is_ids = false;
};

// How the texts of a request are read.
struct TextSettings {
  std::optional<std::string> prompt_name;  // of the model's prompts; an unknown one is an error that lists them
  std::optional<std::string> prompt;       // a text in front of each input; default: the model's
  std::optional<bool> truncate;            // default: ServiceOptions::auto_truncate
  std::optional<tokenize::TruncationSide> side;
  std::optional<int> max_tokens;  // fewer than the model's maximum length; truncates unless `truncate` is false
  std::optional<infer::PadMode> pad;
  bool add_special_tokens = true;
};

// What became of a text.
struct TextFacts {
  int tokens = 0;      // that the model saw
  int all_tokens = 0;  // before truncation
  int padded = 0;      // tokens and padding; with masked padding, tokens
  bool truncated = false;
};

struct Timing {
  double tokenization = 0, queue = 0, inference = 0;  // seconds
};

// Every result: a text's facts for each input, in order.
struct TextResults {
  std::vector<TextFacts> texts;
  Timing timing;
  int64_t tokens() const;     // that the model saw, of all texts
  int64_t truncated() const;  // number of texts
};

struct Vectors : TextResults {
  int dim = 0;
  std::vector<float> values;  // [n, dim]
  std::span<const float> vector(size_t i) const {
    return std::span(values).subspan(i * static_cast<size_t>(dim), static_cast<size_t>(dim));
  }
};

// The passages of late chunking, in the order of the texts.
struct Passages : TextResults {
  int dim = 0;
  std::vector<float> values;       // [passages, dim]
  std::vector<uint32_t> inputs;    // [passages], the text of each
  std::vector<infer::Span> spans;  // [passages], in characters
};

struct TokenStates : TextResults {
  infer::TokenVectors tokens_of_texts;
};

struct Scores : TextResults {
  const std::vector<std::string>* labels = nullptr;
  infer::ClassTask task = infer::ClassTask::single_label;
  std::vector<float> values, logits;  // [n, labels]
};

// How a document is divided for late chunking: by size, or at given places.
struct Chunking {
  infer::ChunkOptions size;
  std::optional<std::vector<std::vector<infer::Span>>> spans;  // [texts]; in characters
  bool spans_of_tokens = false;  // the spans count the text's own tokens: the first one behind [CLS] and the prompt is 0
};

// The one who asked: where errors go, and whether anybody still waits.
class Caller {
 public:
  virtual ~Caller() = default;
  virtual void fail(std::exception_ptr error) = 0;
  virtual bool gone() const = 0;
};
using CallerPtr = std::shared_ptr<Caller>;

template <class Result>
using Then = std::function<void(Result&&)>;

class Service {
 public:
  Service(const ServiceOptions& options, Engine& engine, Workers& workers, Metrics& metrics);

  // Call it before the first request. The first model is the default.
  void add(std::unique_ptr<ServedModel> model, std::vector<std::string> other_names = {});
  const std::vector<std::unique_ptr<ServedModel>>& models() const { return models_; }
  // The model of this name; the first for an empty one. ApiError (no_model) lists the names. A tag ":latest" is ignored.
  const ServedModel& model(const std::string& name) const;

  // Each throws ApiError, or calls `then` or Caller::fail later, on a worker thread. `then` may throw: what it throws goes to fail.
  void embed(const CallerPtr& caller, const ServedModel& model, const std::vector<Input>& inputs, const TextSettings& settings,
             std::optional<bool> normalize, std::optional<int> dimensions, Then<Vectors> then);
  // One vector a passage, from one pass over each document. Documents longer than the model takes are read in overlapping rows.
  void embed_passages(const CallerPtr& caller, const ServedModel& model, const std::vector<Input>& inputs, const TextSettings& settings,
                      const Chunking& chunking, Then<Passages> then);
  void embed_tokens(const CallerPtr& caller, const ServedModel& model, const std::vector<Input>& inputs, const TextSettings& settings,
                    Then<TokenStates> then);
  void classify(const CallerPtr& caller, const ServedModel& model, const std::vector<Input>& inputs, const TextSettings& settings,
                Then<Scores> then);
  // The encoding of a text without truncation.
  tokenize::Encoding encode(const ServedModel& model, const Input& input, const TextSettings& settings) const;
  // What goes in front of each text. ApiError: the model has no prompt of that name.
  std::string prompt_of(const ServedModel& model, const TextSettings& settings) const;

  const ServiceOptions& options() const { return options_; }
  Engine& engine() { return engine_; }
  Workers& workers() { return workers_; }
  Metrics& metrics() { return metrics_; }

 private:
  struct Encoded;
  void check(const std::vector<Input>& inputs) const;
  Encoded encode_rows(const ServedModel& model, const std::vector<Input>& inputs, const TextSettings& settings) const;
  tokenize::Encoding encode_ids(const ServedModel& model, const Input& input, const TextSettings& settings, size_t index) const;
  static std::shared_ptr<Work> rows_of(Encoded& encoded, const ServedModel& model, const std::optional<infer::PadMode>& pad,
                                       int prompt_tokens, const infer::VectorForm& form);
  void submit(const CallerPtr& caller, std::shared_ptr<Work> work, double tokenization, std::function<void(const Timing&)> then);
  void count(const ServedModel& model, const TextResults& results);
  template <class Result>
  void run_alone(const CallerPtr& caller, const ServedModel& model, Clock::time_point start, int64_t padded_tokens,
                 std::shared_ptr<Result> result, std::function<void()> task, Then<Result> then);

  ServiceOptions options_;
  Engine& engine_;
  Workers& workers_;
  Metrics& metrics_;
  std::vector<std::unique_ptr<ServedModel>> models_;
  std::map<std::string, const ServedModel*> names_;
};

}  // namespace m2bert::serve
