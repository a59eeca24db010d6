// Ollama's routes for vectors, and what its clients ask about the server.
#include "m2bert/checkpoint/tensor_file.h"
#include "m2bert/io/json.h"
#include "m2bert/serve/call.h"
#include "m2bert/serve/text_fields.h"
#include "m2bert/version.h"

namespace m2bert::serve {
namespace {

int64_t nanoseconds_since(Clock::time_point start) {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - start).count();
}

// A text or a list of texts; none for an absent or empty text.
std::vector<Input> texts_of(const io::Tree& body, const char* name) {
  const io::Tree* field = given(body, name);
  if (!field || (field->is_string() && field->string().empty())) return {};
  const std::vector<Input> inputs = inputs_of(*field, name);
  for (const Input& input : inputs)
    if (input.is_ids) throw ApiError(ErrorKind::invalid, std::string(name) + " wants a text or a list of texts", name);
  return inputs;
}

// Of Ollama's options only num_ctx, the most tokens of a text, changes vectors. More than the model takes has no effect, as there.
TextSettings ollama_settings(const io::Tree& body, const ServedModel& model) {
  TextSettings settings;
  settings.truncate = body.get<bool>("truncate", true);
  if (const auto padding = body.get_optional<std::string>("padding")) settings.pad = padding_named(*padding);
  const io::Tree* options = given(body, "options");
  if (!options) return settings;
  if (!options->is_map()) options->wants("an object");
  const auto context = options->get_optional<int64_t>("num_ctx");
  if (context && *context < model.max_length()) settings.max_tokens = static_cast<int>(std::max<int64_t>(*context, 0));
  return settings;
}

void embed(const CallPtr& call) {
  call->require_known({"model", "input", "truncate", "dimensions", "options", "keep_alive", "padding"});
  const io::Tree& body = call->body();
  const ServedModel& model = call->model();
  const TextSettings settings = ollama_settings(body, model);
  const auto dimensions = body.get_optional<int>("dimensions");
  model.embedder().form(true, dimensions);  // wrong ones are an error without a text too
  const std::vector<Input> inputs = texts_of(body, "input");
  if (inputs.empty()) return call->reply(io::to_json(io::Tree{{"model", model.name()}, {"embeddings", io::Tree::list()}}));
  call->service().embed(call, model, inputs, settings, true, dimensions, [call, &model, settings](Vectors&& vectors) {
    call->tell(model, vectors, settings);
    std::string out = "{\"model\":";
    io::append_json_string(out, model.name());
    out += ",\"embeddings\":[";
    for (size_t i = 0; i < vectors.texts.size(); ++i) {
      if (i > 0) out += ',';
      append_json_vector(out, vectors.vector(i));
    }
    out += "],\"total_duration\":" + std::to_string(nanoseconds_since(call->start())) +
           ",\"load_duration\":0,\"prompt_eval_count\":" + std::to_string(vectors.tokens()) +
           ",\"truncated\":" + std::to_string(vectors.truncated()) + "}";
    call->reply(std::move(out));
  });
}

void embeddings(const CallPtr& call) {
  call->require_known({"model", "prompt", "options", "keep_alive", "padding"});
  const io::Tree& body = call->body();
  const ServedModel& model = call->model();
  const TextSettings settings = ollama_settings(body, model);
  if (const io::Tree* prompt = given(body, "prompt"); prompt && !prompt->is_string())
    throw ApiError(ErrorKind::invalid, "prompt wants one text; /api/embed takes several", "prompt");
  const std::vector<Input> inputs = texts_of(body, "prompt");
  if (inputs.empty()) return call->reply("{\"embedding\":[]}");
  call->service().embed(call, model, inputs, settings, std::nullopt, std::nullopt, [call, &model, settings](Vectors&& vectors) {
    call->tell(model, vectors, settings);
    std::string out = "{\"embedding\":";
    append_json_vector(out, vectors.vector(0));
    call->reply(out + "}");
  });
}

void tags(const CallPtr& call) {
  io::Tree models = io::Tree::list();
  for (const auto& model : call->service().models()) {
    const io::Tree details{
        {"format", "safetensors"}, {"family", "bert"}, {"quantization_level", checkpoint::dtype_name(model->pretrained().dtype)}};
    models.push_back(io::Tree{{"name", model->name()}, {"model", model->name()}, {"details", details}});
  }
  call->reply(io::to_json(io::Tree{{"models", models}}));
}

void version(const CallPtr& call) { call->reply(io::to_json(io::Tree{{"version", M2BERT_VERSION}})); }

constexpr Route routes[] = {
    {"POST", "/api/embed", Family::ollama, true, embed},
    {"POST", "/api/embeddings", Family::ollama, true, embeddings},
    {"GET", "/api/tags", Family::ollama, true, tags},
    {"GET", "/api/version", Family::ollama, true, version},
};

}  // namespace

std::span<const Route> ollama_routes() { return routes; }

}  // namespace m2bert::serve
