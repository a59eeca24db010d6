#include "m2bert/serve/api_error.h"

namespace m2bert::serve {

int status_of(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::invalid:
    case ErrorKind::empty: return 400;
    case ErrorKind::unauthorized: return 401;
    case ErrorKind::not_found:
    case ErrorKind::no_model: return 404;
    case ErrorKind::method: return 405;
    case ErrorKind::timeout: return 408;
    case ErrorKind::too_large: return 413;
    case ErrorKind::encoding: return 415;
    case ErrorKind::unprocessable: return 422;
    case ErrorKind::backend: return 424;
    case ErrorKind::overloaded: return 429;
    case ErrorKind::header_too_large: return 431;
    case ErrorKind::internal: return 500;
    case ErrorKind::unavailable: return 503;
    case ErrorKind::deadline: return 504;
  }
  return 500;
}

const char* name_of(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::invalid: return "invalid";
    case ErrorKind::empty: return "empty";
    case ErrorKind::unauthorized: return "unauthorized";
    case ErrorKind::not_found: return "not_found";
    case ErrorKind::no_model: return "no_model";
    case ErrorKind::method: return "method";
    case ErrorKind::timeout: return "timeout";
    case ErrorKind::too_large: return "too_large";
    case ErrorKind::encoding: return "encoding";
    case ErrorKind::unprocessable: return "too_long";
    case ErrorKind::backend: return "not_finite";
    case ErrorKind::overloaded: return "overloaded";
    case ErrorKind::header_too_large: return "header_too_large";
    case ErrorKind::internal: return "internal";
    case ErrorKind::unavailable: return "unavailable";
    case ErrorKind::deadline: return "deadline";
  }
  return "";
}

}  // namespace m2bert::serve
