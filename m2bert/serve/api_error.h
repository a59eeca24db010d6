#pragma once
// Errors that a client is told about, in terms of no particular API.
#include <optional>
#include <stdexcept>
#include <string>

namespace m2bert::serve {

enum class ErrorKind {
  invalid,           // 400: the request cannot be read, or a field has a wrong value
  empty,             // 400: no input
  unauthorized,      // 401: no API key, or a wrong one
  not_found,         // 404: no such route
  no_model,          // 404: no such model
  method,            // 405: the route wants another method
  timeout,           // 408: the request came too slowly
  too_large,         // 413: the body, or the number of inputs
  encoding,          // 415: a Content-Encoding
  unprocessable,     // 422: a text is longer than the model takes, and truncation was not asked for
  backend,           // 424: the model gave values that are not finite
  overloaded,        // 429: the queue is full
  header_too_large,  // 431
  internal,          // 500
  unavailable,       // 503: starting or draining
  deadline,          // 504: waited too long in the queue
};

int status_of(ErrorKind kind);
// For logs: "too_long".
const char* name_of(ErrorKind kind);

class ApiError : public std::runtime_error {
 public:
  ApiError(ErrorKind kind, const std::string& message, std::string param = {})
      : std::runtime_error(message), kind(kind), param(std::move(param)) {}

  ErrorKind kind;
  std::string param;               // the field at fault; empty: none
  std::optional<int> retry_after;  // seconds
};

}  // namespace m2bert::serve
