// The routes of text-embeddings-inference.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "m2bert/io/json.h"
#include "m2bert/serve/call.h"
#include "m2bert/serve/rerank.h"
#include "m2bert/serve/text_fields.h"
#include "m2bert/tokenize/unicode.h"
#include "m2bert/version.h"

namespace m2bert::serve {
namespace {

// TEI's vectors have length 1 unless the request says otherwise.
std::optional<bool> normalize_of(const io::Tree& body) { return body.get<bool>("normalize", true); }

void embed(const CallPtr& call) {
  call->require_known({"inputs", "model", "truncate", "truncation_direction", "prompt_name", "normalize", "dimensions", "padding"});
  const io::Tree& body = call->body();
  const ServedModel& model = call->model();
  const TextSettings settings = settings_of(body, model);
  call->service().embed(call, model, inputs_of(field_of(body, "inputs"), "inputs"), settings, normalize_of(body),
                        body.get_optional<int>("dimensions"), [call, &model, settings](Vectors&& result) {
                          call->tell(model, result, settings);
                          std::string out = "[";
                          for (size_t i = 0; i < result.texts.size(); ++i) {
                            if (i > 0) out += ',';
                            append_json_vector(out, result.vector(i));
                          }
                          call->reply(out + "]");
                        });
}

// Scales each of the vectors [n, dim] to length 1.
void normalize_each(std::vector<float>& vectors, size_t dim) {
  for (size_t at = 0; at < vectors.size(); at += dim) {
    const auto vector = std::span(vectors).subspan(at, dim);
    const double squares = std::transform_reduce(vector.begin(), vector.end(), vector.begin(), 0.0);
    if (squares > 0) std::ranges::transform(vector, vector.begin(), [&](float x) { return static_cast<float>(x / std::sqrt(squares)); });
  }
}

void embed_all(const CallPtr& call) {
  call->require_known({"inputs", "model", "truncate", "truncation_direction", "prompt_name", "normalize", "padding"});
  const io::Tree& body = call->body();
  const ServedModel& model = call->model();
  const TextSettings settings = settings_of(body, model);
  const bool normalizes = body.get<bool>("normalize", false);
  const std::vector<Input> inputs = inputs_of(field_of(body, "inputs"), "inputs");
  call->service().embed_tokens(call, model, inputs, settings, [call, &model, settings, normalizes](TokenStates&& result) {
    call->tell(model, result, settings);
    infer::TokenVectors& all = result.tokens_of_texts;
    const auto dim = static_cast<size_t>(all.dim);
    if (normalizes) normalize_each(all.vectors, dim);
    std::string out = "[";
    size_t token = 0;
    for (size_t text = 0; text < result.texts.size(); ++text) {
      out += text > 0 ? ",[" : "[";
      for (bool first = true; token < all.texts.size() && all.texts[token] == text; ++token, first = false) {
        if (!first) out += ',';
        append_json_vector(out, std::span(all.vectors).subspan(token * dim, dim));
      }
      out += ']';
    }
    call->reply(out + "]");
  });
}

// {"inputs": {"source_sentence": "...", "sentences": [...]}} -> a cosine for each sentence.
void similarity(const CallPtr& call) {
  call->require_known({"inputs", "parameters", "model"});
  const io::Tree& body = call->body();
  const ServedModel& model = call->model();
  const io::Tree& inputs = field_of(body, "inputs");
  if (!inputs.is_map()) inputs.wants("an object with source_sentence and sentences");
  if (const auto unknown = inputs.unknown({"source_sentence", "sentences"}); !unknown.empty())
    throw ApiError(ErrorKind::invalid, "inputs: unknown field \"" + unknown.front()->key + "\"", "inputs");
  std::vector<Input> texts = {{field_of(inputs, "source_sentence").string(), std::nullopt, {}, false}};
  for (const std::string& sentence : field_of(inputs, "sentences").as<std::vector<std::string>>())
    texts.push_back({sentence, std::nullopt, {}, false});
  if (texts.size() == 1) throw ApiError(ErrorKind::empty, "sentences is empty", "sentences");
  const io::Tree* parameters = body.find("parameters");
  static const io::Tree none = io::Tree::map();
  if (parameters && !parameters->is_null())
    if (const auto unknown = parameters->unknown({"truncate", "truncation_direction", "prompt_name", "padding"}); !unknown.empty())
      throw ApiError(ErrorKind::invalid, "parameters: unknown field \"" + unknown.front()->key + "\"", "parameters");
  const TextSettings settings = settings_of(parameters && parameters->is_map() ? *parameters : none, model);
  call->service().embed(call, model, texts, settings, std::nullopt, std::nullopt, [call, &model, settings](Vectors&& result) {
    call->tell(model, result, settings);
    std::vector<float> cosines;
    for (size_t i = 1; i < result.texts.size(); ++i) cosines.push_back(cosine(result.vector(0), result.vector(i)));
    std::string out;
    append_json_vector(out, cosines);
    call->reply(std::move(out));
  });
}

// Hugging Face's clients post both kinds to /.
void root(const CallPtr& call) {
  const io::Tree* inputs = call->body().find("inputs");
  if (inputs && inputs->is_map()) return similarity(call);
  if (!call->service().models().empty() && call->model().task() == ModelTask::classify) {
    for (const Route& route : tei_routes())
      if (std::string_view(route.path) == "/predict") return route.run(call);
  }
  embed(call);
}

// "a", or ["a", "b"] for a pair.
Input text_or_pair(const io::Tree& item) {
  if (item.is_string()) return {item.string(), std::nullopt, {}, false};
  const auto texts = item.as<std::vector<std::string>>();
  if (texts.empty() || texts.size() > 2)
    throw ApiError(ErrorKind::invalid, "inputs wants a text or a pair of texts in each list", "inputs");
  Input input{texts.front(), std::nullopt, {}, false};
  if (texts.size() == 2) input.second = texts.back();
  return input;
}

// As TEI: a text alone, a pair alone ["a", "b"], or a batch [["a"], ["a", "b"], ...]. A list of texts is a pair there.
std::vector<Input> predict_inputs(const io::Tree& inputs, bool& batch) {
  batch = inputs.is_list() && !inputs.items().empty() && inputs.items().front().is_list();
  if (!batch) return {text_or_pair(inputs)};
  std::vector<Input> all;
  for (const io::Tree& item : inputs.items()) all.push_back(text_or_pair(item));
  return all;
}

// Labels with their scores, the best first.
void append_predictions(std::string& out, const Scores& result, size_t text, bool raw) {
  const size_t labels = result.labels->size();
  const auto scores = std::span(raw ? result.logits : result.values).subspan(text * labels, labels);
  std::vector<size_t> order(labels);
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::stable_sort(order, [&](size_t a, size_t b) { return scores[a] > scores[b]; });
  out += '[';
  for (size_t i = 0; i < labels; ++i) {
    out += i > 0 ? ",{\"score\":" : "{\"score\":";
    io::append_json_number(out, scores[order[i]]);
    out += ",\"label\":";
    io::append_json_string(out, (*result.labels)[order[i]]);
    out += '}';
  }
  out += ']';
}

void predict(const CallPtr& call) {
  call->require_known({"inputs", "model", "truncate", "truncation_direction", "raw_scores", "padding"});
  const io::Tree& body = call->body();
  const ServedModel& model = call->model();
  const TextSettings settings = settings_of(body, model);
  bool batch = false;
  const std::vector<Input> inputs = predict_inputs(field_of(body, "inputs"), batch);
  const bool raw = body.get<bool>("raw_scores", false);
  call->service().classify(call, model, inputs, settings, [call, &model, settings, batch, raw](Scores&& result) {
    call->tell(model, result, settings);
    std::string out = batch ? "[" : "";
    for (size_t i = 0; i < result.texts.size(); ++i) {
      if (i > 0) out += ',';
      append_predictions(out, result, i, raw);
    }
    call->reply(out + (batch ? "]" : ""));
  });
}

// {"query", "texts"} is TEI's form; {"query", "documents"} that of Jina and Cohere.
void rerank_route(const CallPtr& call) {
  if (call->body().contains("documents")) return rerank_documents(call);
  call->require_known({"query", "texts", "model", "truncate", "truncation_direction", "raw_scores", "return_text", "top_n", "padding"});
  const io::Tree& body = call->body();
  const ServedModel& model = call->model();
  const TextSettings settings = settings_of(body, model);
  auto texts = std::make_shared<std::vector<std::string>>(field_of(body, "texts").as<std::vector<std::string>>());
  const bool raw = body.get<bool>("raw_scores", false), with_text = body.get<bool>("return_text", false);
  const size_t top = top_of(body);
  rerank(call, model, field_of(body, "query").string(), *texts, settings, raw, [call, texts, with_text, top](std::vector<Ranked> ranked) {
    ranked.resize(std::min(ranked.size(), top));
    std::string out = "[";
    for (size_t i = 0; i < ranked.size(); ++i) {
      out += i > 0 ? ",{\"index\":" : "{\"index\":";
      out += std::to_string(ranked[i].index) + ",\"score\":";
      io::append_json_number(out, ranked[i].score);
      if (with_text) {
        out += ",\"text\":";
        io::append_json_string(out, (*texts)[ranked[i].index]);
      }
      out += '}';
    }
    call->reply(out + "]");
  });
}

uint64_t characters_before(const std::string& text, size_t byte) {
  return static_cast<uint64_t>(std::count_if(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(std::min(byte, text.size())),
                                             [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

void tokenize_route(const CallPtr& call) {
  call->require_known({"inputs", "model", "add_special_tokens", "prompt_name"});
  const io::Tree& body = call->body();
  const ServedModel& model = call->model();
  TextSettings settings = settings_of(body, model);
  if (!settings.prompt_name) settings.prompt = "";  // the text as it is
  const std::vector<Input> inputs = inputs_of(field_of(body, "inputs"), "inputs");
  if (inputs.empty()) throw ApiError(ErrorKind::empty, "there is no input", "inputs");
  if (inputs.size() > call->service().options().max_inputs)
    throw ApiError(ErrorKind::too_large, "too many inputs in one request", "inputs");
  io::Tree all = io::Tree::list();
  for (const Input& input : inputs) {
    if (input.is_ids) throw ApiError(ErrorKind::invalid, "inputs wants texts", "inputs");
    const std::string text = call->service().prompt_of(model, settings) + input.text;
    TextSettings as_is;
    as_is.prompt = "";
    as_is.add_special_tokens = settings.add_special_tokens;
    const tokenize::Encoding encoding = call->service().encode(model, {text, std::nullopt, {}, false}, as_is);
    io::Tree tokens = io::Tree::list();
    for (size_t i = 0; i < encoding.ids.size(); ++i) {
      const bool special = encoding.special_tokens_mask[i] != 0;
      const auto [begin, end] = encoding.offsets[i];
      const io::Tree none;
      tokens.push_back(io::Tree{{"id", encoding.ids[i]},
                                {"text", special ? std::string(model.tokenizer().token(encoding.ids[i])) : text.substr(begin, end - begin)},
                                {"special", special},
                                {"start", special ? none : io::Tree(characters_before(text, begin))},
                                {"stop", special ? none : io::Tree(characters_before(text, end))}});
    }
    all.push_back(tokens);
  }
  call->reply(io::to_json(all));
}

void decode(const CallPtr& call) {
  call->require_known({"ids", "model", "skip_special_tokens"});
  const io::Tree& body = call->body();
  const ServedModel& model = call->model();
  const bool skip = body.get<bool>("skip_special_tokens", true);
  const io::Tree& ids = field_of(body, "ids");
  std::vector<std::vector<int32_t>> lists;
  if (!ids.items().empty() && ids.items().front().is_list())
    lists = [&] {
      std::vector<std::vector<int32_t>> all;
      for (const io::Tree& list : ids.items()) all.push_back(list.as<std::vector<int32_t>>());
      return all;
    }();
  else lists.push_back(ids.as<std::vector<int32_t>>());
  io::Tree texts = io::Tree::list();
  for (const auto& list : lists) {
    for (const int32_t id : list)
      if (!model.tokenizer().has(id))
        throw ApiError(ErrorKind::invalid, "the token id " + std::to_string(id) + " is not in the vocabulary", "ids");
    texts.push_back(model.tokenizer().decode(list, skip));
  }
  call->reply(io::to_json(texts));
}

// {"embedding": {"pooling"}}, {"classifier": {"id2label", "label2id"}}, or the same as "reranker".
io::Tree model_type(const ServedModel& model) {
  if (model.task() == ModelTask::embed) {
    // Clients of TEI know no other poolings: the true name is in `pooling`.
    return io::Tree{{"embedding", io::Tree{{"pooling", model.pooling_name() == "mean" ? "mean" : "cls"}}}};
  }
  io::Tree labels = io::Tree::map(), ids = io::Tree::map();
  const auto& names = model.classifier().labels();
  for (size_t i = 0; i < names.size(); ++i) {
    labels.set(std::to_string(i), names[i]);
    ids.set(names[i], i);
  }
  return io::Tree{{model.is_reranker() ? "reranker" : "classifier", io::Tree{{"id2label", labels}, {"label2id", ids}}}};
}

void info(const CallPtr& call) {
  Service& service = call->service();
  const ServedModel& model = service.model("");
  const EngineOptions& engine = service.engine().options();
  io::Tree models = io::Tree::list(), prompts = io::Tree::list();
  for (const auto& served : service.models()) models.push_back(served->name());
  for (const auto& [name, text] : model.pretrained().prompts) prompts.push_back(name);
  io::Tree tree{{"model_id", model.name()},
                {"model_sha", nullptr},
                {"model_dtype", checkpoint::dtype_name(model.pretrained().dtype)},
                {"model_type", model_type(model)},
                {"max_concurrent_requests", service.options().max_requests},
                {"max_input_length", model.max_length()},
                {"max_batch_tokens", engine.max_batch_tokens},
                {"max_batch_requests", engine.max_batch_rows},
                {"max_client_batch_size", service.options().max_inputs},
                {"auto_truncate", service.options().auto_truncate},
                {"tokenization_workers", service.workers().size()},
                {"version", M2BERT_VERSION},
                {"sha", nullptr},
                {"docker_label", nullptr},
                {"task", name(model.task())},
                {"task_reason", model.task_reason()},
                {"pooling", model.pooling_name()},
                {"padding", model.padding_name()},
                {"prompts", prompts},
                {"served_models", models}};
  if (model.task() == ModelTask::embed) {
    tree.set("embedding_size", model.embedder().dim());
    tree.set("normalize", model.embedder().normalize());
  }
  call->reply(io::to_json(tree));
}

constexpr Route routes[] = {
    {"POST", "/", Family::tei, true, root},
    {"POST", "/invocations", Family::tei, true, root},
    {"POST", "/embed", Family::tei, true, embed},
    {"POST", "/embed_all", Family::tei, true, embed_all},
    {"POST", "/similarity", Family::tei, true, similarity},
    {"POST", "/predict", Family::tei, true, predict},
    {"POST", "/rerank", Family::tei, true, rerank_route},
    {"POST", "/tokenize", Family::tei, true, tokenize_route},
    {"POST", "/decode", Family::tei, true, decode},
    {"GET", "/info", Family::tei, true, info},
};

}  // namespace

std::span<const Route> tei_routes() { return routes; }

}  // namespace m2bert::serve
