#include "m2bert/tokenize/wordpiece.h"

#include "m2bert/error.h"
#include "m2bert/io/json.h"
#include "m2bert/tokenize/words.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <string>
#include <thread>

namespace m2bert::tokenize {
namespace {

using Ids = std::vector<int32_t>;

std::string from_hex(const std::string& hex) {
  std::string out;
  for (size_t i = 0; i + 1 < hex.size(); i += 2) out += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  return out;
}

EncodeOptions options_of(const io::Tree& test) {
  EncodeOptions options;
  options.max_length = test.get("max_length", options.max_length);
  if (test.get<std::string>("side", "right") == "left") options.truncation_side = TruncationSide::left;
  return options;
}

// Texts and results come from the tokenizers package (tests/parity/write_tokenizer_golden.py).
TEST(WordPiece, AgreesWithTheTokenizersPackage) {
  const auto cases = io::read_json(M2BERT_SOURCE_DIR "/tests/golden/tokenizer/encodings.json");
  const auto bert = WordPiece::builtin();
  ASSERT_GT(cases.size(), 300u);
  for (const io::Tree& test : cases.items()) {
    const auto hex = test.at("hex").as<std::vector<std::string>>();
    const auto options = options_of(test);
    const Encoding got =
        hex.size() == 2 ? bert.encode_pair(from_hex(hex[0]), from_hex(hex[1]), options) : bert.encode(from_hex(hex[0]), options);
    std::vector<int64_t> offsets, special(got.special_tokens_mask.begin(), got.special_tokens_mask.end());
    for (const auto& [begin, end] : got.offsets) offsets.insert(offsets.end(), {begin, end});
    ASSERT_EQ(got.ids, test.at("ids").as<Ids>()) << test.where() << from_hex(hex[0]);
    ASSERT_EQ(got.type_ids, test.at("types").as<Ids>()) << test.where();
    ASSERT_EQ(offsets, test.at("offsets").as<std::vector<int64_t>>()) << test.where() << from_hex(hex[0]);
    ASSERT_EQ(special, test.at("special").as<std::vector<int64_t>>()) << test.where();
    ASSERT_EQ(got.truncated, test.at("truncated").boolean()) << test.where();
    ASSERT_EQ(got.attention_mask, std::vector<uint8_t>(got.ids.size(), 1));
  }
}

TEST(WordPiece, BuiltinIsBertBaseUncased) {
  const auto bert = WordPiece::builtin();
  EXPECT_EQ(bert.vocab_size(), 30522u);
  EXPECT_EQ(bert.pad_id(), 0);
  EXPECT_EQ(bert.unk_id(), 100);
  EXPECT_EQ(bert.cls_id(), 101);
  EXPECT_EQ(bert.sep_id(), 102);
  EXPECT_EQ(bert.mask_id(), 103);
  EXPECT_EQ(bert.id("hello"), 7592);
  EXPECT_EQ(bert.token(7592), "hello");
  EXPECT_EQ(bert.id("no such token"), -1);
  for (int32_t id = 0; id < 30522; ++id) ASSERT_EQ(bert.id(bert.token(id)), id);
  EXPECT_THROW(bert.token(30522), Error);
  EXPECT_THROW(bert.token(-1), Error);
}

TEST(WordPiece, ReferenceCutLosesTheSeparator) {
  const auto bert = WordPiece::builtin();
  EncodeOptions options;
  options.max_length = 4;
  EXPECT_EQ(bert.encode("one two three four", options).ids, (Ids{101, 2028, 2048, 102}));
  options.upstream_cut = true;
  EXPECT_EQ(bert.encode("one two three four", options).ids, (Ids{101, 2028, 2048, 2093}));
  EXPECT_TRUE(bert.encode("one two three four", options).truncated);
  EXPECT_EQ(bert.encode("one two", options).ids, (Ids{101, 2028, 2048, 102}));
  EXPECT_FALSE(bert.encode("one two", options).truncated);
  EXPECT_EQ(bert.encode("one two three", options).ids, (Ids{101, 2028, 2048, 2093}));
}

TEST(WordPiece, ImpossibleLengthsAreErrors) {
  const auto bert = WordPiece::builtin();
  EncodeOptions options;
  options.max_length = 1;
  EXPECT_THROW(bert.encode("a", options), Error);
  options.max_length = 2;
  EXPECT_EQ(bert.encode("a", options).ids, (Ids{101, 102}));
  EXPECT_THROW(bert.encode_pair("a", "b", options), Error);
  options.max_length = 5;
  options.truncation = Truncation::only_first;
  EXPECT_THROW(bert.encode_pair("a", "b c d e", options), Error);
}

TEST(WordPiece, PadsToALength) {
  auto encoding = WordPiece::builtin().encode("hello");
  pad(encoding, 5, 0);
  EXPECT_EQ(encoding.ids, (Ids{101, 7592, 102, 0, 0}));
  EXPECT_EQ(encoding.attention_mask, (std::vector<uint8_t>{1, 1, 1, 0, 0}));
  EXPECT_EQ(encoding.special_tokens_mask, (std::vector<uint8_t>{1, 0, 1, 1, 1}));
  pad(encoding, 6, 9, PaddingSide::left, 1);
  EXPECT_EQ(encoding.ids, (Ids{9, 101, 7592, 102, 0, 0}));
  EXPECT_EQ(encoding.type_ids, (Ids{1, 0, 0, 0, 0, 0}));
  EXPECT_EQ(encoding.offsets.size(), 6u);
  pad(encoding, 2, 0);
  EXPECT_EQ(encoding.ids.size(), 6u);
}

TEST(WordPiece, DecodeJoinsPieces) {
  const auto bert = WordPiece::builtin();
  EXPECT_EQ(bert.decode(bert.encode("Unaffable people, don't run!").ids), "unaffable people, don ' t run!");
  EXPECT_EQ(bert.decode(Ids{101, 7592, 102}, false), "[CLS] hello [SEP]");
  EXPECT_EQ(bert.decode(Ids{7592, -1, 40000}), "hello");
  EXPECT_EQ(bert.decode(Ids{}), "");
}

TEST(WordPiece, BatchesEqualSingleTexts) {
  const auto bert = WordPiece::builtin();
  std::vector<std::string> texts;
  for (int i = 0; i < 200; ++i) texts.push_back("text number " + std::to_string(i * i) + (i % 3 ? " é中" : " plain"));
  for (int threads : {1, 4}) {
    const auto batch = bert.encode_batch(texts, {}, threads);
    ASSERT_EQ(batch.size(), texts.size());
    for (size_t i = 0; i < texts.size(); ++i) ASSERT_EQ(batch[i].ids, bert.encode(texts[i]).ids);
  }
  EXPECT_TRUE(bert.encode_batch({}, {}, 3).empty());
  EncodeOptions impossible;
  impossible.max_length = 1;
  EXPECT_THROW(bert.encode_batch(texts, impossible, 4), Error);
  EXPECT_THROW(bert.encode_batch(texts, {}, 0), Error);
}

// Bytes that resemble text: words, marks, Chinese, control characters, special tokens, and anything else.
rc::Gen<std::string> texts() {
  static const std::vector<std::string> parts = {
      "word",     "Un",           "##ing",        " ", "\t",   "\xC2\xA0",     "[MASK]",           "[",    "\xC3\xA9",     "e\xCC\x81",
      "\xCC\xA7", "\xE4\xB8\xAD", "\xEF\xBC\x81", ".", "\x01", "\xE2\x80\x8D", "\xF0\x9F\x98\x80", "\x80", "\xED\xA0\x80", "\xEA\xB0\x81",
      "\xC4\xB0"};
  const auto part = rc::gen::oneOf(rc::gen::elementOf(parts), rc::gen::elementOf(parts), rc::gen::arbitrary<std::string>());
  return rc::gen::map(rc::gen::container<std::vector<std::string>>(part), [](const std::vector<std::string>& list) {
    std::string out;
    for (const auto& piece : list) out += piece;
    return out;
  });
}

RC_GTEST_PROP(WordPiece, FastPathEqualsGeneralPath, ()) {
  const std::string text = *texts();
  const auto bert = WordPiece::builtin();
  std::vector<Piece> fast, general;
  Splitter(bert.model()).split(text, SIZE_MAX, fast, true);
  Splitter(bert.model()).split(text, SIZE_MAX, general, false);
  RC_ASSERT(fast.size() == general.size());
  for (size_t i = 0; i < fast.size(); ++i) {
    RC_ASSERT(fast[i].id == general[i].id);
    RC_ASSERT(fast[i].begin == general[i].begin);
    RC_ASSERT(fast[i].end == general[i].end);
  }
}

RC_GTEST_PROP(WordPiece, OffsetsLieInTheTextInOrder, ()) {
  const std::string text = *texts();
  const auto encoding = WordPiece::builtin().encode(text);
  uint32_t last = 0;
  for (size_t i = 1; i + 1 < encoding.ids.size(); ++i) {
    const auto [begin, end] = encoding.offsets[i];
    RC_ASSERT(begin <= end);
    RC_ASSERT(begin >= last);
    RC_ASSERT(end <= text.size());
    last = begin;
  }
}

RC_GTEST_PROP(WordPiece, TruncationIsAPrefixOrSuffix, ()) {
  const std::string text = *texts();
  const auto bert = WordPiece::builtin();
  EncodeOptions options;
  options.add_special_tokens = false;
  const Ids whole = bert.encode(text, options).ids;
  options.max_length = *rc::gen::inRange<size_t>(0, 20);
  const size_t kept = std::min(whole.size(), options.max_length);
  RC_ASSERT(bert.encode(text, options).ids == Ids(whole.begin(), whole.begin() + static_cast<ptrdiff_t>(kept)));
  RC_ASSERT(bert.encode(text, options).truncated == (kept < whole.size()));
  options.truncation_side = TruncationSide::left;
  RC_ASSERT(bert.encode(text, options).ids == Ids(whole.end() - static_cast<ptrdiff_t>(kept), whole.end()));
}

}  // namespace
}  // namespace m2bert::tokenize
