#include "m2bert/serve/openapi.h"

#include "m2bert/io/json.h"
#include "m2bert/io/yaml.h"
#include "m2bert/version.h"

namespace m2bert::serve {

const std::string& openapi_json() {
  static const std::string json = [] {
    io::Tree document = io::parse_yaml(openapi_yaml(), "openapi.yaml");
    document.as_map().erase("x-shared");
    document.as_map().find("info")->set("version", M2BERT_VERSION);
    return io::to_json(document);
  }();
  return json;
}

}  // namespace m2bert::serve
