#include "m2bert/serve/service.h"

#include <algorithm>
#include <numeric>
#include <span>

#include "m2bert/error.h"
#include "m2bert/io/json.h"

namespace m2bert::serve {
namespace {

std::string quoted_list(const std::vector<std::string>& names) {
  io::Tree list = io::Tree::list();
  for (const std::string& name : names) list.push_back(name);
  return io::to_json(list);
}

ApiError too_long(size_t index, size_t tokens, int most) {
  return {ErrorKind::unprocessable,
          "input " + std::to_string(index) + " has " + std::to_string(tokens) + " tokens, and the maximum is " + std::to_string(most) +
              "; shorten it, or ask for truncation (truncate)",
          "input"};
}

void truncate_ids(tokenize::Encoding& encoding, size_t most, tokenize::TruncationSide side) {
  if (encoding.ids.size() <= most) return;
  const size_t cut = encoding.ids.size() - most;
  const size_t at = side == tokenize::TruncationSide::left ? 1 : encoding.ids.size() - 1 - cut;  // [CLS] and [SEP] stay
  encoding.ids.erase(encoding.ids.begin() + static_cast<std::ptrdiff_t>(at), encoding.ids.begin() + static_cast<std::ptrdiff_t>(at + cut));
  encoding.type_ids.resize(most);
  encoding.truncated = true;
}

}  // namespace

int64_t TextResults::tokens() const {
  return std::accumulate(texts.begin(), texts.end(), int64_t{0}, [](int64_t sum, const TextFacts& text) { return sum + text.tokens; });
}

int64_t TextResults::truncated() const {
  return std::ranges::count_if(texts, [](const TextFacts& text) { return text.truncated; });
}

Service::Service(const ServiceOptions& options, Engine& engine, Workers& workers, Metrics& metrics)
    : options_(options), engine_(engine), workers_(workers), metrics_(metrics) {}

void Service::add(std::unique_ptr<ServedModel> model, std::vector<std::string> other_names) {
  require(names_.emplace(model->name(), model.get()).second, "two models are called ", model->name());
  for (const std::string& name : other_names) names_.emplace(name, model.get());
  models_.push_back(std::move(model));
}

const ServedModel& Service::model(const std::string& name) const {
  if (name.empty()) return *models_.front();
  const auto at = names_.find(name);
  if (at != names_.end()) return *at->second;
  constexpr std::string_view latest = ":latest";
  if (name.ends_with(latest)) {
    const auto tagged = names_.find(name.substr(0, name.size() - latest.size()));
    if (tagged != names_.end()) return *tagged->second;
  }
  std::vector<std::string> names;
  for (const auto& served : models_) names.push_back(served->name());
  throw ApiError(ErrorKind::no_model, "the model \"" + name + "\" is not served here; served: " + quoted_list(names), "model");
}

std::string Service::prompt_of(const ServedModel& model, const TextSettings& settings) const {
  if (!settings.prompt_name) return settings.prompt.value_or(model.batching().prompt);
  const auto& prompts = model.pretrained().prompts;
  if (const auto at = prompts.find(*settings.prompt_name); at != prompts.end()) return at->second;
  std::vector<std::string> names;
  for (const auto& [name, text] : prompts) names.push_back(name);
  throw ApiError(ErrorKind::invalid, "the model has no prompt \"" + *settings.prompt_name + "\". Available prompts: " + quoted_list(names),
                 "prompt_name");
}

void Service::check(const std::vector<Input>& inputs) const {
  if (inputs.empty()) throw ApiError(ErrorKind::empty, "there is no input", "input");
  if (inputs.size() > options_.max_inputs)
    throw ApiError(ErrorKind::too_large,
                   std::to_string(inputs.size()) + " inputs in one request, and the maximum is " + std::to_string(options_.max_inputs),
                   "input");
  for (size_t i = 0; i < inputs.size(); ++i) {
    const size_t bytes = inputs[i].text.size() + (inputs[i].second ? inputs[i].second->size() : 0);
    if (bytes > options_.max_input_chars)
      throw ApiError(ErrorKind::too_large,
                     "input " + std::to_string(i) + " has " + std::to_string(bytes) + " bytes, and the maximum is " +
                         std::to_string(options_.max_input_chars),
                     "input");
    if (inputs[i].is_ids && !options_.accept_token_ids)
      throw ApiError(ErrorKind::invalid,
                     "input holds token ids. Another model's ids mean nothing to this one, so send texts (langchain-openai: "
                     "check_embedding_ctx_length=False), or start the server with --accept-token-ids",
                     "input");
  }
}

tokenize::Encoding Service::encode_ids(const ServedModel& model, const Input& input, const TextSettings& settings, size_t index) const {
  const tokenize::WordPiece& tokenizer = model.tokenizer();
  tokenize::Encoding encoding;
  const auto add = [&](int32_t id) {
    encoding.ids.push_back(id);
    encoding.type_ids.push_back(0);
  };
  const bool special = settings.add_special_tokens && (input.ids.empty() || input.ids.front() != tokenizer.cls_id());
  if (special) add(tokenizer.cls_id());
  for (const int32_t id : input.ids) {
    if (!tokenizer.has(id))
      throw ApiError(ErrorKind::invalid,
                     "input " + std::to_string(index) + " holds the token id " + std::to_string(id) + ", and the vocabulary has 0 to " +
                         std::to_string(tokenizer.vocab_size() - 1),
                     "input");
    add(id);
  }
  if (special) add(tokenizer.sep_id());
  return encoding;
}

tokenize::Encoding Service::encode(const ServedModel& model, const Input& input, const TextSettings& settings) const {
  if (input.is_ids) return encode_ids(model, input, settings, 0);
  tokenize::EncodeOptions how;
  how.add_special_tokens = settings.add_special_tokens;
  if (input.second) return model.tokenizer().encode_pair(input.text, *input.second, how);
  return model.tokenizer().encode(prompt_of(model, settings) + input.text, how);
}

// The texts of a request as the model sees them.
struct Service::Encoded {
  std::vector<tokenize::Encoding> encodings;
  std::vector<TextFacts> texts;
};

Service::Encoded Service::encode_rows(const ServedModel& model, const std::vector<Input>& inputs, const TextSettings& settings) const {
  check(inputs);
  if (settings.max_tokens && (*settings.max_tokens < 3 || *settings.max_tokens > model.max_length()))
    throw ApiError(ErrorKind::invalid, "the maximum number of tokens is from 3 to " + std::to_string(model.max_length()) + ", not " +
                                           std::to_string(*settings.max_tokens));
  const int most = settings.max_tokens.value_or(model.max_length());
  const bool truncates = settings.truncate.value_or(options_.auto_truncate || settings.max_tokens.has_value());
  const std::string prompt = prompt_of(model, settings);
  tokenize::EncodeOptions how;
  how.max_length = static_cast<size_t>(most);
  how.truncation_side = settings.side.value_or(model.batching().truncation_side);
  how.add_special_tokens = settings.add_special_tokens;
  Encoded all;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const Input& input = inputs[i];
    TextFacts facts;
    tokenize::Encoding encoding;
    if (input.is_ids) {
      encoding = encode_ids(model, input, settings, i);
      facts.all_tokens = static_cast<int>(encoding.ids.size());
      truncate_ids(encoding, static_cast<size_t>(most), how.truncation_side);
    } else {
      encoding = input.second ? model.tokenizer().encode_pair(input.text, *input.second, how)
                              : model.tokenizer().encode(prompt.empty() ? input.text : prompt + input.text, how);
      facts.all_tokens = static_cast<int>(encoding.truncated ? encode(model, input, settings).ids.size() : encoding.ids.size());
    }
    if (encoding.truncated && !truncates) throw too_long(i, static_cast<size_t>(facts.all_tokens), most);
    if (encoding.ids.empty()) throw ApiError(ErrorKind::invalid, "input " + std::to_string(i) + " has no tokens", "input");
    facts.truncated = encoding.truncated;
    facts.tokens = static_cast<int>(encoding.ids.size());
    facts.padded = model.masks_padding() ? facts.tokens : model.padded_length(facts.tokens, settings.pad);
    all.encodings.push_back(std::move(encoding));
    all.texts.push_back(facts);
  }
  return all;
}

// The texts as rows for batches; takes their ids.
std::shared_ptr<Work> Service::rows_of(Encoded& encoded, const ServedModel& model, const std::optional<infer::PadMode>& pad,
                                       int prompt_tokens, const infer::VectorForm& form) {
  auto work = std::make_shared<Work>();
  for (size_t i = 0; i < encoded.encodings.size(); ++i) {
    tokenize::Encoding& encoding = encoded.encodings[i];
    const int length = model.padded_length(encoded.texts[i].tokens, pad);
    work->rows.push_back({{&model, length, prompt_tokens, form}, std::move(encoding.ids), std::move(encoding.type_ids), {}, {}});
  }
  return work;
}

void Service::submit(const CallerPtr& caller, std::shared_ptr<Work> work, double tokenization, std::function<void(const Timing&)> then) {
  work->gone = [caller] { return caller->gone(); };
  Work* raw = work.get();  // the work owns this function
  work->done = [this, caller, raw, tokenization, then = std::move(then)](std::exception_ptr error) {
    const Timing timing{tokenization, seconds(raw->started - raw->queued), seconds(raw->finished - raw->started)};
    workers_.post([caller, timing, then, error] {
      try {
        if (error) std::rethrow_exception(error);
        then(timing);
      } catch (...) {
        caller->fail(std::current_exception());
      }
    });
  };
  try {
    engine_.submit(work);
  } catch (...) {
    work->done = {};  // it holds what holds the work
    throw;
  }
}

void Service::count(const ServedModel& model, const TextResults& results) {
  metrics_.observe("te_request_tokenization_duration", {}, results.timing.tokenization);
  metrics_.observe("te_request_queue_duration", {}, results.timing.queue);
  metrics_.observe("te_request_inference_duration", {}, results.timing.inference);
  for (const TextFacts& text : results.texts) metrics_.observe("te_request_input_length", {}, text.all_tokens);
  if (results.truncated() > 0)
    metrics_.count("m2bert_truncated_texts_total", Metrics::label("model", model.name()), static_cast<double>(results.truncated()));
}

void Service::embed(const CallerPtr& caller, const ServedModel& model, const std::vector<Input>& inputs, const TextSettings& settings,
                    std::optional<bool> normalize, std::optional<int> dimensions, Then<Vectors> then) {
  const auto start = Clock::now();
  const infer::Embedder& embedder = model.embedder();
  const infer::VectorForm form = embedder.form(normalize, dimensions);
  int prompt_tokens = 0;
  if (!model.pretrained().include_prompt)
    prompt_tokens = embedder.batcher().with_prompt(prompt_of(model, settings)).next([](std::string&) { return false; }).prompt_tokens;
  Encoded encoded = encode_rows(model, inputs, settings);
  const auto work = rows_of(encoded, model, settings.pad, prompt_tokens, form);
  metrics_.count("te_embed_count", {}, static_cast<double>(inputs.size()));
  submit(caller, work, seconds(Clock::now() - start),
         [this, work, &model, dim = form.dim, texts = std::move(encoded.texts), then = std::move(then)](const Timing& timing) {
           Vectors result{{texts, timing}, dim, {}};
           result.values.reserve(work->rows.size() * static_cast<size_t>(dim));
           for (const Row& row : work->rows) result.values.insert(result.values.end(), row.values.begin(), row.values.end());
           metrics_.count("te_embed_success", {}, static_cast<double>(texts.size()));
           count(model, result);
           then(std::move(result));
         });
}

void Service::classify(const CallerPtr& caller, const ServedModel& model, const std::vector<Input>& inputs, const TextSettings& settings,
                       Then<Scores> then) {
  const auto start = Clock::now();
  const infer::Classifier& classifier = model.classifier();
  Encoded encoded = encode_rows(model, inputs, settings);
  const auto work = rows_of(encoded, model, settings.pad, 0, {});
  metrics_.count("te_predict_count", {}, static_cast<double>(inputs.size()));
  submit(caller, work, seconds(Clock::now() - start),
         [this, work, &model, &classifier, texts = std::move(encoded.texts), then = std::move(then)](const Timing& timing) {
           Scores result{{texts, timing}, &classifier.labels(), classifier.task(), {}, {}};
           for (const Row& row : work->rows) {
             result.values.insert(result.values.end(), row.values.begin(), row.values.end());
             result.logits.insert(result.logits.end(), row.logits.begin(), row.logits.end());
           }
           metrics_.count("te_predict_success", {}, static_cast<double>(texts.size()));
           count(model, result);
           then(std::move(result));
         });
}

namespace {

// The texts of a request that runs alone, as windows of one batcher.
struct Windows {
  std::vector<std::string> texts;
  std::vector<infer::Window> windows;
  std::vector<uint64_t> firsts;  // the number of texts before each window
  int64_t padded_tokens = 0;

  // Calls use(window, its texts, number of texts before it) for each window.
  template <class Use>
  void for_each(const Use& use) const {
    for (size_t i = 0; i < windows.size(); ++i) use(windows[i], std::span(texts).subspan(firsts[i], windows[i].texts()), firsts[i]);
  }
};

Windows windows_of(const infer::Batcher& batcher, const std::vector<Input>& inputs) {
  Windows all;
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (inputs[i].is_ids || inputs[i].second)
      throw ApiError(ErrorKind::invalid, "input " + std::to_string(i) + ": this wants texts, not token ids or pairs", "input");
    all.texts.push_back(inputs[i].text);
  }
  batcher.for_each_window(infer::each_of(all.texts), [&](const infer::Window& window, uint64_t first) {
    for (const infer::TextBatch& batch : window.batches) all.padded_tokens += static_cast<int64_t>(batch.rows) * batch.length;
    all.windows.push_back(window);
    all.firsts.push_back(first);
  });
  return all;
}

// The batching of a request that runs alone: with offsets, and with overlaps rows for texts that are too long.
infer::BatchOptions alone(const ServedModel& model, const TextSettings& settings, const std::string& prompt, int64_t batch_tokens,
                          bool overlaps) {
  if (!settings.add_special_tokens)
    throw ApiError(ErrorKind::invalid, "add_special_tokens: false is for vectors of whole texts", "add_special_tokens");
  infer::BatchOptions how = model.batching();
  how.offsets = true;
  how.prompt = prompt;
  if (settings.side) how.truncation_side = *settings.side;
  if (settings.max_tokens) how.max_length = *settings.max_tokens;
  if (!model.masks_padding()) how.pad = settings.pad.value_or(how.pad);
  if (overlaps) how.overlap = (how.max_length - 2) / 4;
  how.batch_size = static_cast<int>(std::max<int64_t>(1, batch_tokens / how.max_length));
  return how;
}

// Spans of tokens as spans of characters.
std::vector<infer::Span> in_characters(const std::vector<infer::Span>& spans, const std::vector<infer::Span>& tokens, size_t input) {
  std::vector<infer::Span> all;
  for (const infer::Span& span : spans) {
    if (span.begin >= span.end || span.end > tokens.size())
      throw ApiError(ErrorKind::invalid,
                     "chunking: input " + std::to_string(input) + " has " + std::to_string(tokens.size()) + " tokens, so the span [" +
                         std::to_string(span.begin) + ", " + std::to_string(span.end) + "] is none of it",
                     "chunking");
    all.push_back({tokens[span.begin].begin, tokens[span.end - 1].end});
  }
  return all;
}

// The passages of each text, in characters.
std::vector<std::vector<infer::Span>> passages_of(const Windows& windows, const Chunking& chunking) {
  if (chunking.spans && !chunking.spans_of_tokens) return *chunking.spans;
  infer::ChunkOptions size = chunking.size;
  if (chunking.spans) size.tokens = 1;
  std::vector<std::vector<infer::Span>> all;
  windows.for_each([&](const infer::Window& window, std::span<const std::string> texts, uint64_t) {
    for (size_t i = 0; i < texts.size(); ++i) {
      all.push_back(infer::passages_of(texts[i], window.encodings[i], window.prompt_bytes, size));
      if (chunking.spans) all.back() = in_characters((*chunking.spans)[all.size() - 1], all.back(), all.size() - 1);
    }
  });
  return all;
}

template <class T>
void append(std::vector<T>& all, const std::vector<T>& part) {
  all.insert(all.end(), part.begin(), part.end());
}

}  // namespace

// Runs `task` by itself, and then hands on the result that it has filled.
template <class Result>
void Service::run_alone(const CallerPtr& caller, const ServedModel& model, Clock::time_point start, int64_t padded_tokens,
                        std::shared_ptr<Result> result, std::function<void()> task, Then<Result> then) {
  const auto texts = static_cast<int64_t>(result->texts.size());
  auto work = std::make_shared<Work>();
  work->task = Task{std::move(task), &model, texts, result->tokens(), padded_tokens};
  metrics_.count("te_embed_count", {}, static_cast<double>(texts));
  submit(caller, work, seconds(Clock::now() - start), [this, result, &model, then = std::move(then)](const Timing& timing) {
    result->timing = timing;
    metrics_.count("te_embed_success", {}, static_cast<double>(result->texts.size()));
    count(model, *result);
    then(std::move(*result));
  });
}

void Service::embed_passages(const CallerPtr& caller, const ServedModel& model, const std::vector<Input>& inputs,
                             const TextSettings& settings, const Chunking& chunking, Then<Passages> then) {
  const auto start = Clock::now();
  check(inputs);
  const infer::Embedder& embedder = model.embedder();
  infer::require_mean_pooling(embedder);
  if (chunking.spans && chunking.spans->size() != inputs.size())
    throw ApiError(
        ErrorKind::invalid,
        "chunking has the spans of " + std::to_string(chunking.spans->size()) + " inputs, and there are " + std::to_string(inputs.size()),
        "chunking");
  const bool overlaps = !settings.truncate.value_or(options_.auto_truncate);
  const auto how = alone(model, settings, prompt_of(model, settings), engine_.options().max_batch_tokens, overlaps);
  const auto windows = std::make_shared<const Windows>(windows_of(infer::Batcher(model.tokenizer(), how), inputs));
  const auto passages = std::make_shared<const std::vector<std::vector<infer::Span>>>(passages_of(*windows, chunking));
  auto result = std::make_shared<Passages>();
  result->dim = embedder.dim();
  windows->for_each([&](const infer::Window& window, std::span<const std::string>, uint64_t first) {
    for (size_t i = 0; i < window.texts(); ++i) {
      const int tokens = window.tokens[i];
      const bool truncated = window.truncated[i] != 0;
      const int all_tokens = truncated ? static_cast<int>(encode(model, inputs[first + i], settings).ids.size()) : tokens;
      result->texts.push_back({tokens, all_tokens, tokens, truncated});
    }
  });
  const auto task = [&embedder, windows, passages, result, caller] {
    windows->for_each([&](const infer::Window& window, std::span<const std::string> texts, uint64_t first) {
      const auto of_text = [&](uint32_t text) { return (*passages)[first + text]; };
      const auto part = infer::late_chunks(embedder, window, texts, of_text, first, [&] { return caller->gone(); });
      append(result->values, part.vectors);
      append(result->spans, part.spans);
      for (const uint32_t text : part.texts) result->inputs.push_back(static_cast<uint32_t>(first) + text);
    });
  };
  run_alone<Passages>(caller, model, start, windows->padded_tokens, result, task, std::move(then));
}

void Service::embed_tokens(const CallerPtr& caller, const ServedModel& model, const std::vector<Input>& inputs,
                           const TextSettings& settings, Then<TokenStates> then) {
  const auto start = Clock::now();
  const infer::Embedder& embedder = model.embedder();
  auto result = std::make_shared<TokenStates>();
  result->texts = encode_rows(model, inputs, settings).texts;
  const auto how = alone(model, settings, prompt_of(model, settings), engine_.options().max_batch_tokens, false);
  const auto windows = std::make_shared<const Windows>(windows_of(infer::Batcher(model.tokenizer(), how), inputs));
  const auto task = [&embedder, windows, result, caller] {
    infer::TokenVectors& all = result->tokens_of_texts;
    windows->for_each([&](const infer::Window& window, std::span<const std::string> texts, uint64_t first) {
      const infer::TokenVectors part = infer::token_vectors(embedder, window, texts, first, [&] { return caller->gone(); });
      all.dim = part.dim;
      append(all.vectors, part.vectors);
      append(all.ids, part.ids);
      append(all.spans, part.spans);
      for (const uint32_t text : part.texts) all.texts.push_back(static_cast<uint32_t>(first) + text);
    });
  };
  run_alone<TokenStates>(caller, model, start, windows->padded_tokens, result, task, std::move(then));
}

}  // namespace m2bert::serve
