#pragma once
// Requests and responses of HTTP, without a library's types.
#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace m2bert::http {

struct Header {
  std::string name, value;
};

// The first header of this name, which is compared without case; nullptr if there is none.
const std::string* find_header(const std::vector<Header>& headers, std::string_view name);

struct Request {
  std::string method;  // "GET", "POST", ...
  std::string path;    // without the query, percent-decoded: "/v1/embeddings"
  std::string query;   // what follows the question mark, as it was sent
  std::vector<Header> headers;
  std::string body;
  std::string peer;               // address of the client; "unix" on a Unix socket
  std::atomic<bool> gone{false};  // the client has closed the connection, or its half of it: hardly anybody reads the response

  const std::string* header(std::string_view name) const { return find_header(headers, name); }
};

struct Response {
  int status = 200;
  std::string content_type = "application/json";
  std::string body;
  std::vector<Header> headers;
  bool close = false;  // closes the connection behind it
};

// "Not Found" for 404; "" for a status that is not known.
std::string_view reason(int status);

// "a b" for "a%20b"; nothing if a percent sign is not followed by two hexadecimal digits.
std::optional<std::string> percent_decode(std::string_view text);

}  // namespace m2bert::http
