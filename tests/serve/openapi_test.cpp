#include "m2bert/serve/openapi.h"

#include <set>

#include "tests/serve/an_api.h"

namespace m2bert::serve {
namespace {

// "POST /embed" for each method of each path.
std::set<std::string> documented(const io::Tree& document) {
  std::set<std::string> all;
  for (const auto& [path, methods] : document.at("paths").members())
    for (const auto& [method, operation] : methods.members()) all.insert((method == "get" ? "GET " : "POST ") + path);
  return all;
}

TEST(OpenApi, HasEveryRouteAndNoOther) {
  AnApi a;
  a.add(tiny_models().m2);
  std::set<std::string> served;
  for (const Route& route : a.api.routes()) {
    const std::string path = route.path;
    served.insert(route.method + std::string(" ") + (path.ends_with("/*") ? path.substr(0, path.size() - 1) + "{model}" : path));
  }
  for (const char* path : {"/", "/livez", "/ping", "/readyz", "/health", "/metrics", "/openapi.json", "/api-doc/openapi.json"}) {
    EXPECT_EQ(a.ask("GET", path).status, 200) << path;
    served.insert(std::string("GET ") + path);
  }
  EXPECT_EQ(documented(io::parse_json(openapi_json(), "openapi.json")), served);
}

// The fields of a request's schema are those that the route knows: it names them when it meets an unknown one.
TEST(OpenApi, NamesTheFieldsOfEveryRequest) {
  AnApi a;
  a.add(tiny_models().m2);
  const io::Tree document = io::parse_json(openapi_json(), "openapi.json");
  for (const auto& [path, methods] : document.at("paths").members()) {
    const io::Tree* operation = methods.find("post");
    if (!operation) continue;
    const io::Tree* schema = operation->find_path("requestBody.content.application/json.schema");
    ASSERT_NE(schema, nullptr) << path;
    if (const io::Tree* any = schema->find("anyOf")) schema = &any->items().front();
    if (const io::Tree* name = schema->find("$ref"))
      schema = &document.at("components").at("schemas").at(name->string().substr(std::string("#/components/schemas/").size()));
    std::set<std::string> fields;
    for (const auto& [name, value] : schema->at("properties").members()) fields.insert(name);
    const std::string answer = a.ask("POST", path, R"({"no such field": 1})").body;
    const std::string start = "this route knows ";
    const size_t at = answer.find(start);
    ASSERT_NE(at, std::string::npos) << path << " " << answer;
    std::set<std::string> known;
    std::istringstream names(answer.substr(at + start.size(), answer.find('"', at) - at - start.size()));
    for (std::string name; names >> name;) known.insert(name.substr(0, name.find(',')));
    EXPECT_EQ(fields, known) << path;
  }
}

}  // namespace
}  // namespace m2bert::serve
