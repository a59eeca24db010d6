#pragma once
#include <string>

namespace m2bert::serve {

// The OpenAPI 3.1 document of all routes, as JSON.
const std::string& openapi_json();

}  // namespace m2bert::serve
