#pragma once
// A request on its way through a route, and its response.
#include <memory>
#include <string>
#include <vector>

#include "m2bert/http/server.h"
#include "m2bert/io/tree.h"
#include "m2bert/serve/service.h"

namespace m2bert::serve {

// Whose clients a route serves: it decides the form of errors.
enum class Family {
  openai,  // {"error": {"message", "type", "param", "code"}}
  tei,     // {"error", "error_type"}
  cohere,  // {"message"}
  ollama,  // {"error": "text"}
};

// What the log and the metrics are told at the end.
struct CallFacts {
  std::string model;
  int64_t texts = 0, tokens = 0, truncated = 0, characters = 0;
  Timing timing;
  std::string error;
};

class Call : public Caller, public std::enable_shared_from_this<Call> {
 public:
  Call(std::shared_ptr<http::Request> request, Family family, std::string id, http::Respond respond, Service& service);

  const http::Request& request() const { return *request_; }
  Service& service() { return service_; }
  const std::string& id() const { return id_; }
  Family family() const { return family_; }
  // Routes whose shape depends on the body change it.
  void set_family(Family family) { family_ = family; }
  Clock::time_point start() const { return start_; }
  CallFacts& facts() { return facts_; }

  // The body as JSON. ApiError: it is not JSON, or not an object.
  const io::Tree& body();
  // Refuses fields of the body that are not named: a field that the route does not know would be ignored in silence.
  void require_known(const std::vector<std::string>& fields);
  // The model that the body's "model" names, or the default.
  const ServedModel& model();

  // Adds what became of the texts to the response's headers and the log.
  void tell(const ServedModel& model, const TextResults& results, const TextSettings& settings);
  void set_header(const std::string& name, const std::string& value) { headers_.push_back({name, value}); }
  void reply(std::string json, int status = 200) { reply_as("application/json", std::move(json), status); }
  void reply_as(const std::string& content_type, std::string body, int status = 200);

  // Responds with an error in the family's form. Anything but an ApiError or Error is reported as internal, without its text.
  void fail(std::exception_ptr error) override;
  bool gone() const override { return request_->gone; }

 private:
  std::shared_ptr<http::Request> request_;
  Family family_;
  std::string id_;
  http::Respond respond_;
  Service& service_;
  Clock::time_point start_ = Clock::now();
  std::optional<io::Tree> body_;
  std::vector<http::Header> headers_;
  CallFacts facts_;
};
using CallPtr = std::shared_ptr<Call>;

// The response to an error in a family's form.
http::Response error_response(Family family, const ApiError& error);

// Appends "[0.25,-1]".
void append_json_vector(std::string& out, std::span<const float> values);

// Appends `"usage":{"prompt_tokens":3,"total_tokens":3}`.
void append_usage(std::string& out, int64_t tokens);

// A route: method, path, family, and what it does. The function runs on a worker thread; what it throws becomes the response.
struct Route {
  const char* method;
  const char* path;
  Family family;
  bool needs_key;
  void (*run)(const CallPtr& call);
};

std::span<const Route> openai_routes();
std::span<const Route> tei_routes();
std::span<const Route> cohere_routes();
std::span<const Route> ollama_routes();
std::span<const Route> vllm_routes();

}  // namespace m2bert::serve
