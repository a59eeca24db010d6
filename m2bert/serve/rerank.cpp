#include "m2bert/serve/rerank.h"

#include <algorithm>
#include <limits>

#include "m2bert/io/json.h"
#include "m2bert/search/top_k.h"
#include "m2bert/serve/text_fields.h"

namespace m2bert::serve {
namespace {

std::vector<Ranked> ranked(const std::vector<float>& scores) {
  std::vector<Ranked> all;
  for (size_t i = 0; i < scores.size(); ++i) all.push_back({i, scores[i]});
  std::ranges::stable_sort(all, std::greater{}, &Ranked::score);
  return all;
}

std::vector<Input> inputs_of_texts(const std::vector<std::string>& texts) {
  std::vector<Input> inputs;
  for (const std::string& text : texts) inputs.push_back({text, std::nullopt, {}, false});
  return inputs;
}

// A document is a text or {"text": ...}.
std::vector<std::string> documents_of(const io::Tree& list) {
  std::vector<std::string> documents;
  for (const io::Tree& item : list.items()) documents.push_back(item.is_map() ? item.at("text").string() : item.string());
  return documents;
}

}  // namespace

float cosine(std::span<const float> a, std::span<const float> b) { return search::pairwise(a, b, a.size()).front(); }

void require_reranker(const ServedModel& model) {
  if (model.is_reranker()) return;
  throw ApiError(ErrorKind::invalid, "the model " + model.name() + " has several labels: it classifies, and does not score pairs of texts");
}

void embed_both(const CallPtr& call, const ServedModel& model, const std::vector<std::string>& first, const TextSettings& for_first,
                const std::vector<std::string>& second, const TextSettings& for_second, std::function<void(Vectors&&, Vectors&&)> then) {
  call->service().embed(call, model, inputs_of_texts(first), for_first, std::nullopt, std::nullopt,
                        [call, &model, second, for_second, then = std::move(then)](Vectors&& result) {
                          auto of_first = std::make_shared<Vectors>(std::move(result));
                          call->service().embed(
                              call, model, inputs_of_texts(second), for_second, std::nullopt, std::nullopt,
                              [of_first, then](Vectors&& of_second) { then(std::move(*of_first), std::move(of_second)); });
                        });
}

void rerank(const CallPtr& call, const ServedModel& model, const std::string& query, const std::vector<std::string>& texts,
            const TextSettings& settings, bool raw, std::function<void(std::vector<Ranked>)> then) {
  if (texts.empty()) throw ApiError(ErrorKind::empty, "there are no texts to rank", "texts");
  if (model.task() == ModelTask::classify) {
    require_reranker(model);
    std::vector<Input> pairs;
    for (const std::string& text : texts) pairs.push_back({query, text, {}, false});
    call->service().classify(call, model, pairs, settings, [call, &model, settings, raw, then](Scores&& result) {
      call->tell(model, result, settings);
      then(ranked(raw ? result.logits : result.values));
    });
    return;
  }
  const TextSettings for_query = with_prompt(model, settings, {"query"}), for_texts = with_prompt(model, settings, {"document", "passage"});
  embed_both(call, model, {query}, for_query, texts, for_texts, [call, &model, settings, then](Vectors&& of_query, Vectors&& of_texts) {
    std::vector<float> scores;
    for (size_t i = 0; i < of_texts.texts.size(); ++i) scores.push_back(cosine(of_query.vector(0), of_texts.vector(i)));
    of_texts.texts.push_back(of_query.texts.front());
    call->tell(model, of_texts, settings);
    then(ranked(scores));
  });
}

size_t top_of(const io::Tree& body) {
  const auto top = body.get<int64_t>("top_n", std::numeric_limits<int64_t>::max());
  if (top < 1) throw ApiError(ErrorKind::invalid, "top_n wants at least 1", "top_n");
  return static_cast<size_t>(top);
}

namespace {

// documents: nullptr leaves their texts out.
std::string documents_response(Call& call, const ServedModel& model, const std::vector<Ranked>& all,
                               const std::vector<std::string>* documents) {
  std::string out = "{\"id\":";
  io::append_json_string(out, call.id());
  out += ",\"model\":";
  io::append_json_string(out, model.name());
  out += ",\"results\":[";
  for (size_t i = 0; i < all.size(); ++i) {
    out += (i > 0 ? ",{\"index\":" : "{\"index\":") + std::to_string(all[i].index) + ",\"relevance_score\":";
    io::append_json_number(out, all[i].score);
    if (documents) {
      out += ",\"document\":{\"text\":";
      io::append_json_string(out, (*documents)[all[i].index]);
      out += '}';
    }
    out += '}';
  }
  out += "],";
  append_usage(out, call.facts().tokens);
  return out + R"(,"meta":{"api_version":{"version":"2"},"billed_units":{"search_units":1}}})";
}

}  // namespace

void rerank_documents(const CallPtr& call) {
  call->require_known({"query", "documents", "model", "top_n", "return_documents", "truncate", "truncate_prompt_tokens", "padding",
                       "max_tokens_per_doc", "rank_fields", "user", "priority"});
  const io::Tree& body = call->body();
  const ServedModel& model = call->model();
  const TextSettings settings = settings_of(body, model);
  auto documents = std::make_shared<std::vector<std::string>>(documents_of(body.at("documents")));
  for (const char* name : {"max_tokens_per_doc", "rank_fields"})
    if (const io::Tree* value = body.find(name); value && !value->is_null())
      throw ApiError(ErrorKind::invalid, std::string(name) + " is not supported; truncate_prompt_tokens limits the length of a text", name);
  const size_t top = top_of(body);
  const bool with_text = body.get<bool>("return_documents", false);
  rerank(call, model, body.at("query").string(), *documents, settings, false,
         [call, &model, documents, top, with_text](std::vector<Ranked> all) {
           all.resize(std::min(all.size(), top));
           call->reply(documents_response(*call, model, all, with_text ? documents.get() : nullptr));
         });
}

}  // namespace m2bert::serve
