#pragma once
#include <string>
#include <string_view>

namespace m2bert::serve {

// openapi.yaml of this folder.
std::string_view openapi_yaml();
// The OpenAPI 3.1 document of all routes, as JSON.
const std::string& openapi_json();

}  // namespace m2bert::serve
