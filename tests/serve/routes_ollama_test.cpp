#include "tests/serve/an_api.h"

namespace m2bert::serve {
namespace {

TEST(Ollama, Embeds) {
  AnApi a;
  const ServedModel& model = a.add(tiny_models().m2);
  const io::Tree several =
      a.json("/api/embed", R"({"model": "tiny:latest", "input": ["a b", "c"], "keep_alive": "5m", "options": {"seed": 1}})");
  EXPECT_EQ(several.at("model").string(), "tiny");
  ASSERT_EQ(several.at("embeddings").items().size(), 2u);
  EXPECT_EQ(several.at("embeddings").items()[1].as<std::vector<float>>().size(), 16u);
  EXPECT_EQ(several.at("prompt_eval_count").integer(), 7);
  EXPECT_GT(several.at("total_duration").integer(), 0);
  const io::Tree one = a.json("/api/embed", R"({"input": "a b"})");
  EXPECT_EQ(one.at("embeddings").items()[0].as<std::vector<float>>(), a.embed(model, {"a b"}, {}, true).values);
  const io::Tree shorter = a.json("/api/embed", R"({"input": "a b", "dimensions": 4})");
  EXPECT_EQ(shorter.at("embeddings").items()[0].as<std::vector<float>>(), a.embed(model, {"a b"}, {}, true, 4).values);
  EXPECT_EQ(a.json("/api/embeddings", R"({"prompt": "a b"})").at("embedding").as<std::vector<float>>(), a.embed(model, {"a b"}).values);
}

TEST(Ollama, NoTextGivesNoVectors) {
  AnApi a;
  a.add(tiny_models().m2);
  for (const char* body : {R"({"input": ""})", R"({"input": []})", R"({"input": null})", "{}"})
    EXPECT_EQ(a.json("/api/embed", body).at("embeddings").items().size(), 0u) << body;
  EXPECT_EQ(a.json("/api/embeddings", R"({"prompt": ""})").at("embedding").items().size(), 0u);
}

TEST(Ollama, TruncatesUnlessAskedNotTo) {
  AnApi a;
  const ServedModel& model = a.add(tiny_models().attention);
  const std::string text = "\"input\": \"" + sentence(1, 100) + "\"";
  EXPECT_EQ(a.json("/api/embed", "{" + text + "}").at("truncated").integer(), 1);
  EXPECT_PRED2(has, a.json("/api/embed", "{" + text + R"(, "truncate": false})", 400).at("error").string(), "102 tokens");
  TextSettings settings;
  settings.max_tokens = 8;
  const io::Tree shorter = a.json("/api/embed", "{" + text + R"(, "options": {"num_ctx": 8}})");
  EXPECT_EQ(shorter.at("embeddings").items()[0].as<std::vector<float>>(), a.embed(model, {sentence(1, 100)}, settings, true).values);
  EXPECT_EQ(a.json("/api/embed", R"({"input": "a", "options": {"num_ctx": 100000}})").at("embeddings").items().size(), 1u);
  EXPECT_PRED2(has, a.json("/api/embed", R"({"input": "a", "options": {"num_ctx": 1}})", 400).at("error").string(), "from 3 to");
}

TEST(Ollama, ErrorsAreTexts) {
  AnApi a;
  a.add(tiny_models().m2);
  EXPECT_PRED2(has, a.json("/api/embed", R"({"model": "llama3", "input": "a"})", 404).at("error").string(), "llama3");
  EXPECT_PRED2(has, a.json("/api/embed", R"({"input": [1, 2]})", 400).at("error").string(), "a text or a list of texts");
  EXPECT_PRED2(has, a.json("/api/embeddings", R"({"prompt": ["a", "b"]})", 400).at("error").string(), "one text");
  EXPECT_PRED2(has, a.json("/api/embeddings", R"({"prompt": []})", 400).at("error").string(), "one text");
  EXPECT_PRED2(has, a.json("/api/embed", R"({"dimensions": 0})", 400).at("error").string(), "0 dimensions");
  EXPECT_PRED2(has, a.json("/api/generate", R"({"prompt": "a"})", 404).at("error").string(), "/api/generate");
}

TEST(Ollama, TellsAboutTheServer) {
  AnApi a;
  a.add(tiny_models().m2);
  const io::Tree tags = io::parse_json(a.ask("GET", "/api/tags").body, "response");
  EXPECT_EQ(tags.at("models").items()[0].at("name").string(), "tiny");
  EXPECT_PRED2(has, a.ask("GET", "/api/version").body, "{\"version\":\"");
}

}  // namespace
}  // namespace m2bert::serve
