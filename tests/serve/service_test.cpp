#include "m2bert/serve/service.h"

#include "tests/serve/a_service.h"
#include "tests/support/scratch.h"

namespace m2bert::serve {
namespace {

std::vector<float> alone(const std::string& folder, const std::string& text, const infer::EmbedOptions& options = {}) {
  const infer::Embedder embedder(models::load_pretrained(folder), options);
  return embedder(std::vector<std::string>{text}).vectors;
}

std::vector<float> copy(std::span<const float> values) { return {values.begin(), values.end()}; }

infer::EmbedOptions mean_pooling() {
  infer::EmbedOptions options;
  options.pooling = models::Poolings{models::Pooling::mean};
  return options;
}

TEST(Service, GivesTheBitsOfEmbedAloneAndBesideOthers) {
  AService a;
  const std::vector<std::string> texts = {sentence(1, 3), sentence(2, 20), "", sentence(3, 7), sentence(4, 25)};
  for (const std::string& folder : {tiny_models().m2, tiny_models().attention}) {
    const ServedModel& model = a.add(folder, folder);
    const Vectors together = a.embed(model, texts);
    for (size_t i = 0; i < texts.size(); ++i) {
      const std::vector<float> expected = alone(folder, texts[i]);
      EXPECT_EQ(copy(together.vector(i)), expected) << folder << i;
      EXPECT_EQ(a.embed(model, {texts[i]}).values, expected) << folder << i;
    }
  }
}

TEST(Service, FactsOfTexts) {
  AService a;
  const ServedModel& model = a.add(tiny_models().m2);
  TextSettings settings;
  settings.truncate = true;
  const Vectors result = a.embed(model, {sentence(1, 3), sentence(2, 100)}, settings);
  EXPECT_EQ(result.texts[0].tokens, 5);
  EXPECT_EQ(result.texts[0].padded, 32);
  EXPECT_FALSE(result.texts[0].truncated);
  EXPECT_EQ(result.texts[1].tokens, 32);
  EXPECT_EQ(result.texts[1].all_tokens, 102);
  EXPECT_TRUE(result.texts[1].truncated);
  EXPECT_EQ(result.tokens(), 37);
  EXPECT_EQ(result.truncated(), 1);
}

TEST(Service, ALongTextIsAnErrorWithBothNumbers) {
  AService a;
  const ServedModel& model = a.add(tiny_models().m2);
  std::string message;
  EXPECT_EQ(kind_of([&] { a.embed(model, {"a", sentence(1, 100)}); }, &message), ErrorKind::unprocessable);
  EXPECT_PRED2(test::has, message, "input 1 has 102 tokens, and the maximum is 32");
}

TEST(Service, Padding) {
  AService a;
  const ServedModel& model = a.add(tiny_models().m2);
  TextSettings bucket;
  bucket.pad = infer::PadMode::bucket;
  infer::EmbedOptions options;
  options.pad = infer::PadMode::bucket;
  const Vectors result = a.embed(model, {sentence(1, 3)}, bucket);
  EXPECT_EQ(result.values, alone(tiny_models().m2, sentence(1, 3), options));
  EXPECT_EQ(result.texts[0].padded, 8);
  EXPECT_NE(result.values, a.embed(model, {sentence(1, 3)}).values);
  EXPECT_EQ(model.padding_name(), "max_length");
  EXPECT_EQ(model.padding_name(bucket.pad), "bucket");
  EXPECT_EQ(a.add(tiny_models().attention, "attention").padding_name(bucket.pad), "masked");
}

TEST(Service, DimensionsAndNormalization) {
  AService a;
  const ServedModel& model = a.add(tiny_models().attention);
  infer::EmbedOptions options;
  options.normalize = true;
  EXPECT_EQ(a.embed(model, {"a b"}, {}, true).values, alone(tiny_models().attention, "a b", options));
  options.dimensions = 5;
  EXPECT_EQ(a.embed(model, {"a b"}, {}, true, 5).values, alone(tiny_models().attention, "a b", options));
  EXPECT_THROW(a.embed(model, {"a"}, {}, true, 17), Error);
}

TEST(Service, PromptsGoInFront) {
  AService a;
  const ServedModel& model = a.add(tiny_models().attention);
  TextSettings settings;
  settings.prompt = "g ";
  EXPECT_EQ(a.embed(model, {"a"}, settings).values, a.embed(model, {"g a"}).values);
  settings.prompt.reset();
  settings.prompt_name = "query";
  std::string message;
  EXPECT_EQ(kind_of([&] { a.embed(model, {"a"}, settings); }, &message), ErrorKind::invalid);
  EXPECT_PRED2(test::has, message, "Available prompts: []");
}

std::vector<float> embed_ids(AService& a, const ServedModel& model, std::vector<int32_t> ids) {
  const auto caller = std::make_shared<TestCaller>();
  std::promise<Vectors> result;
  a.service.embed(caller, model, {{"", std::nullopt, std::move(ids), true}}, {}, std::nullopt, std::nullopt,
                  [&](Vectors&& v) { result.set_value(std::move(v)); });
  return AService::wait(result, *caller).values;
}

TEST(Service, TokenIds) {
  ServiceOptions options;
  options.accept_token_ids = true;
  AService accepts({}, options), refuses;
  const ServedModel& model = accepts.add(tiny_models().attention);
  const std::vector<int32_t> ids = model.tokenizer().encode("a b").ids;
  const std::vector<float> expected = alone(tiny_models().attention, "a b");
  EXPECT_EQ(embed_ids(accepts, model, ids), expected);
  EXPECT_EQ(embed_ids(accepts, model, {ids.begin() + 1, ids.end() - 1}), expected);
  std::string message;
  EXPECT_EQ(kind_of([&] { embed_ids(accepts, model, {4, 100000}); }, &message), ErrorKind::invalid);
  EXPECT_PRED2(test::has, message, "token id 100000");
  const ServedModel& strict = refuses.add(tiny_models().attention);
  EXPECT_EQ(kind_of([&] { embed_ids(refuses, strict, {4}); }, &message), ErrorKind::invalid);
  EXPECT_PRED2(test::has, message, "--accept-token-ids");
}

TEST(Service, ATextWithNanFailsAlone) {
  AService a;
  const ServedModel& good = a.add(tiny_models().m2, "good");
  const ServedModel& broken = a.add(tiny_models().broken, "broken");
  std::string message;
  EXPECT_EQ(kind_of([&] { a.embed(broken, {"a"}); }, &message), ErrorKind::backend);
  EXPECT_PRED2(test::has, message, "input 0 gets values that are NaN");
  EXPECT_EQ(a.embed(good, {"a"}).values.size(), 16u);
  EXPECT_EQ(a.engine.stats().not_finite, 1u);
}

TEST(Service, PassagesAndTokensWithNanAreNoFaultOfTheClient) {
  const test::Scratch scratch;
  AService a;
  const ServedModel& broken = a.add(with_nan_states(scratch), "broken", mean_pooling());
  Chunking by_tokens;
  by_tokens.size.tokens = 2;
  const auto passages = [&] {
    const auto caller = std::make_shared<TestCaller>();
    std::promise<Passages> result;
    a.service.embed_passages(caller, broken, inputs_of_texts({"a b c"}), {}, by_tokens,
                             [&](Passages&& p) { result.set_value(std::move(p)); });
    AService::wait(result, *caller);
  };
  const auto tokens = [&] {
    const auto caller = std::make_shared<TestCaller>();
    std::promise<TokenStates> result;
    a.service.embed_tokens(caller, broken, inputs_of_texts({"a b c"}), {}, [&](TokenStates&& t) { result.set_value(std::move(t)); });
    AService::wait(result, *caller);
  };
  std::string message;
  EXPECT_EQ(kind_of(passages, &message), ErrorKind::backend);
  EXPECT_PRED2(test::has, message, "input 0 gets values that are NaN or infinite in float32");
  EXPECT_EQ(kind_of(tokens, &message), ErrorKind::backend);
  EXPECT_EQ(a.engine.stats().not_finite, 2u);
}

TEST(Service, PassagesCountAsComputedTokens) {
  AService a;
  const ServedModel& model = a.add(tiny_models().attention, "tiny", mean_pooling());
  Chunking by_tokens;
  by_tokens.size.tokens = 2;
  const auto caller = std::make_shared<TestCaller>();
  std::promise<Passages> result;
  a.service.embed_passages(caller, model, inputs_of_texts({"a b c", "d"}), {}, by_tokens,
                           [&](Passages&& p) { result.set_value(std::move(p)); });
  AService::wait(result, *caller);
  EXPECT_EQ(a.engine.stats().rows, 2u);
  EXPECT_EQ(a.engine.stats().tokens, 8u);
}

TEST(Service, PassagesAreThoseOfLateChunks) {
  AService a;
  const ServedModel& model = a.add(tiny_models().attention, "tiny", mean_pooling());
  const std::string text = "a b c d e";
  const auto passages = [&](const Chunking& chunking) {
    const auto caller = std::make_shared<TestCaller>();
    std::promise<Passages> result;
    a.service.embed_passages(caller, model, inputs_of_texts({text, "f"}), {}, chunking,
                             [&](Passages&& p) { result.set_value(std::move(p)); });
    return AService::wait(result, *caller);
  };
  Chunking by_tokens;
  by_tokens.size.tokens = 2;
  const Passages sized = passages(by_tokens);
  EXPECT_EQ(sized.inputs, (std::vector<uint32_t>{0, 0, 0, 1}));
  EXPECT_EQ(sized.spans, (std::vector<infer::Span>{{0, 3}, {4, 7}, {8, 9}, {0, 1}}));
  infer::EmbedOptions offsets = mean_pooling();
  offsets.offsets = true;
  const infer::Embedder embedder(models::load_pretrained(tiny_models().attention), offsets);
  infer::ChunkOptions two;
  two.tokens = 2;
  EXPECT_EQ(sized.values, infer::late_chunks(embedder, std::vector<std::string>{text, "f"}, two).vectors);
  Chunking by_token_spans;
  by_token_spans.spans = std::vector<std::vector<infer::Span>>{{{0, 2}, {2, 4}, {4, 5}}, {{0, 1}}};
  by_token_spans.spans_of_tokens = true;
  EXPECT_EQ(passages(by_token_spans).spans, sized.spans);
  EXPECT_EQ(passages(by_token_spans).values, sized.values);
  by_token_spans.spans->front().front().end = 9;
  EXPECT_EQ(kind_of([&] { passages(by_token_spans); }), ErrorKind::invalid);
}

TEST(Service, ScoresAreTheClassifiers) {
  AService a;
  const ServedModel& model = a.add(tiny_models().classifier);
  ASSERT_EQ(model.task(), ModelTask::classify);
  const auto caller = std::make_shared<TestCaller>();
  std::promise<Scores> result;
  a.service.classify(caller, model, {{"a b", std::nullopt, {}, false}, {"a", "c d", {}, false}}, {},
                     [&](Scores&& s) { result.set_value(std::move(s)); });
  const Scores scores = AService::wait(result, *caller);
  const infer::Classifier classifier(models::load_pretrained(tiny_models().classifier), {});
  const std::vector<std::string> one = {"a b"}, first = {"a"}, second = {"c d"};
  std::vector<float> expected = classifier(one).scores;
  const auto pair = classifier(first, second).scores;
  expected.insert(expected.end(), pair.begin(), pair.end());
  EXPECT_EQ(scores.values, expected);
  EXPECT_EQ(scores.logits.size(), scores.values.size());
}

TEST(Service, ModelsByName) {
  AService a;
  a.add(tiny_models().m2, "one");
  a.add(tiny_models().attention, "two");
  EXPECT_EQ(a.service.model("").name(), "one");
  EXPECT_EQ(a.service.model("two:latest").name(), "two");
  std::string message;
  EXPECT_EQ(kind_of([&] { (void)a.service.model("three"); }, &message), ErrorKind::no_model);
  EXPECT_PRED2(test::has, message, "served: [\"one\",\"two\"]");
}

TEST(Service, Limits) {
  ServiceOptions options;
  options.max_inputs = 2;
  options.max_input_chars = 10;
  AService a({}, options);
  const ServedModel& model = a.add(tiny_models().m2);
  EXPECT_EQ(kind_of([&] { a.embed(model, {}); }), ErrorKind::empty);
  EXPECT_EQ(kind_of([&] { a.embed(model, {"a", "a", "a"}); }), ErrorKind::too_large);
  EXPECT_EQ(kind_of([&] { a.embed(model, {"river winter"}); }), ErrorKind::too_large);
}

}  // namespace
}  // namespace m2bert::serve
