#pragma once
// The API over tiny models, asked without a connection.
#include "m2bert/io/json.h"
#include "m2bert/serve/api.h"
#include "tests/serve/a_service.h"
#include "tests/support/scratch.h"

namespace m2bert::serve {

using test::has;

inline ApiOptions without_log() {
  ApiOptions options;
  options.log_requests = false;
  return options;
}

struct AnApi : AService {
  explicit AnApi(const ApiOptions& options = without_log(), const ServiceOptions& of_service = {})
      : AService({}, of_service), api(options, service) {
    api.set_state(Api::State::ready);
  }

  http::Response ask(const std::string& method, const std::string& path, const std::string& body = "",
                     std::vector<http::Header> headers = {}) {
    auto request = std::make_shared<http::Request>();
    request->method = method;
    request->path = path;
    request->body = body;
    request->headers = std::move(headers);
    request->peer = "test";
    if (auto refused = api.refuse(*request)) return *refused;
    std::promise<http::Response> response;
    api.handle(request, [&](http::Response r) { response.set_value(std::move(r)); });
    return response.get_future().get();
  }
  io::Tree json(const std::string& path, const std::string& body, int status = 200) {
    const http::Response response = ask("POST", path, body);
    EXPECT_EQ(response.status, status) << path << " " << response.body;
    return io::parse_json(response.body, "response");
  }

  Api api;
};

inline std::string header(const http::Response& response, const std::string& name) {
  const std::string* value = http::find_header(response.headers, name);
  return value ? *value : "";
}

}  // namespace m2bert::serve
