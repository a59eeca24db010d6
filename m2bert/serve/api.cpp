#include "m2bert/serve/api.h"

#include <algorithm>
#include <fstream>
#include <random>

#include "m2bert/io/json.h"
#include "m2bert/io/log.h"
#include "m2bert/serve/openapi.h"
#include "m2bert/serve/page.h"
#include "m2bert/version.h"

namespace m2bert::serve {
namespace {

// Compares without a hint, in the time it takes, at how much of the key was right.
bool equal_in_constant_time(std::string_view key, std::string_view given) {
  unsigned difference = key.size() == given.size() ? 0 : 1;
  for (size_t i = 0; i < given.size(); ++i)
    difference |=
        static_cast<unsigned>(static_cast<unsigned char>(given[i]) ^ static_cast<unsigned char>(key.empty() ? 0 : key[i % key.size()]));
  return difference == 0;
}

std::string new_id() {
  thread_local std::mt19937_64 random{std::random_device{}()};
  constexpr char digits[] = "0123456789abcdef";
  std::string id = "req-";
  for (uint64_t bits = random(), i = 0; i < 16; ++i, bits >>= 4) id += digits[bits & 15];
  return id;
}

// The client's own id, if it is one that can stand in a log.
std::string id_of(const http::Request& request) {
  const std::string* given = request.header("X-Request-Id");
  const auto plain = [](unsigned char c) { return c > ' ' && c < 127; };
  if (given && !given->empty() && given->size() <= 128 && std::ranges::all_of(*given, plain)) return *given;
  return new_id();
}

// W3C trace context: version-trace-parent-flags in hexadecimal digits.
std::string trace_of(const http::Request& request) {
  const std::string* given = request.header("traceparent");
  if (!given || given->size() != 55) return {};
  for (size_t i = 0; i < given->size(); ++i) {
    const bool dash = i == 2 || i == 35 || i == 52;
    if (dash != ((*given)[i] == '-') || (!dash && !std::isxdigit(static_cast<unsigned char>((*given)[i])))) return {};
  }
  return *given;
}

// The paths that probe() answers, to GET and without a key.
bool is_probe(const std::string& path) {
  constexpr std::string_view paths[] = {"/", "/livez", "/readyz", "/health", "/ping", "/metrics", "/openapi.json", "/api-doc/openapi.json"};
  return std::ranges::find(paths, path) != std::end(paths);
}

// Whose clients ask for a path that is no route.
Family family_of(const std::string& path) {
  if (path.starts_with("/v1/")) return Family::openai;
  if (path.starts_with("/v2/")) return Family::cohere;
  return path.starts_with("/api/") ? Family::ollama : Family::tei;
}

int64_t resident_bytes() {
  std::ifstream statm("/proc/self/statm");
  int64_t all = 0, resident = 0;
  statm >> all >> resident;
  return resident * 4096;
}

http::Response text_response(int status, std::string body, std::string type = "text/plain; charset=utf-8") {
  http::Response response;
  response.status = status;
  response.content_type = std::move(type);
  response.body = std::move(body);
  return response;
}

bool accepts(const http::Request& request, const char* type) {
  const std::string* accept = request.header("Accept");
  return accept && accept->find(type) != std::string::npos;
}

}  // namespace

Api::Api(const ApiOptions& options, Service& service) : options_(options), service_(service) {
  for (const auto& routes : {openai_routes(), tei_routes(), vllm_routes(), cohere_routes(), ollama_routes()})
    routes_.insert(routes_.end(), routes.begin(), routes.end());
}

void Api::set_keys(std::vector<std::string> keys) {
  const std::lock_guard lock(keys_mutex_);
  keys_ = std::move(keys);
}

const Route* Api::find(const std::string& method, const std::string& path, std::string* other_methods) const {
  for (const Route& route : routes_) {
    const std::string_view pattern = route.path;
    const bool prefix = pattern.ends_with('*');
    const bool matches =
        prefix ? path.starts_with(pattern.substr(0, pattern.size() - 1)) && path.size() >= pattern.size() : path == pattern;
    if (!matches) continue;
    if (method == route.method || (method == "HEAD" && std::string_view(route.method) == "GET")) return &route;
    if (other_methods) *other_methods += (other_methods->empty() ? "" : ", ") + std::string(route.method);
  }
  return nullptr;
}

bool Api::has_key(const http::Request& request) const {
  const std::lock_guard lock(keys_mutex_);
  if (keys_.empty()) return true;
  std::string given;
  if (const std::string* header = request.header("Authorization"); header && header->size() > 7) {
    std::string scheme = header->substr(0, 7);
    std::ranges::transform(scheme, scheme.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    if (scheme == "bearer ") given = header->substr(7);
  } else if (const std::string* key = request.header("X-API-Key")) {
    given = *key;
  }
  bool right = false;
  for (const std::string& key : keys_) right = equal_in_constant_time(key, given) || right;
  return right;
}

void Api::add_common_headers(const http::Request& request, http::Response& response, const std::string& id) const {
  if (!id.empty()) response.headers.push_back({"X-Request-Id", id});
  const std::string* origin = request.header("Origin");
  if (!origin || options_.cors_origins.empty()) return;
  const bool any = std::ranges::find(options_.cors_origins, "*") != options_.cors_origins.end();
  if (!any && std::ranges::find(options_.cors_origins, *origin) == options_.cors_origins.end()) return;
  response.headers.push_back({"Access-Control-Allow-Origin", any ? "*" : *origin});
  response.headers.push_back({"Access-Control-Expose-Headers", "X-Request-Id, X-M2bert-Padding, X-M2bert-Truncated, Retry-After"});
  response.headers.push_back({"Vary", "Origin"});
}

http::Response Api::preflight(const http::Request& request) const {
  http::Response response;
  response.status = 204;
  response.content_type.clear();
  add_common_headers(request, response, {});
  response.headers.push_back({"Access-Control-Allow-Methods", "GET, POST, OPTIONS"});
  response.headers.push_back({"Access-Control-Allow-Headers", "Authorization, Content-Type, X-API-Key, X-Request-Id, traceparent"});
  response.headers.push_back({"Access-Control-Max-Age", "600"});
  return response;
}

// Health, metrics and what needs no key, answered at once.
std::optional<http::Response> Api::probe(const http::Request& request) {
  if (request.method != "GET" && request.method != "HEAD") return std::nullopt;
  const std::string& path = request.path;
  if (path == "/livez" || path == "/ping") return text_response(200, "ok\n");
  if (path == "/health" || path == "/readyz") {
    if (state_ == State::ready) return text_response(200, "ok\n");
    http::Response response = error_response(Family::tei, ApiError(ErrorKind::unavailable, "the server is starting or shutting down"));
    return response;
  }
  if (path == "/metrics") return text_response(200, metrics_text(), "text/plain; version=0.0.4; charset=utf-8");
  if (path == "/openapi.json" || path == "/api-doc/openapi.json") return text_response(200, openapi_json(), "application/json");
  if (path == "/") return root(request);
  return std::nullopt;
}

// The page for browsers, JSON for clients that ask for it, and text for all others.
http::Response Api::root(const http::Request& request) const {
  if (accepts(request, "text/html")) {
    http::Response response = text_response(200, std::string(page_html()), "text/html; charset=utf-8");
    response.headers.insert(response.headers.end(), {{"Content-Security-Policy", page_policy()},
                                                     {"X-Content-Type-Options", "nosniff"},
                                                     {"Cache-Control", "no-cache"},
                                                     {"Vary", "Accept"}});
    return response;
  }
  if (!accepts(request, "application/json")) return text_response(200, "m2bert is running\n");
  io::Tree models = io::Tree::list();
  for (const auto& model : service_.models()) models.push_back(model->name());
  const io::Tree tree{{"name", "m2bert"}, {"version", M2BERT_VERSION}, {"models", models}, {"openapi", "/openapi.json"}};
  return text_response(200, io::to_json(tree), "application/json");
}

std::optional<http::Response> Api::refuse(const http::Request& head) {
  const auto refused = [&](Family family, ApiError error) {
    http::Response response = error_response(family, error);
    add_common_headers(head, response, {});
    return response;
  };
  if (is_probe(head.path) && (head.method == "GET" || head.method == "HEAD")) return std::nullopt;
  std::string methods = is_probe(head.path) ? "GET" : "";
  const Route* route = find(head.method, head.path, &methods);
  if (!route && head.method == "OPTIONS" && !options_.cors_origins.empty()) return std::nullopt;
  const Family family = route ? route->family : family_of(head.path);
  if (!route && !methods.empty()) {
    http::Response response = refused(family, ApiError(ErrorKind::method, head.path + " wants " + methods + ", not " + head.method));
    response.headers.push_back({"Allow", methods});
    return response;
  }
  if (!route) return refused(family, ApiError(ErrorKind::not_found, "there is no route " + head.path + "; /openapi.json lists them"));
  if (state_ == State::starting) {
    ApiError error(ErrorKind::unavailable, "the server is loading its models");
    error.retry_after = 1;
    return refused(family, error);
  }
  if (route->needs_key && !has_key(head))
    return refused(family, ApiError(ErrorKind::unauthorized, "this server wants an API key: Authorization: Bearer KEY"));
  if (const std::string* encoding = head.header("Content-Encoding"); encoding && *encoding != "identity")
    return refused(family, ApiError(ErrorKind::encoding, "Content-Encoding: the body is read as it is, and not " + *encoding));
  if (requests_ >= service_.options().max_requests || request_bytes_ >= options_.max_request_bytes) {
    ApiError error(ErrorKind::overloaded, "too many requests are in progress; try again");
    error.retry_after = 1;
    return refused(family, error);
  }
  return std::nullopt;
}

void Api::handle(std::shared_ptr<http::Request> request, http::Respond respond) {
  if (auto response = probe(*request)) return respond(std::move(*response));
  const Route* route = find(request->method, request->path);
  if (!route) return respond(preflight(*request));  // the rest is refused
  const size_t bytes = request->body.size();
  ++requests_;
  request_bytes_ += bytes;
  const std::string id = id_of(*request);
  // The call is needed for the log when the response is known, and holds the function that needs it.
  auto holder = std::make_shared<std::weak_ptr<Call>>();
  auto call = std::make_shared<Call>(
      request, route->family, id,
      [this, request, route, bytes, id, holder, respond = std::move(respond)](http::Response response) {
        add_common_headers(*request, response, id);
        if (const CallPtr self = holder->lock()) log(*self, *route, response.status);
        --requests_;
        request_bytes_ -= bytes;
        respond(std::move(response));
      },
      service_);
  *holder = call;
  service_.metrics().count("te_request_count", Metrics::label("route", route->path));
  service_.workers().post([route, call] {
    try {
      route->run(call);
    } catch (...) {
      call->fail(std::current_exception());
    }
  });
}

http::Response Api::failed(int status, const std::string& message, const http::Request& head) {
  const ErrorKind kind = status == 408   ? ErrorKind::timeout
                         : status == 413 ? ErrorKind::too_large
                         : status == 431 ? ErrorKind::header_too_large
                         : status == 500 ? ErrorKind::internal
                         : status == 503 ? ErrorKind::unavailable
                                         : ErrorKind::invalid;
  const Route* route = find(head.method, head.path);
  http::Response response = error_response(route ? route->family : Family::openai, ApiError(kind, message));
  response.status = status;
  service_.metrics().count("m2bert_requests_total",
                           Metrics::label("route", route ? route->path : "") + ",status=\"" + std::to_string(status) + "\"");
  return response;
}

void Api::log(Call& call, const Route& route, int status) const {
  const double took = seconds(Clock::now() - call.start());
  Metrics& metrics = service_.metrics();
  const std::string of_route = Metrics::label("route", route.path);
  metrics.count("m2bert_requests_total", of_route + ",status=\"" + std::to_string(status) + "\"");
  metrics.observe("te_request_duration", of_route, took);
  if (status < 400) metrics.count("te_request_success", of_route);
  else
    metrics.count("te_request_failure", Metrics::label("err", status == 429                    ? "overloaded"
                                                              : status >= 500 || status == 424 ? "inference"
                                                                                               : "validation"));
  if (!options_.log_requests) return;
  const CallFacts& facts = call.facts();
  const auto ms = [](double seconds) { return std::round(seconds * 1e5) / 100; };
  io::Tree line{{"request", call.id()}, {"method", call.request().method}, {"path", call.request().path},
                {"status", status},     {"peer", call.request().peer},     {"milliseconds", ms(took)}};
  if (!facts.model.empty()) line.set("model", facts.model);
  if (facts.texts > 0) {
    line.set("texts", facts.texts);
    line.set("tokens", facts.tokens);
    line.set("queue_milliseconds", ms(facts.timing.queue));
    line.set("inference_milliseconds", ms(facts.timing.inference));
  }
  if (facts.truncated > 0) line.set("truncated", facts.truncated);
  if (const std::string trace = trace_of(call.request()); !trace.empty()) line.set("traceparent", trace);
  if (!facts.error.empty() && status != 401) line.set("error", facts.error);
  if (options_.json_log) {
    io::info(io::to_json(line));
    return;
  }
  std::string text;
  for (const auto& [key, value] : line.members()) text += (text.empty() ? "" : " ") + key + "=" + io::to_json(value);
  io::info(text);
}

std::string Api::metrics_text() const {
  const EngineStats stats = service_.engine().stats();
  Metrics& metrics = service_.metrics();
  const auto set = [&](const char* name, auto value) { metrics.set(name, static_cast<double>(value)); };
  set("te_queue_size", stats.waiting_rows);
  set("te_batch_next_size", stats.last_batch_rows);
  set("te_batch_next_tokens", stats.last_batch_tokens);
  set("m2bert_queue_tokens", stats.waiting_tokens);
  set("m2bert_batches_total", stats.batches);
  set("m2bert_texts_total", stats.rows);
  set("m2bert_tokens_total", stats.tokens);
  set("m2bert_padded_tokens_total", stats.padded_tokens);
  set("m2bert_not_finite_total", stats.not_finite);
  set("m2bert_deadline_exceeded_total", stats.expired);
  set("m2bert_abandoned_total", stats.abandoned);
  set("m2bert_yields_total", stats.yields);
  set("m2bert_busy_seconds_total", stats.busy_seconds);
  set("m2bert_tokens_per_second", stats.tokens_per_second);
  set("m2bert_request_bytes", request_bytes_.load());
  set("m2bert_ready", state_ == State::ready);
  set("m2bert_resident_bytes", resident_bytes());
  if (connections_) set("m2bert_connections", connections_());
  return metrics.text();
}

}  // namespace m2bert::serve
