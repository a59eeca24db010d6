// Cohere's embed and rerank, and the other paths of the same rerank.
#include <algorithm>

#include "m2bert/io/json.h"
#include "m2bert/serve/base64.h"
#include "m2bert/serve/call.h"
#include "m2bert/serve/rerank.h"
#include "m2bert/serve/text_fields.h"

namespace m2bert::serve {
namespace {

// One of the forms in which a response has each vector.
struct EmbeddingType {
  std::string name;
  std::optional<search::Quantizer> quantizer;  // none for float and base64, which are float32
};

search::Quantizer quantizer_of(const std::string& type, const ServedModel& model, int dim) {
  const search::Precision precision = search::precision_named(type);
  if (!search::is_scalar(precision)) return {precision, static_cast<size_t>(dim)};
  const search::Ranges& ranges = model.ranges();
  if (ranges.empty())
    throw ApiError(ErrorKind::invalid,
                   "embedding_types: " + type +
                       " needs the range of each value, and this server has none. Start it with --calibration and a "
                       "file of vectors that m2bert embed wrote, or ask for float, binary or ubinary",
                   "embedding_types");
  if (ranges.low.size() != static_cast<size_t>(dim))
    throw ApiError(ErrorKind::invalid,
                   "embedding_types: the ranges of " + type + " are those of all " + std::to_string(ranges.low.size()) +
                       " values, so it does not go with output_dimension " + std::to_string(dim),
                   "embedding_types");
  return {precision, static_cast<size_t>(dim), ranges};
}

std::vector<EmbeddingType> types_of(const std::vector<std::string>& names, const ServedModel& model, int dim) {
  std::vector<EmbeddingType> types;
  for (const std::string& name : names) {
    if (std::ranges::find(types, name, &EmbeddingType::name) != types.end()) continue;
    if (name == "float" || name == "base64") types.push_back({name, std::nullopt});
    else if (name == "int8" || name == "uint8" || name == "binary" || name == "ubinary")
      types.push_back({name, quantizer_of(name, model, dim)});
    else
      throw ApiError(ErrorKind::invalid, "embedding_types knows float, int8, uint8, binary, ubinary and base64, not \"" + name + "\"",
                     "embedding_types");
  }
  return types;
}

void append_vector(std::string& out, const EmbeddingType& type, std::span<const float> vector) {
  if (type.name == "float") return append_json_vector(out, vector);
  if (type.name == "base64") {
    out += '"' + base64(vector) + '"';
    return;
  }
  const search::Precision precision = type.quantizer->precision();
  const bool is_signed = precision == search::Precision::int8 || precision == search::Precision::binary;
  out += '[';
  for (const uint8_t byte : type.quantizer->encode(vector)) {
    if (out.back() != '[') out += ',';
    out += std::to_string(is_signed ? static_cast<int>(static_cast<int8_t>(byte)) : static_cast<int>(byte));
  }
  out += ']';
}

void append_vectors(std::string& out, const EmbeddingType& type, const Vectors& vectors) {
  out += '[';
  for (size_t i = 0; i < vectors.texts.size(); ++i) {
    if (i > 0) out += ',';
    append_vector(out, type, vectors.vector(i));
  }
  out += ']';
}

// {"content": [{"type": "text", "text": "..."}]}
std::string text_of_input(const io::Tree& input) {
  const auto& content = field_of(input, "content").items();
  if (content.size() != 1) input.wants("a content of one part, {\"type\": \"text\", \"text\": \"...\"}");
  const io::Tree& part = content.front();
  if (field_of(part, "type").string() != "text")
    throw ApiError(ErrorKind::invalid, "inputs: the model embeds texts only, and not \"" + part.at("type").string() + "\"", "inputs");
  return field_of(part, "text").string();
}

std::vector<std::string> texts_of(const io::Tree& body) {
  if (given(body, "images")) throw ApiError(ErrorKind::invalid, "images: the model embeds texts only", "images");
  const io::Tree *texts = given(body, "texts"), *inputs = given(body, "inputs");
  if ((texts != nullptr) == (inputs != nullptr))
    throw ApiError(ErrorKind::invalid, "the request wants texts, or inputs in their place", "texts");
  if (texts) return texts->as<std::vector<std::string>>();
  std::vector<std::string> all;
  for (const io::Tree& input : inputs->items()) all.push_back(text_of_input(input));
  return all;
}

TextSettings embed_settings(const io::Tree& body, const ServedModel& model) {
  TextSettings settings;
  const auto truncate = body.get<std::string>("truncate", "END");
  settings.truncate = truncate != "NONE";
  if (*settings.truncate) settings.side = side_named(truncate, "truncate");
  settings.max_tokens = body.get_optional<int>("max_tokens");
  if (const auto padding = body.get_optional<std::string>("padding")) settings.pad = padding_named(*padding);
  const auto type = body.get_optional<std::string>("input_type");
  if (!type) return settings;
  if (*type == "search_document") return with_prompt(model, settings, {"document", "passage"});
  if (*type == "search_query") return with_prompt(model, settings, {"query"});
  if (*type == "classification") return with_prompt(model, settings, {"classification"});
  if (*type == "clustering") return with_prompt(model, settings, {"clustering"});
  throw ApiError(ErrorKind::invalid, "input_type knows search_document, search_query, classification and clustering, not \"" + *type + "\"",
                 "input_type");
}

io::Tree meta_of(const Vectors& vectors, const char* version) {
  io::Tree meta{{"api_version", io::Tree{{"version", version}}}, {"billed_units", io::Tree{{"input_tokens", vectors.tokens()}}}};
  if (const int64_t cut = vectors.truncated(); cut > 0) {
    io::Tree warnings = io::Tree::list();
    warnings.push_back(std::to_string(cut) + " of " + std::to_string(vectors.texts.size()) + " texts were too long and were truncated");
    meta.set("warnings", warnings);
  }
  return meta;
}

// types: empty for the form of version 1 that has vectors of floats without a name.
std::string embed_response(const std::string& id, const std::vector<std::string>& texts, const Vectors& vectors,
                           const std::vector<EmbeddingType>& types, const char* version) {
  std::string out = "{\"id\":";
  io::append_json_string(out, id);
  out += types.empty() ? ",\"response_type\":\"embeddings_floats\"" : ",\"response_type\":\"embeddings_by_type\"";
  out += ",\"embeddings\":";
  if (types.empty()) append_vectors(out, {"float", std::nullopt}, vectors);
  for (size_t i = 0; i < types.size(); ++i) {
    out += (i > 0 ? ",\"" : "{\"") + types[i].name + "\":";
    append_vectors(out, types[i], vectors);
  }
  if (!types.empty()) out += '}';
  io::Tree all = io::Tree::list();
  for (const std::string& text : texts) all.push_back(text);
  return out + ",\"texts\":" + io::to_json(all) + ",\"meta\":" + io::to_json(meta_of(vectors, version)) + "}";
}

void embed(const CallPtr& call, std::vector<std::string> default_types, const char* version) {
  call->require_known({"model", "texts", "inputs", "images", "input_type", "embedding_types", "output_dimension", "max_tokens", "truncate",
                       "padding", "priority"});
  const io::Tree& body = call->body();
  const ServedModel& model = call->model();
  const auto dimensions = body.get_optional<int>("output_dimension");
  const int dim = model.embedder().form(std::nullopt, dimensions).dim;
  auto names = body.get<std::vector<std::string>>("embedding_types", default_types);
  if (names.empty()) names = default_types;
  auto types = types_of(names, model, dim);
  auto texts = texts_of(body);
  std::vector<Input> inputs;
  for (const std::string& text : texts) inputs.push_back({text, std::nullopt, {}, false});
  const TextSettings settings = embed_settings(body, model);
  call->service().embed(call, model, inputs, settings, std::nullopt, dimensions,
                        [call, &model, settings, version, types = std::move(types), texts = std::move(texts)](Vectors&& vectors) {
                          call->tell(model, vectors, settings);
                          call->reply(embed_response(call->id(), texts, vectors, types, version));
                        });
}

void embed_v1(const CallPtr& call) { embed(call, {}, "1"); }
void embed_v2(const CallPtr& call) { embed(call, {"float"}, "2"); }

constexpr Route routes[] = {
    {"POST", "/v1/embed", Family::cohere, true, embed_v1},          {"POST", "/v2/embed", Family::cohere, true, embed_v2},
    {"POST", "/v1/rerank", Family::cohere, true, rerank_documents}, {"POST", "/v2/rerank", Family::cohere, true, rerank_documents},
    {"POST", "/reranking", Family::cohere, true, rerank_documents}, {"POST", "/v1/reranking", Family::cohere, true, rerank_documents},
};

}  // namespace

std::span<const Route> cohere_routes() { return routes; }

}  // namespace m2bert::serve
