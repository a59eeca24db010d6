// vLLM's routes beside OpenAI's: /score, /classify and /pooling.
#include <algorithm>
#include <ctime>

#include "m2bert/io/json.h"
#include "m2bert/serve/base64.h"
#include "m2bert/serve/call.h"
#include "m2bert/serve/rerank.h"
#include "m2bert/serve/text_fields.h"

namespace m2bert::serve {
namespace {

// The fields of a route: those that all of them have, and its own.
std::vector<std::string> fields(std::initializer_list<const char*> own) {
  std::vector<std::string> all = {"model",           "user",   "priority", "request_id", "truncate", "truncate_prompt_tokens",
                                  "truncation_side", "padding"};
  all.insert(all.begin(), own.begin(), own.end());
  return all;
}

// {"id", "object", "created", "model", "data": [, for the caller to continue.
std::string list_start(const Call& call, const ServedModel& model) {
  std::string out = "{\"id\":";
  io::append_json_string(out, call.id());
  out += ",\"object\":\"list\",\"created\":" + std::to_string(std::time(nullptr)) + ",\"model\":";
  io::append_json_string(out, model.name());
  return out + ",\"data\":[";
}

std::string list_end(const TextResults& results) {
  std::string out = "],";
  append_usage(out, results.tokens());
  return out + ",\"truncated\":" + std::to_string(results.truncated()) + "}";
}

std::string item_start(size_t index) { return (index > 0 ? ",{\"index\":" : "{\"index\":") + std::to_string(index); }

std::vector<std::string> text_or_texts(const io::Tree& field) {
  if (field.is_string()) return {field.string()};
  return field.as<std::vector<std::string>>();
}

// The texts to compare: one with each of several, or as many with as many.
struct Sides {
  std::vector<std::string> first, second;
  bool is_search = false;  // queries and documents, which may have prompts of their own
};

Sides sides_of(const io::Tree& body) {
  constexpr std::pair<const char*, const char*> names[] = {{"text_1", "text_2"}, {"data_1", "data_2"}, {"queries", "documents"}};
  const auto has = [&](const auto& pair) { return given(body, pair.first) || given(body, pair.second); };
  if (std::ranges::count_if(names, has) != 1)
    throw ApiError(ErrorKind::invalid, "the request wants text_1 and text_2, or data_1 and data_2, or queries and documents", "text_1");
  const auto [first, second] = *std::ranges::find_if(names, has);
  Sides sides{text_or_texts(field_of(body, first)), text_or_texts(field_of(body, second)), std::string_view(first) == "queries"};
  if (sides.first.empty() || sides.second.empty())
    throw ApiError(ErrorKind::empty, std::string(sides.first.empty() ? first : second) + " is empty", first);
  if (sides.first.size() != 1 && sides.first.size() != sides.second.size())
    throw ApiError(ErrorKind::invalid,
                   std::string(first) + " has " + std::to_string(sides.first.size()) + " texts and " + second + " " +
                       std::to_string(sides.second.size()) + ": it wants one, or as many",
                   first);
  return sides;
}

void reply_scores(Call& call, const ServedModel& model, const TextResults& results, const std::vector<float>& scores) {
  std::string out = list_start(call, model);
  for (size_t i = 0; i < scores.size(); ++i) {
    out += item_start(i) + ",\"object\":\"score\",\"score\":";
    io::append_json_number(out, scores[i]);
    out += '}';
  }
  call.reply(out + list_end(results));
}

void score(const CallPtr& call) {
  call->require_known(fields({"text_1", "text_2", "data_1", "data_2", "queries", "documents", "use_activation"}));
  const io::Tree& body = call->body();
  const ServedModel& model = call->model();
  const TextSettings settings = settings_of(body, model);
  const bool activates = body.get<bool>("use_activation", true);
  auto sides = std::make_shared<Sides>(sides_of(body));
  const auto first_of = [](const Sides& both, size_t i) { return both.first.size() == 1 ? 0 : i; };
  if (model.task() == ModelTask::classify) {
    require_reranker(model);
    std::vector<Input> pairs;
    for (size_t i = 0; i < sides->second.size(); ++i) pairs.push_back({sides->first[first_of(*sides, i)], sides->second[i], {}, false});
    call->service().classify(call, model, pairs, settings, [call, &model, settings, activates](Scores&& result) {
      call->tell(model, result, settings);
      reply_scores(*call, model, result, activates ? result.values : result.logits);
    });
    return;
  }
  if (!activates)
    throw ApiError(ErrorKind::invalid, "use_activation: the scores of this model are cosines, which have no logits", "use_activation");
  const TextSettings for_first = sides->is_search ? with_prompt(model, settings, {"query"}) : settings;
  const TextSettings for_second = sides->is_search ? with_prompt(model, settings, {"document", "passage"}) : settings;
  embed_both(call, model, sides->first, for_first, sides->second, for_second,
             [call, &model, settings, sides, first_of](Vectors&& first, Vectors&& second) {
               std::vector<float> scores;
               for (size_t i = 0; i < second.texts.size(); ++i)
                 scores.push_back(cosine(first.vector(first_of(*sides, i)), second.vector(i)));
               second.texts.insert(second.texts.end(), first.texts.begin(), first.texts.end());
               call->tell(model, second, settings);
               reply_scores(*call, model, second, scores);
             });
}

void classify(const CallPtr& call) {
  call->require_known(fields({"input", "use_activation", "add_special_tokens"}));
  const io::Tree& body = call->body();
  const ServedModel& model = call->model();
  const TextSettings settings = settings_of(body, model);
  const bool activates = body.get<bool>("use_activation", true);
  call->service().classify(
      call, model, inputs_of(field_of(body, "input"), "input"), settings, [call, &model, settings, activates](Scores&& result) {
        call->tell(model, result, settings);
        const size_t labels = result.labels->size();
        std::string out = list_start(*call, model);
        for (size_t i = 0; i < result.texts.size(); ++i) {
          const auto scores = std::span(activates ? result.values : result.logits).subspan(i * labels, labels);
          out += item_start(i) + ",\"label\":";
          io::append_json_string(out, (*result.labels)[static_cast<size_t>(std::ranges::max_element(scores) - scores.begin())]);
          out += ",\"probs\":";
          append_json_vector(out, scores);
          out += ",\"num_classes\":" + std::to_string(labels) + "}";
        }
        call->reply(out + list_end(result));
      });
}

// Float32 values of shape [rows, dim] as lists of numbers, or base64 of all of them.
void append_rows(std::string& out, std::span<const float> values, size_t dim, bool as_base64) {
  if (as_base64) {
    out += '"' + base64(values) + '"';
    return;
  }
  out += '[';
  for (size_t at = 0; at < values.size(); at += dim) {
    if (at > 0) out += ',';
    append_json_vector(out, values.subspan(at, dim));
  }
  out += ']';
}

void pool_tokens(const CallPtr& call, const ServedModel& model, const std::vector<Input>& inputs, const TextSettings& settings,
                 bool as_base64) {
  call->service().embed_tokens(call, model, inputs, settings, [call, &model, settings, as_base64](TokenStates&& result) {
    call->tell(model, result, settings);
    const infer::TokenVectors& all = result.tokens_of_texts;
    const auto dim = static_cast<size_t>(all.dim);
    std::string out = list_start(*call, model);
    for (size_t text = 0, token = 0; text < result.texts.size(); ++text) {
      const size_t first = token;
      while (token < all.texts.size() && all.texts[token] == text) ++token;
      out += item_start(text) + ",\"object\":\"pooling\",\"data\":";
      append_rows(out, std::span(all.vectors).subspan(first * dim, (token - first) * dim), dim, as_base64);
      out += '}';
    }
    call->reply(out + list_end(result));
  });
}

void pool_texts(const CallPtr& call, const ServedModel& model, const std::vector<Input>& inputs, const TextSettings& settings,
                bool as_base64) {
  call->service().embed(call, model, inputs, settings, std::nullopt, std::nullopt, [call, &model, settings, as_base64](Vectors&& result) {
    call->tell(model, result, settings);
    std::string out = list_start(*call, model);
    for (size_t i = 0; i < result.texts.size(); ++i) {
      out += item_start(i) + ",\"object\":\"pooling\",\"data\":";
      if (as_base64) out += '"' + base64(result.vector(i)) + '"';
      else append_json_vector(out, result.vector(i));
      out += '}';
    }
    call->reply(out + list_end(result));
  });
}

void pooling(const CallPtr& call) {
  call->require_known(fields({"input", "task", "encoding_format", "add_special_tokens"}));
  const io::Tree& body = call->body();
  const ServedModel& model = call->model();
  const TextSettings settings = settings_of(body, model);
  const bool as_base64 = wants_base64(body);
  const auto task = body.get<std::string>("task", "token_embed");
  const std::vector<Input> inputs = inputs_of(field_of(body, "input"), "input");
  if (task == "token_embed") return pool_tokens(call, model, inputs, settings, as_base64);
  if (task == "embed") return pool_texts(call, model, inputs, settings, as_base64);
  throw ApiError(ErrorKind::invalid, "task wants \"token_embed\" or \"embed\", not \"" + task + "\"; /classify gives the scores of labels",
                 "task");
}

constexpr Route routes[] = {
    {"POST", "/score", Family::openai, true, score},
    {"POST", "/v1/score", Family::openai, true, score},
    {"POST", "/classify", Family::openai, true, classify},
    {"POST", "/pooling", Family::openai, true, pooling},
};

}  // namespace

std::span<const Route> vllm_routes() { return routes; }

}  // namespace m2bert::serve
