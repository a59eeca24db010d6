#pragma once
#include <string>

#include "m2bert/http/message.h"

namespace m2bert::http {

// What depends on the request.
struct ResponseContext {
  bool keep_alive = false;  // the connection stays open
  bool http10 = false;
};

// Whether a response of this status has a body (RFC 9110 section 6.4.1).
bool has_body(int status);
// Status line and headers with the empty line behind them. A header whose name or value would break the line is left out.
std::string response_head(const Response& response, ResponseContext context);

}  // namespace m2bert::http
