#include "m2bert/serve/api.h"

#include <algorithm>
#include <numeric>

#include "m2bert/search/top_k.h"
#include "tests/serve/an_api.h"

namespace m2bert::serve {
namespace {

TEST(Api, OpenAI) {
  AnApi a;
  const ServedModel& model = a.add(tiny_models().m2);
  const std::vector<float> expected = a.embed(model, {"a b"}).values;
  const io::Tree result = a.json("/v1/embeddings", R"({"model": "tiny", "input": ["a b", "c"], "user": "u"})");
  EXPECT_EQ(result.at("object").string(), "list");
  EXPECT_EQ(result.at("data").items().size(), 2u);
  EXPECT_EQ(result.at("data").items()[0].at("embedding").as<std::vector<float>>(), expected);
  EXPECT_EQ(result.at("data").items()[1].at("index").integer(), 1);
  EXPECT_EQ(result.at("usage").at("prompt_tokens").integer(), 7);
  EXPECT_EQ(a.json("/v1/models/tiny", "", 405).at("error").at("type").string(), "invalid_request_error");
  const http::Response base64 = a.ask("POST", "/embeddings", R"({"input": "a b", "encoding_format": "base64"})");
  EXPECT_EQ(io::parse_json(base64.body, "r").at("data").items()[0].at("embedding").string().size(), 88u);
  EXPECT_EQ(header(base64, "X-M2bert-Padding"), "max_length");
  EXPECT_EQ(header(base64, "X-M2bert-Truncated"), "0");
}

TEST(Api, ErrorsHaveTheFormOfTheRoute) {
  AnApi a;
  a.add(tiny_models().m2);
  const std::string text = sentence(1, 100);
  const io::Tree openai = a.json("/v1/embeddings", R"({"input": ")" + text + R"("})", 400);
  EXPECT_EQ(openai.at("error").at("code").string(), "context_length_exceeded");
  EXPECT_PRED2(has, openai.at("error").at("message").string(), "102 tokens");
  const io::Tree tei = a.json("/embed", R"({"inputs": ")" + text + R"("})", 422);
  EXPECT_EQ(tei.at("error_type").string(), "Validation");
  EXPECT_EQ(a.json("/v1/embeddings", R"({"input": "a", "model": "gpt"})", 404).at("error").at("code").string(), "model_not_found");
  EXPECT_EQ(a.json("/embed", R"({"inputs": []})", 400).at("error_type").string(), "Empty");
  EXPECT_PRED2(has, a.json("/embed", "{", 422).at("error").string(), "body:1");
  EXPECT_PRED2(has, a.json("/embed", R"({"inputs": "a", "normalise": true})", 422).at("error").string(), "unknown field \"normalise\"");
  EXPECT_PRED2(has, a.json("/nothing", "", 404).at("error").string(), "no route /nothing");
  EXPECT_PRED2(has, a.json("/v2/nothing", "", 404).at("message").string(), "no route /v2/nothing");
  EXPECT_EQ(header(a.ask("GET", "/embed"), "Allow"), "POST");
  EXPECT_EQ(header(a.ask("DELETE", "/"), "Allow"), "GET, POST");
  for (const char* path : {"/livez", "/metrics", "/openapi.json"}) EXPECT_EQ(a.ask("TRACE", path).status, 405) << path;
}

TEST(Api, Tei) {
  AnApi a;
  const ServedModel& model = a.add(tiny_models().attention);
  const io::Tree vectors = a.json("/embed", R"({"inputs": ["a b"]})");
  EXPECT_EQ(vectors.items()[0].as<std::vector<float>>(), a.embed(model, {"a b"}, {}, true).values);
  EXPECT_EQ(a.json("/embed_all", R"({"inputs": "a b"})").items()[0].items().size(), 4u);
  const auto unit = a.json("/embed_all", R"({"inputs": "a b", "normalize": true})").items()[0].items()[3].as<std::vector<float>>();
  EXPECT_NEAR(std::inner_product(unit.begin(), unit.end(), unit.begin(), 0.0), 1, 1e-6);
  const io::Tree scores = a.json("/", R"({"inputs": {"source_sentence": "a b", "sentences": ["a b", "i h"]}})");
  EXPECT_NEAR(scores.items()[0].number(), 1, 1e-5);
  EXPECT_LT(scores.items()[1].number(), 1);
  const io::Tree tokens = a.json("/tokenize", R"({"inputs": "a b"})");
  EXPECT_EQ(tokens.items()[0].items()[1].at("text").string(), "a");
  EXPECT_EQ(tokens.items()[0].items()[2].at("start").integer(), 2);
  EXPECT_PRED2(has, a.json("/tokenize", R"({"inputs": "a", "prompt_name": "query"})", 422).at("error").string(), "Available prompts: []");
  const http::Response info = a.ask("GET", "/info");
  EXPECT_EQ(io::parse_json(info.body, "r").at("max_input_length").integer(), model.max_length());
  const io::Tree ranked = a.json("/rerank", R"({"query": "a b", "texts": ["i h", "a b"], "return_text": true})");
  EXPECT_EQ(ranked.items()[0].at("index").integer(), 1);
  EXPECT_EQ(ranked.items()[0].at("text").string(), "a b");
  EXPECT_EQ(a.json("/rerank", R"({"query": "a b", "texts": ["i h", "a b"], "top_n": 1})").items().size(), 1u);
}

TEST(Api, Predict) {
  AnApi a;
  a.add(tiny_models().classifier);
  const io::Tree one = a.json("/predict", R"({"inputs": "a"})");
  EXPECT_EQ(one.items().size(), 3u);
  EXPECT_GE(one.items()[0].at("score").number(), one.items()[1].at("score").number());
  EXPECT_EQ(a.json("/predict", R"({"inputs": [["a"], ["a", "b"]]})").items().size(), 2u);
  EXPECT_PRED2(has, a.json("/embed", R"({"inputs": "a"})", 422).at("error").string(), "/predict");
}

TEST(Api, Chunking) {
  AnApi a;
  infer::EmbedOptions mean;
  mean.pooling = models::Poolings{models::Pooling::mean};
  a.add(tiny_models().attention, "tiny", mean);
  const io::Tree result = a.json("/v1/embeddings", R"({"input": "a b c", "chunking": {"spans": [[0, 1], [2, 5]]}})");
  ASSERT_EQ(result.at("data").items().size(), 2u);
  EXPECT_EQ(result.at("data").items()[1].at("span").as<std::vector<int>>(), (std::vector<int>{2, 5}));
  EXPECT_EQ(result.at("data").items()[1].at("input_index").integer(), 0);
  a.json("/v1/embeddings", R"({"input": "a b c", "chunking": {"spans": [[0, 2]], "tokens": 3}})", 400);
  a.json("/v1/embeddings", R"({"input": "a b c", "chunking": {"spans": [[0, 200]]}})", 400);
  a.json("/v1/embeddings", R"({"input": "a b c", "chunking": {"size": 3}})", 400);
}

TEST(Api, ValuesThatAreNotFinite) {
  const test::Scratch scratch;
  AnApi a;
  infer::EmbedOptions mean;
  mean.pooling = models::Poolings{models::Pooling::mean};
  a.add(with_nan_states(scratch), "tiny", mean);
  const std::string message = "NaN or infinite";
  EXPECT_PRED2(has, a.json("/v1/embeddings", R"({"input": "a"})", 424).at("error").at("message").string(), message);
  EXPECT_PRED2(has, a.json("/v1/embeddings", R"({"input": "a", "chunking": {"tokens": 3}})", 424).at("error").at("message").string(),
               message);
  EXPECT_EQ(a.json("/embed_all", R"({"inputs": "a"})", 424).at("error_type").string(), "Backend");
  EXPECT_EQ(a.json("/pooling", R"({"input": "a"})", 424).at("error").at("type").string(), "server_error");
}

// The same bits as `m2bert similarity`, which computes them with search::top_k().
TEST(Api, CosinesAreThoseOfTheSearch) {
  AnApi a;
  const ServedModel& model = a.add(tiny_models().attention);
  const std::vector<std::string> texts = {sentence(1, 5), sentence(2, 7), sentence(3, 3)};
  const Vectors vectors = a.embed(model, texts);
  const auto dim = static_cast<size_t>(vectors.dim);
  auto hits = search::top_k(vectors.vector(0), std::span(vectors.values).subspan(dim), dim).front();
  std::ranges::sort(hits, {}, &search::Hit::index);
  const io::Tree sentences = io::Tree::list({texts[1], texts[2]});
  const std::string score = io::to_json(io::Tree{{"text_1", texts[0]}, {"text_2", sentences}});
  const std::string inputs = io::to_json(io::Tree{{"inputs", io::Tree{{"source_sentence", texts[0]}, {"sentences", sentences}}}});
  const io::Tree cosines = a.json("/similarity", inputs), scores = a.json("/score", score);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(cosines.items()[i].as<float>(), hits[i].score) << i;
    EXPECT_EQ(scores.at("data").items()[i].at("score").as<float>(), hits[i].score) << i;
  }
}

TEST(Api, PaddingOfEveryRouteThatComputes) {
  AnApi a;
  a.add(tiny_models().m2);
  const std::pair<const char*, const char*> requests[] = {
      {"/v1/embeddings", R"({"input": "a", "padding": "bucket"})"},
      {"/embed", R"({"inputs": "a", "padding": "bucket"})"},
      {"/embed_all", R"({"inputs": "a", "padding": "bucket"})"},
      {"/similarity", R"({"inputs": {"source_sentence": "a", "sentences": ["b"]}, "parameters": {"padding": "bucket"}})"},
      {"/rerank", R"({"query": "a", "texts": ["b"], "padding": "bucket"})"},
      {"/v1/rerank", R"({"query": "a", "documents": ["b"], "padding": "bucket"})"},
      {"/score", R"({"text_1": "a", "text_2": "b", "padding": "bucket"})"},
      {"/v2/embed", R"({"texts": ["a"], "padding": "bucket"})"},
      {"/api/embed", R"({"input": "a", "padding": "bucket"})"},
  };
  for (const auto& [path, body] : requests) {
    const http::Response response = a.ask("POST", path, body);
    EXPECT_EQ(response.status, 200) << path << response.body;
    EXPECT_EQ(header(response, "X-M2bert-Padding"), "bucket") << path;
  }
  const io::Tree whole = a.json("/rerank", R"({"query": "a", "texts": ["b c"]})");
  const io::Tree bucket = a.json("/rerank", R"({"query": "a", "texts": ["b c"], "padding": "bucket"})");
  EXPECT_NE(whole.items()[0].at("score").number(), bucket.items()[0].at("score").number());
}

TEST(Api, InfoSaysWhichTaskAndWhy) {
  AnApi embeds, classifies;
  embeds.add(tiny_models().m2);
  classifies.add(tiny_models().classifier);
  const auto info = [](AnApi& a) { return io::parse_json(a.ask("GET", "/info").body, "info"); };
  EXPECT_EQ(info(embeds).at("task").string(), "embed");
  EXPECT_EQ(info(embeds).at("max_concurrent_requests").integer(), 4096);
  EXPECT_EQ(info(classifies).at("task").string(), "classify");
  EXPECT_PRED2(has, info(classifies).at("task_reason").string(), "--task embed");
  const io::Tree models = io::parse_json(classifies.ask("GET", "/v1/models").body, "models");
  EXPECT_PRED2(has, models.at("data").items()[0].at("task_reason").string(), "named labels");
}

TEST(Api, Keys) {
  AnApi a;
  a.add(tiny_models().m2);
  a.api.set_keys({"right", "other"});
  const auto status = [&](std::vector<http::Header> headers) {
    return a.ask("POST", "/embed", R"({"inputs": "a"})", std::move(headers)).status;
  };
  EXPECT_EQ(status({}), 401);
  EXPECT_EQ(status({{"authorization", "Bearer wrong"}}), 401);
  EXPECT_EQ(status({{"Authorization", "Bearer rightx"}}), 401);
  EXPECT_EQ(status({{"Authorization", "Bearer "}}), 401);
  EXPECT_EQ(status({{"Authorization", "bearer right"}}), 200);
  EXPECT_EQ(status({{"X-API-Key", "other"}}), 200);
  EXPECT_EQ(a.ask("GET", "/livez").status, 200);
  EXPECT_EQ(a.ask("GET", "/metrics").status, 200);
}

TEST(Api, ProbesSayWhetherTheServerIsReady) {
  AnApi a;
  a.add(tiny_models().m2);
  const auto statuses = [&](Api::State state) {
    a.api.set_state(state);
    return std::vector<int>{a.ask("GET", "/livez").status, a.ask("GET", "/readyz").status,
                            a.ask("POST", "/embed", R"({"inputs": "a"})").status};
  };
  EXPECT_EQ(statuses(Api::State::starting), (std::vector<int>{200, 503, 503}));
  EXPECT_EQ(statuses(Api::State::ready), (std::vector<int>{200, 200, 200}));
  EXPECT_EQ(statuses(Api::State::draining), (std::vector<int>{200, 503, 200}));  // what arrives on open connections is answered
}

TEST(Api, TheRootIsAPageJsonOrText) {
  AnApi a;
  a.add(tiny_models().m2);
  EXPECT_PRED2(has, a.ask("GET", "/", "", {{"Accept", "text/html,*/*"}}).body, "<html");
  EXPECT_EQ(io::parse_json(a.ask("GET", "/", "", {{"Accept", "application/json"}}).body, "r").at("models").as<std::vector<std::string>>(),
            (std::vector<std::string>{"tiny"}));
  EXPECT_EQ(a.ask("GET", "/").body, "m2bert is running\n");
}

TEST(Api, Cors) {
  ApiOptions options = without_log();
  options.cors_origins = {"https://a.example"};
  AnApi a(options), closed;
  a.add(tiny_models().m2);
  const http::Response preflight = a.ask("OPTIONS", "/v1/embeddings", "", {{"Origin", "https://a.example"}});
  EXPECT_EQ(preflight.status, 204);
  EXPECT_EQ(header(preflight, "Access-Control-Allow-Origin"), "https://a.example");
  EXPECT_EQ(header(a.ask("GET", "/v1/models", "", {{"Origin", "https://b.example"}}), "Access-Control-Allow-Origin"), "");
  closed.add(tiny_models().m2);
  EXPECT_EQ(closed.ask("OPTIONS", "/v1/embeddings", "", {{"Origin", "https://a.example"}}).status, 405);
}

TEST(Api, CompressedBodiesAreRefused) {
  AnApi a;
  a.add(tiny_models().m2);
  const http::Response response = a.ask("POST", "/embed", R"({"inputs": "a"})", {{"Content-Encoding", "gzip"}});
  EXPECT_EQ(response.status, 415);
  EXPECT_PRED2(has, response.body, "gzip");
  EXPECT_EQ(a.ask("POST", "/embed", R"({"inputs": "a"})", {{"Content-Encoding", "identity"}}).status, 200);
}

TEST(Api, RequestIds) {
  AnApi a;
  a.add(tiny_models().m2);
  EXPECT_EQ(header(a.ask("GET", "/v1/models", "", {{"X-Request-Id", "abc"}}), "X-Request-Id"), "abc");
  EXPECT_PRED2(has, header(a.ask("GET", "/v1/models", "", {{"X-Request-Id", "a b\n"}}), "X-Request-Id"), "req-");
}

TEST(Api, TooManyRequestsGet429) {
  ServiceOptions options;
  options.max_requests = 0;
  AnApi a(without_log(), options);
  a.add(tiny_models().m2);
  const http::Response response = a.ask("POST", "/embed", R"({"inputs": "a"})");
  EXPECT_EQ(response.status, 429);
  EXPECT_EQ(header(response, "Retry-After"), "1");
}

TEST(Api, Metrics) {
  AnApi a;
  a.add(tiny_models().m2);
  a.json("/embed", R"({"inputs": ["a", "b"], "truncate": true})");
  a.json("/embed", R"({"inputs": []})", 400);
  const std::string text = a.ask("GET", "/metrics").body;
  for (const char* line : {"te_request_count{route=\"/embed\"} 2\n", "te_request_success{route=\"/embed\"} 1\n", "te_embed_success 2\n",
                           "m2bert_texts_total 2\n", "m2bert_requests_total{route=\"/embed\",status=\"400\"} 1\n", "m2bert_ready 1\n"})
    EXPECT_PRED2(has, text, line);
}

}  // namespace
}  // namespace m2bert::serve
