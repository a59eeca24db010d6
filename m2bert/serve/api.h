#pragma once
// The HTTP side of the server: routes, API keys, CORS, request ids, the log of requests, and the state that probes ask for.
#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "m2bert/http/server.h"
#include "m2bert/serve/call.h"

namespace m2bert::serve {

struct ApiOptions {
  std::vector<std::string> cors_origins;         // allowed origins; "*": any; empty: no CORS
  size_t max_request_bytes = size_t{256} << 20;  // bodies in progress
  bool json_log = false;
  bool log_requests = true;
};

class Api : public http::Handler {
 public:
  Api(const ApiOptions& options, Service& service);

  std::optional<http::Response> refuse(const http::Request& head) override;
  void handle(std::shared_ptr<http::Request> request, http::Respond respond) override;
  http::Response failed(int status, const std::string& message, const http::Request& head) override;

  // The keys of which a request must bring one (Authorization: Bearer, or X-API-Key); none: everybody may ask. Thread-safe.
  void set_keys(std::vector<std::string> keys);
  // Before the models are loaded, requests are refused (503). Once the server drains, /readyz says that it takes no more, and what still
  // arrives on open connections is answered. /livez does not care.
  enum class State { starting, ready, draining };
  void set_state(State state) { state_ = state; }
  State state() const { return state_; }
  // For /metrics.
  void set_connections(std::function<size_t()> connections) { connections_ = std::move(connections); }
  const std::vector<Route>& routes() const { return routes_; }

 private:
  // The route of a path and a method; nullptr: none. other_methods: those that the path has.
  const Route* find(const std::string& method, const std::string& path, std::string* other_methods = nullptr) const;
  bool has_key(const http::Request& request) const;
  void add_common_headers(const http::Request& request, http::Response& response, const std::string& id) const;
  std::optional<http::Response> probe(const http::Request& request);
  http::Response root(const http::Request& request) const;
  http::Response preflight(const http::Request& request) const;
  std::string metrics_text() const;
  void log(Call& call, const Route& route, int status) const;

  ApiOptions options_;
  Service& service_;
  std::vector<Route> routes_;
  std::function<size_t()> connections_;
  std::atomic<State> state_{State::starting};
  std::atomic<size_t> requests_{0}, request_bytes_{0};
  mutable std::mutex keys_mutex_;
  std::vector<std::string> keys_;
};

}  // namespace m2bert::serve
