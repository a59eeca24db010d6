// OpenAI's embeddings, with vLLM's and our own additions: /v1/embeddings, /v1/models.
#include <ctime>

#include "m2bert/io/json.h"
#include "m2bert/serve/base64.h"
#include "m2bert/serve/call.h"
#include "m2bert/serve/text_fields.h"

namespace m2bert::serve {
namespace {

const std::vector<std::string> embedding_fields = {"input",           "model",    "encoding_format",
                                                   "dimensions",      "user",     "priority",
                                                   "request_id",      "truncate", "truncate_prompt_tokens",
                                                   "truncation_side", "padding",  "add_special_tokens",
                                                   "prompt_name",     "prompt",   "normalize",
                                                   "chunking"};

void append_embedding(std::string& out, size_t index, std::span<const float> vector, bool as_base64) {
  out += (index > 0 ? "," : "");
  out += "{\"object\":\"embedding\",\"index\":" + std::to_string(index) + ",\"embedding\":";
  if (as_base64) out += '"' + base64(vector) + '"';
  else append_json_vector(out, vector);
}

void append_end(std::string& out, const ServedModel& model, const TextResults& results) {
  out += "],\"model\":";
  io::append_json_string(out, model.name());
  out += ',';
  append_usage(out, results.tokens());
  out += ",\"truncated\":" + std::to_string(results.truncated()) + "}";
}

void embeddings(const CallPtr& call) {
  call->require_known(embedding_fields);
  const io::Tree& body = call->body();
  const ServedModel& model = call->model();
  const std::vector<Input> inputs = inputs_of(field_of(body, "input"), "input");
  const TextSettings settings = settings_of(body, model);
  const bool as_base64 = wants_base64(body);
  if (const auto chunking = chunking_of(body, inputs.size())) {
    for (const char* field : {"dimensions", "normalize"})
      if (body.contains(field)) throw ApiError(ErrorKind::invalid, std::string(field) + " does not go with chunking", field);
    call->service().embed_passages(call, model, inputs, settings, *chunking, [call, &model, settings, as_base64](Passages&& result) {
      call->tell(model, result, settings);
      std::string out = "{\"object\":\"list\",\"data\":[";
      for (size_t i = 0; i < result.inputs.size(); ++i) {
        const auto dim = static_cast<size_t>(result.dim);
        append_embedding(out, i, std::span(result.values).subspan(i * dim, dim), as_base64);
        out += ",\"input_index\":" + std::to_string(result.inputs[i]) + ",\"span\":[" + std::to_string(result.spans[i].begin) + "," +
               std::to_string(result.spans[i].end) + "]}";
      }
      append_end(out, model, result);
      call->reply(std::move(out));
    });
    return;
  }
  call->service().embed(call, model, inputs, settings, body.get_optional<bool>("normalize"), body.get_optional<int>("dimensions"),
                        [call, &model, settings, as_base64](Vectors&& result) {
                          call->tell(model, result, settings);
                          std::string out = "{\"object\":\"list\",\"data\":[";
                          for (size_t i = 0; i < result.texts.size(); ++i) {
                            append_embedding(out, i, result.vector(i), as_base64);
                            out += '}';
                          }
                          append_end(out, model, result);
                          call->reply(std::move(out));
                        });
}

// The fields behind max_model_len are our own.
io::Tree model_tree(const ServedModel& model) {
  static const int64_t created = std::time(nullptr);
  io::Tree tree{{"id", model.name()},
                {"object", "model"},
                {"created", created},
                {"owned_by", "m2bert"},
                {"max_model_len", model.max_length()},
                {"task", name(model.task())},
                {"task_reason", model.task_reason()},
                {"padding", model.padding_name()},
                {"pooling", model.pooling_name()},
                {"dtype", checkpoint::dtype_name(model.pretrained().dtype)}};
  io::Tree names = io::Tree::list();
  if (model.task() == ModelTask::classify) {
    for (const std::string& label : model.classifier().labels()) names.push_back(label);
    tree.set("labels", names);
    return tree;
  }
  for (const auto& [name, text] : model.pretrained().prompts) names.push_back(name);
  tree.set("embedding_size", model.embedder().dim());
  tree.set("prompts", names);
  return tree;
}

void list_models(const CallPtr& call) {
  io::Tree data = io::Tree::list();
  for (const auto& model : call->service().models()) data.push_back(model_tree(*model));
  call->reply(io::to_json(io::Tree{{"object", "list"}, {"data", data}}));
}

// The path ends with the model's name, which may have slashes.
void one_model(const CallPtr& call) {
  constexpr std::string_view prefix = "/v1/models/";
  call->reply(io::to_json(model_tree(call->service().model(call->request().path.substr(prefix.size())))));
}

constexpr Route routes[] = {
    {"POST", "/v1/embeddings", Family::openai, true, embeddings},     {"POST", "/embeddings", Family::openai, true, embeddings},
    {"POST", "/api/v1/embeddings", Family::openai, true, embeddings}, {"GET", "/v1/models", Family::openai, true, list_models},
    {"GET", "/v1/models/*", Family::openai, true, one_model},
};

}  // namespace

std::span<const Route> openai_routes() { return routes; }

}  // namespace m2bert::serve
