#pragma once
// Requests from bytes that arrive in pieces (RFC 9112).
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "m2bert/http/message.h"

namespace m2bert::http {

// Reads one request. What could be understood in two ways is refused, such as two different lengths of the body.
class RequestParser {
 public:
  enum class State { header, body, done, failed };

  // header_bytes also limits the header of a chunk, and what follows the last one; body_bytes is the limit of the body.
  RequestParser(size_t header_bytes, size_t body_bytes);
  ~RequestParser();
  RequestParser(const RequestParser&) = delete;
  RequestParser& operator=(const RequestParser&) = delete;

  // Takes bytes from the front and says how many. Those that are left must come again, with more behind them. It stops behind the header
  // and behind the request; a body that is known to be too large fails in the call after the header's, which may have no bytes.
  size_t put(std::string_view bytes);
  State state() const;

  // As far as it is read.
  const std::shared_ptr<Request>& request() const;
  // Once the header is read: whether the client allows another request on the connection, speaks HTTP/1.0, waits for 100 Continue.
  bool keep_alive() const;
  bool is_http10() const;
  bool expects_continue() const;

  // In the state `failed`: the status to answer, and why.
  int status() const;
  const std::string& message() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace m2bert::http
