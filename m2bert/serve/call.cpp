#include "m2bert/serve/call.h"

#include <algorithm>

#include "m2bert/error.h"
#include "m2bert/io/json.h"

namespace m2bert::serve {
namespace {

constexpr io::JsonLimits json_limits{32, size_t{1} << 22};

std::string milliseconds(double seconds) { return std::to_string(static_cast<int64_t>(seconds * 1000 + 0.5)); }

const char* openai_type(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::unauthorized: return "authentication_error";
    case ErrorKind::overloaded: return "rate_limit_error";
    case ErrorKind::backend:
    case ErrorKind::internal:
    case ErrorKind::unavailable:
    case ErrorKind::deadline: return "server_error";
    default: return "invalid_request_error";
  }
}

io::Tree openai_code(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::unauthorized: return "invalid_api_key";
    case ErrorKind::no_model: return "model_not_found";
    case ErrorKind::unprocessable: return "context_length_exceeded";
    case ErrorKind::overloaded: return "rate_limit_exceeded";
    case ErrorKind::deadline: return "queue_timeout";
    case ErrorKind::unavailable: return "unavailable";
    default: return nullptr;
  }
}

const char* tei_type(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::empty: return "Empty";
    case ErrorKind::backend:
    case ErrorKind::internal: return "Backend";
    case ErrorKind::overloaded:
    case ErrorKind::deadline: return "Overloaded";
    case ErrorKind::unavailable: return "Unhealthy";
    case ErrorKind::unauthorized: return "Unauthorized";
    default: return "Validation";
  }
}

int status_for(Family family, ErrorKind kind) {
  if (kind == ErrorKind::unprocessable && family != Family::tei) return 400;
  if (kind == ErrorKind::invalid && family == Family::tei) return 422;
  return status_of(kind);
}

io::Tree error_tree(Family family, const ApiError& error) {
  switch (family) {
    case Family::openai: {
      const io::Tree param = error.param.empty() ? io::Tree(nullptr) : io::Tree(error.param);
      return {
          {"error",
           io::Tree{{"message", error.what()}, {"type", openai_type(error.kind)}, {"param", param}, {"code", openai_code(error.kind)}}}};
    }
    case Family::tei: return {{"error", error.what()}, {"error_type", tei_type(error.kind)}};
    case Family::cohere: return {{"message", error.what()}};
    case Family::ollama: return {{"error", error.what()}};
  }
  return nullptr;
}

}  // namespace

http::Response error_response(Family family, const ApiError& error) {
  http::Response response;
  response.status = status_for(family, error.kind);
  response.body = io::to_json(error_tree(family, error));
  if (error.retry_after) response.headers.push_back({"Retry-After", std::to_string(*error.retry_after)});
  if (error.kind == ErrorKind::unauthorized) response.headers.push_back({"WWW-Authenticate", "Bearer"});
  return response;
}

void append_json_vector(std::string& out, std::span<const float> values) {
  out += '[';
  for (size_t i = 0; i < values.size(); ++i) {
    if (i > 0) out += ',';
    io::append_json_number(out, values[i]);
  }
  out += ']';
}

void append_usage(std::string& out, int64_t tokens) {
  const std::string count = std::to_string(tokens);
  out += "\"usage\":{\"prompt_tokens\":" + count + ",\"total_tokens\":" + count + "}";
}

Call::Call(std::shared_ptr<http::Request> request, Family family, std::string id, http::Respond respond, Service& service)
    : request_(std::move(request)), family_(family), id_(std::move(id)), respond_(std::move(respond)), service_(service) {}

const io::Tree& Call::body() {
  if (body_) return *body_;
  if (request_->body.empty()) throw ApiError(ErrorKind::invalid, "the request has no body, and this route wants a JSON object");
  try {
    body_ = io::parse_json(request_->body, "body", json_limits);
  } catch (const Error& error) {
    throw ApiError(ErrorKind::invalid, error.what());
  }
  std::string().swap(request_->body);
  if (!body_->is_map()) throw ApiError(ErrorKind::invalid, "the body wants to be a JSON object");
  return *body_;
}

void Call::require_known(const std::vector<std::string>& fields) {
  const auto unknown = body().unknown(fields);
  if (unknown.empty()) return;
  std::string known;
  for (const std::string& field : fields) known += (known.empty() ? "" : ", ") + field;
  throw ApiError(ErrorKind::invalid, "unknown field \"" + unknown.front()->key + "\"; this route knows " + known, unknown.front()->key);
}

const ServedModel& Call::model() {
  const ServedModel& model = service_.model(body().get<std::string>("model", ""));
  facts_.model = model.name();
  return model;
}

void Call::tell(const ServedModel& model, const TextResults& results, const TextSettings& settings) {
  facts_.model = model.name();
  facts_.texts = static_cast<int64_t>(results.texts.size());
  facts_.tokens = results.tokens();
  facts_.truncated = results.truncated();
  facts_.timing = results.timing;
  set_header("X-M2bert-Padding", model.padding_name(settings.pad));
  set_header("X-M2bert-Truncated", std::to_string(facts_.truncated));
  set_header("X-Compute-Tokens", std::to_string(facts_.tokens));
  const auto part = [](const char* name, double seconds) { return std::string(name) + ";dur=" + std::to_string(seconds * 1000); };
  set_header("Server-Timing", part("tokenization", results.timing.tokenization) + ", " + part("queue", results.timing.queue) + ", " +
                                  part("inference", results.timing.inference));
  set_header("X-Tokenization-Time", milliseconds(results.timing.tokenization));
  set_header("X-Queue-Time", milliseconds(results.timing.queue));
  set_header("X-Inference-Time", milliseconds(results.timing.inference));
  set_header("X-Total-Time", milliseconds(seconds(Clock::now() - start_)));
}

void Call::reply_as(const std::string& content_type, std::string body, int status) {
  http::Response response;
  response.status = status;
  response.content_type = content_type;
  response.body = std::move(body);
  response.headers = headers_;
  respond_(std::move(response));
}

void Call::fail(std::exception_ptr error) {
  const auto respond = [&](const ApiError& known) {
    if (facts_.error.empty()) facts_.error = name_of(known.kind);  // a message may quote a text, and texts are not logged
    respond_(error_response(family_, known));
  };
  try {
    std::rethrow_exception(error);
  } catch (const ApiError& known) {
    respond(known);
  } catch (const Error& known) {
    respond(ApiError(ErrorKind::invalid, known.what()));
  } catch (const std::bad_alloc&) {
    respond(ApiError(ErrorKind::internal, "out of memory"));
  } catch (const std::exception& unknown) {
    facts_.error = std::string("internal: ") + unknown.what();
    respond(ApiError(ErrorKind::internal, "internal error"));
  }
}

}  // namespace m2bert::serve
