#include "m2bert/infer/token_vectors.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/infer/one_text.h"
#include "tests/support/scratch.h"
#include "tests/support/tiny_models.h"

namespace m2bert::infer {
namespace {

using test::sentence;
using test::tiny_models;

EmbedOptions with_offsets(std::optional<int> overlap = std::nullopt) {
  EmbedOptions options;
  options.pooling = models::Poolings{models::Pooling::mean};
  options.offsets = true;
  options.overlap = overlap;
  return options;
}

Embedder embedder(const std::string& folder, const EmbedOptions& options) { return {models::load_pretrained(folder), options}; }

std::vector<std::string> parts(const std::string& text) {
  std::vector<size_t> starts;  // of the characters
  for (size_t i = 0; i < text.size(); ++i)
    if ((static_cast<unsigned char>(text[i]) & 0xC0) != 0x80) starts.push_back(i);
  starts.push_back(text.size());
  std::vector<std::string> out;
  for (const Span& span : sentences_of(text)) out.push_back(text.substr(starts[span.begin], starts[span.end] - starts[span.begin]));
  return out;
}

TEST(Sentences, EndAtTheirMarks) {
  using Parts = std::vector<std::string>;
  EXPECT_EQ(parts("One. Two!  Three? \n"), (Parts{"One.", "Two!", "Three?"}));
  EXPECT_EQ(parts("It costs 3.50 at x.com now"), (Parts{"It costs 3.50 at x.com now"}));
  EXPECT_EQ(parts("\"Why?\" (He left.) Then…"), (Parts{"\"Why?\"", "(He left.)", "Then…"}));
  EXPECT_EQ(parts("Really?! Yes... well"), (Parts{"Really?!", "Yes...", "well"}));
  EXPECT_EQ(parts("你好。再见！“好吗？”他问。"), (Parts{"你好。", "再见！", "“好吗？”", "他问。"}));
  EXPECT_EQ(parts("A heading\n\nThe text\ngoes on.\n \nEnd"), (Parts{"A heading", "The text\ngoes on.", "End"}));
  EXPECT_EQ(parts(" \n\t "), Parts{});
  EXPECT_EQ(parts(""), Parts{});
  EXPECT_EQ(parts("..."), Parts{"..."});
}

TEST(Passages, OfTokens) {
  const std::string text = "green tree, little river; bright house";  // eight tokens with the two marks
  const tokenize::Encoding encoding = tokenize::WordPiece::builtin().encode(text);
  using Spans = std::vector<Span>;
  EXPECT_EQ(passages_of(text, encoding, 0, {.tokens = 3}), (Spans{{0, 11}, {12, 25}, {26, 38}}));
  EXPECT_EQ(passages_of(text, encoding, 0, {.tokens = 4, .overlap = 2}), (Spans{{0, 18}, {10, 25}, {19, 38}}));
  EXPECT_EQ(passages_of(text, encoding, 0, {.tokens = 100}), (Spans{{0, 38}}));
  const std::string prompt = "old moon: ";
  EXPECT_EQ(passages_of(text, tokenize::WordPiece::builtin().encode(prompt + text), prompt.size(), {.tokens = 3}),
            (Spans{{0, 11}, {12, 25}, {26, 38}}));
  EXPECT_TRUE(passages_of("", tokenize::WordPiece::builtin().encode(""), 0, {.tokens = 3}).empty());
  EXPECT_THROW(passages_of(text, encoding, 0, {}), Error);
  EXPECT_THROW(passages_of(text, encoding, 0, {.tokens = 3, .overlap = 3}), Error);
}

TEST(Passages, OfSentences) {
  const std::string text = "Green é tree. River. Little bright house here. \u200b! End";
  const tokenize::Encoding encoding = tokenize::WordPiece::builtin().encode(text);
  EXPECT_EQ(passages_of(text, encoding, 0, {.sentences = true}).size(), 5u);
  const auto joined = passages_of(text, encoding, 0, {.tokens = 6, .sentences = true});  // 4 + 2, 5 + 1, 1
  EXPECT_EQ(joined, (std::vector<Span>{{0, 20}, {21, 49}, {50, 53}}));
}

TEST(TokenVectors, AreTheHiddenStates) {
  for (const std::string& folder : {tiny_models().m2, tiny_models().attention}) {
    const Embedder model = embedder(folder, with_offsets());
    const std::vector<std::string> texts = {"green trée", "", sentence(4, 100)};
    const Window window = model.batcher().next(each_of(texts));
    const TokenVectors tokens = token_vectors(model, window, texts, 0);
    ASSERT_EQ(tokens.dim, 16);
    const size_t count = 4 + 2 + static_cast<size_t>(model.batcher().options().max_length);
    ASSERT_EQ(tokens.ids.size(), count);
    ASSERT_EQ(tokens.vectors.size(), count * 16);
    EXPECT_EQ(std::vector<Span>(tokens.spans.begin(), tokens.spans.begin() + 6),
              (std::vector<Span>{{0, 0}, {0, 5}, {6, 10}, {0, 0}, {0, 0}, {0, 0}}));
    size_t row = 0;
    for (size_t text = 0; text < texts.size(); ++text) {
      const auto [ids, mask] = one_text(model.pretrained(), texts[text]);
      const auto states = floats(model.pretrained().model->hidden_states({ids, mask, std::nullopt}));
      const auto here = static_cast<size_t>(std::count(tokens.texts.begin(), tokens.texts.end(), text));
      expect_close(tokens.vectors, row * 16, {states.begin(), states.begin() + static_cast<std::ptrdiff_t>(here * 16)});
      row += here;
    }
  }
}

TEST(LateChunks, OnePassageIsTheText) {
  for (const std::string& folder : {tiny_models().m2, tiny_models().attention}) {
    const Embedder model = embedder(folder, with_offsets());
    const std::vector<std::string> texts = {sentence(1, 3), "", sentence(2, 20)};
    const PassageVectors passages = late_chunks(model, texts, {.tokens = 1000});
    const std::vector<float> whole = model(texts).vectors;
    EXPECT_EQ(passages.texts, (std::vector<uint32_t>{0, 2}));  // the empty text has none
    expect_close(passages.vectors, 0, {whole.begin(), whole.begin() + 16});
    expect_close(passages.vectors, 16, {whole.begin() + 32, whole.end()});
  }
}

TEST(LateChunks, AreMeansOfTheirTokens) {
  EmbedOptions options = with_offsets();
  options.prompt = "paper cloud. ";
  options.normalize = true;
  options.dimensions = 7;
  const Embedder model = embedder(tiny_models().m2, options);
  const std::vector<std::string> texts = {"green tree. little river house"};
  const Window window = model.batcher().next(each_of(texts));
  const auto tokens = token_vectors(model, window, texts, 0);  // [CLS] paper cloud . green tree . little river house [SEP]
  const auto spans = [](uint32_t) { return std::vector<Span>{{0, 11}, {8, 18}, {25, 30}}; };
  const PassageVectors passages = late_chunks(model, window, texts, spans, 0);
  const std::pair<size_t, size_t> ranges[] = {{0, 7}, {5, 8}, {9, 11}};  // [CLS] and the prompt with the first, [SEP] with the last
  for (size_t i = 0; i < 3; ++i) {
    std::vector<float> mean(7);
    for (size_t token = ranges[i].first; token < ranges[i].second; ++token)
      for (size_t k = 0; k < 7; ++k) mean[k] += tokens.vectors[token * 16 + k];
    double squares = 0;
    for (const float value : mean) squares += double(value) * value;
    for (float& value : mean) value = static_cast<float>(value / std::sqrt(squares));
    expect_close(passages.vectors, i * 7, mean);
  }
}

TEST(LateChunks, LongDocumentsAreReadInWindows) {
  const Embedder model = embedder(tiny_models().attention, with_offsets(20));
  const std::vector<std::string> texts = {sentence(1, 300), sentence(2, 4)};
  const PassageVectors passages = late_chunks(model, texts, {.tokens = 50, .overlap = 10});
  EXPECT_EQ(std::count(passages.texts.begin(), passages.texts.end(), 1u), 1);
  ASSERT_GT(passages.spans.size(), 7u);
  EXPECT_EQ(passages.spans[passages.spans.size() - 2].end, texts[0].size());
  const std::vector<float> alone = model(std::span(texts).subspan(1)).vectors;
  expect_close(passages.vectors, (passages.spans.size() - 1) * 16, alone);
}

TEST(LateChunks, RefuseWhatHasNoMeaning) {
  EmbedOptions other = with_offsets();
  other.pooling = models::Poolings{models::Pooling::cls};
  const std::vector<std::string> texts = {"green  tree", sentence(1, 300)};
  EXPECT_PRED2(test::has, test::error_of([&] { late_chunks(embedder(tiny_models().m2, other), texts, {.tokens = 5}); }), "--pooling mean");
  const Embedder model = embedder(tiny_models().m2, with_offsets());
  const auto error = [&](uint32_t of, Span span) {
    return test::error_of([&] {
      late_chunks(
          model, model.batcher().next(each_of(texts)), texts,
          [&](uint32_t text) { return text == of ? std::vector<Span>{span} : std::vector<Span>{}; }, 7);
    });
  };
  EXPECT_PRED2(test::has, error(0, {3, 3}), "text 8: the passage [3, 3] is not a part of its 11 characters");
  EXPECT_PRED2(test::has, error(0, {3, 12}), "not a part of its 11 characters");
  EXPECT_PRED2(test::has, error(0, {5, 7}), "nothing but white space");
  EXPECT_PRED2(test::has, error(1, {texts[1].size() - 3, texts[1].size()}), "text 9: the passage");
  EXPECT_PRED2(test::has, error(1, {texts[1].size() - 3, texts[1].size()}), "truncated before it");
  const Embedder plain = embedder(tiny_models().m2, {.pooling = models::Poolings{models::Pooling::mean}});
  EXPECT_PRED2(test::has, test::error_of([&] { late_chunks(plain, texts, {.tokens = 5}); }), "EmbedOptions::offsets");
}

}  // namespace
}  // namespace m2bert::infer
