#include "m2bert/serve/openapi.h"

namespace m2bert::serve {

const std::string& openapi_json() {
  static const std::string json = "{}";
  return json;
}

}  // namespace m2bert::serve
