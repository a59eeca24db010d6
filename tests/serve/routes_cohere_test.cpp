#include "m2bert/serve/base64.h"
#include "tests/serve/an_api.h"

namespace m2bert::serve {
namespace {

std::vector<float> floats(const io::Tree& embeddings) { return embeddings.items()[0].as<std::vector<float>>(); }

std::vector<float> values_of(std::span<const float> vector) { return {vector.begin(), vector.end()}; }

// The attention model with prompts, which are words of its vocabulary.
std::string folder_with_prompts(const test::Scratch& scratch) {
  std::filesystem::copy(tiny_models().attention, scratch.folder(), std::filesystem::copy_options::recursive);
  std::filesystem::create_directories(scratch / "1_Pooling");
  scratch.put("1_Pooling/config.json", R"({"pooling_mode": "mean"})");
  scratch.put("modules.json", R"([{"path": "", "type": "sentence_transformers.models.Transformer"},
                                  {"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}])");
  scratch.put("config_sentence_transformers.json", R"({"prompts": {"query": "c ", "passage": "d "}})");
  return scratch.folder().string();
}

TEST(Cohere, EmbedsTexts) {
  AnApi a;
  const ServedModel& model = a.add(tiny_models().m2);
  const Vectors expected = a.embed(model, {"a b", "c"});
  const io::Tree v2 = a.json("/v2/embed", R"({"model": "tiny", "texts": ["a b", "c"], "input_type": "search_query"})");
  EXPECT_EQ(v2.at("embeddings").members().size(), 1u);
  EXPECT_EQ(floats(v2.at("embeddings").at("float")), values_of(expected.vector(0)));
  EXPECT_EQ(v2.at("texts").items()[1].string(), "c");
  EXPECT_EQ(v2.at("meta").at("billed_units").at("input_tokens").integer(), 7);
  EXPECT_FALSE(v2.at("meta").contains("warnings"));
  const io::Tree v1 = a.json("/v1/embed", R"({"texts": ["a b"]})");
  EXPECT_EQ(v1.at("response_type").string(), "embeddings_floats");
  EXPECT_EQ(floats(v1.at("embeddings")), a.embed(model, {"a b"}).values);
  const io::Tree inputs = a.json("/v2/embed", R"({"inputs": [{"content": [{"type": "text", "text": "a b"}]}], "output_dimension": 4})");
  EXPECT_EQ(floats(inputs.at("embeddings").at("float")), a.embed(model, {"a b"}, {}, std::nullopt, 4).values);
}

TEST(Cohere, EmbeddingTypes) {
  AnApi a;
  const ServedModel& model = a.add(tiny_models().m2);
  const std::vector<float> vector = a.embed(model, {"a b"}).values;
  const auto types = [&](const std::string& names, int status = 200) {
    return a.json("/v2/embed", R"({"texts": ["a b"], "embedding_types": [)" + names + "]}", status);
  };
  const io::Tree free = types(R"("base64", "binary", "ubinary", "binary")").at("embeddings");
  EXPECT_EQ(free.members().size(), 3u);
  EXPECT_EQ(free.at("base64").items()[0].string(), base64(vector));
  const search::Quantizer bits(search::Precision::ubinary, vector.size());
  const std::vector<uint8_t> packed = bits.encode(vector);
  EXPECT_EQ(free.at("ubinary").items()[0].as<std::vector<uint8_t>>(), packed);
  EXPECT_EQ(free.at("binary").items()[0].as<std::vector<int>>().front(), int{packed.front()} - 128);
  EXPECT_PRED2(has, types(R"("int8")", 400).at("message").string(), "--calibration");
  EXPECT_PRED2(has, types(R"("float16")", 400).at("message").string(), "embedding_types knows float");

  search::Ranges ranges;
  search::widen(ranges, a.embed(model, {"a b", "c", "d e f"}).values, vector.size());
  a.engine.run([&] { const_cast<ServedModel&>(model).set_ranges(ranges); });
  const io::Tree scaled = types(R"("int8", "uint8")").at("embeddings");
  const std::vector<uint8_t> steps = search::Quantizer(search::Precision::uint8, vector.size(), ranges).encode(vector);
  EXPECT_EQ(scaled.at("uint8").items()[0].as<std::vector<uint8_t>>(), steps);
  EXPECT_EQ(scaled.at("int8").items()[0].as<std::vector<int>>().front(), int{steps.front()} - 128);
  const io::Tree shorter = a.json("/v2/embed", R"({"texts": ["a"], "embedding_types": ["int8"], "output_dimension": 4})", 400);
  EXPECT_PRED2(has, shorter.at("message").string(), "output_dimension 4");
}

TEST(Cohere, TruncatesAndSaysSo) {
  AnApi a;
  const ServedModel& model = a.add(tiny_models().attention);
  const std::string text = sentence(1, 100);
  const auto embed = [&](const std::string& fields, int status = 200) {
    return a.json("/v2/embed", R"({"texts": ["a", ")" + text + "\"]" + fields + "}", status);
  };
  EXPECT_EQ(embed("").at("meta").at("warnings").items()[0].string(), "1 of 2 texts were too long and were truncated");
  EXPECT_PRED2(has, embed(R"(, "truncate": "NONE")", 400).at("message").string(), "102 tokens");
  TextSettings settings;
  settings.truncate = true;
  settings.side = tokenize::TruncationSide::left;
  const std::vector<float> left = values_of(a.embed(model, {"a", text}, settings).vector(1));
  EXPECT_EQ(embed(R"(, "truncate": "START")").at("embeddings").at("float").items()[1].as<std::vector<float>>(), left);
  EXPECT_PRED2(has, embed(R"(, "truncate": "NONE", "max_tokens": 8)", 400).at("message").string(), "the maximum is 8");
  EXPECT_PRED2(has, embed(R"(, "truncate": "both")", 400).at("message").string(), "truncate wants");
}

TEST(Cohere, InputTypesSelectThePrompt) {
  const test::Scratch scratch;
  AnApi a;
  const ServedModel& model = a.add(folder_with_prompts(scratch));
  const auto embed = [&](const std::string& type) {
    return floats(a.json("/v2/embed", R"({"texts": ["a b"], "input_type": ")" + type + "\"}").at("embeddings").at("float"));
  };
  EXPECT_EQ(embed("search_query"), a.embed(model, {"c a b"}).values);
  EXPECT_EQ(embed("search_document"), a.embed(model, {"d a b"}).values);
  EXPECT_EQ(embed("clustering"), a.embed(model, {"a b"}).values);
  EXPECT_PRED2(has, a.json("/v2/embed", R"({"texts": ["a"], "input_type": "image"})", 400).at("message").string(), "input_type knows");
}

TEST(Cohere, WrongRequests) {
  AnApi a;
  a.add(tiny_models().m2);
  const auto message = [&](const std::string& body) { return a.json("/v2/embed", body, 400).at("message").string(); };
  EXPECT_PRED2(has, message(R"({"texts": []})"), "no input");
  EXPECT_PRED2(has, message("{}"), "wants texts");
  EXPECT_PRED2(has, message(R"({"texts": ["a"], "inputs": [{"content": [{"type": "text", "text": "a"}]}]})"), "wants texts");
  EXPECT_PRED2(has, message(R"({"inputs": [{"content": [{"type": "image_url", "image_url": {}}]}]})"), "texts only");
  EXPECT_PRED2(has, message(R"({"texts": ["a"], "images": ["data:"]})"), "texts only");
  EXPECT_PRED2(has, message(R"({"texts": ["a"], "normalize": true})"), "unknown field");
  EXPECT_PRED2(has, a.json("/v2/embed", R"({"texts": ["a"], "model": "embed-v4.0"})", 404).at("message").string(), "embed-v4.0");
}

TEST(Cohere, Reranks) {
  AnApi a;
  a.add(tiny_models().attention);
  for (const char* path : {"/v1/rerank", "/v2/rerank", "/reranking", "/v1/reranking"}) {
    const io::Tree result =
        a.json(path, R"({"query": "a b", "documents": ["i h", {"text": "a b"}], "top_n": 1, "return_documents": true})");
    ASSERT_EQ(result.at("results").items().size(), 1u);
    EXPECT_EQ(result.at("results").items()[0].at("index").integer(), 1);
    EXPECT_EQ(result.at("results").items()[0].at("document").at("text").string(), "a b");
    EXPECT_NEAR(result.at("results").items()[0].at("relevance_score").number(), 1, 1e-5);
  }
  EXPECT_PRED2(has, a.json("/v2/rerank", R"({"query": "a", "documents": []})", 400).at("message").string(), "no texts");
  EXPECT_PRED2(has, a.json("/v2/rerank", R"({"query": "a", "documents": ["a"], "top_n": 0})", 400).at("message").string(), "top_n");
}

}  // namespace
}  // namespace m2bert::serve
