#include "m2bert/infer/batches.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <tuple>

#include "m2bert/error.h"

namespace m2bert::infer {
namespace {

std::vector<std::string> some_texts(size_t count) {
  std::vector<std::string> texts;
  for (size_t i = 0; i < count; ++i) {
    std::string text;
    for (size_t word = 0; word <= i * 7 % 23; ++word) text += "tree ";
    texts.push_back(text);
  }
  return texts;
}

Batcher batcher(PadMode pad, int batch_size, bool sort = true, int max_length = 20) {
  BatchOptions options;
  options.pad = pad;
  options.batch_size = batch_size;
  options.max_length = max_length;
  options.sort = sort;
  return Batcher(tokenize::WordPiece::builtin(), options);
}

std::vector<Window> all_windows(const Batcher& batcher, const std::vector<std::string>& texts) {
  std::vector<Window> windows;
  size_t count = 0;
  EXPECT_EQ(batcher.for_each_window(each_of(texts),
                                    [&](const Window& window, uint64_t first) {
                                      EXPECT_EQ(first, count);
                                      count += window.texts();
                                      windows.push_back(window);
                                    }),
            texts.size());
  return windows;
}

TEST(BucketLength, PowersOfTwoAndTheirMiddles) {
  for (const auto& [tokens, length] :
       std::vector<std::pair<int, int>>{{2, 8}, {8, 8}, {9, 12}, {13, 16}, {17, 24}, {25, 32}, {33, 48}, {49, 64}, {128, 128}})
    EXPECT_EQ(bucket_length(tokens, 1000), length) << tokens;
  EXPECT_EQ(bucket_length(19, 20), 20);
  EXPECT_EQ(bucket_length(3, 5), 5);
}

TEST(Batcher, SkippingReadsTheTextsOfAWindow) {
  const std::vector<std::string> texts = some_texts(1000);
  for (const auto& [pad, sort] : std::vector<std::pair<PadMode, bool>>{
           {PadMode::max, true}, {PadMode::longest, false}, {PadMode::longest, true}, {PadMode::bucket, true}}) {
    const Batcher some = batcher(pad, 8, sort);
    const NextText next_text = each_of(texts);
    for (const Window& window : all_windows(some, texts)) EXPECT_EQ(some.skip(next_text), window.texts());
    EXPECT_EQ(some.skip(next_text), 0U);
  }
}

TEST(Batcher, EveryTextIsThereOnceWithItsTokens) {
  const std::vector<std::string> texts = some_texts(101);
  const tokenize::WordPiece tokenizer = tokenize::WordPiece::builtin();
  for (const PadMode pad : {PadMode::max, PadMode::longest, PadMode::bucket}) {
    size_t first = 0;
    for (const Window& window : all_windows(batcher(pad, 8), texts)) {
      std::set<uint32_t> seen;
      for (const TextBatch& batch : window.batches) {
        EXPECT_LE(batch.rows, 8);
        for (int row = 0; row < batch.rows; ++row) {
          const uint32_t text = batch.texts[static_cast<size_t>(row)];
          EXPECT_TRUE(seen.insert(text).second);
          tokenize::EncodeOptions how;
          how.max_length = 20;
          const tokenize::Encoding expected = tokenizer.encode(texts[first + text], how);
          const auto begin = batch.input_ids.begin() + row * batch.length, mask = batch.attention_mask.begin() + row * batch.length;
          EXPECT_TRUE(std::equal(expected.ids.begin(), expected.ids.end(), begin));
          EXPECT_EQ(std::count(mask, mask + batch.length, 1), static_cast<std::ptrdiff_t>(expected.ids.size()));
          EXPECT_TRUE(std::all_of(begin + static_cast<std::ptrdiff_t>(expected.ids.size()), begin + batch.length,
                                  [](int32_t id) { return id == 0; }));
          EXPECT_EQ(window.truncated[text] != 0, expected.truncated);
          EXPECT_EQ(window.tokens[text], static_cast<int32_t>(expected.ids.size()));
        }
      }
      EXPECT_EQ(seen.size(), window.texts());
      first += window.texts();
    }
    EXPECT_EQ(first, texts.size());
  }
}

TEST(Batcher, LengthsFollowTheMode) {
  const std::vector<std::string> texts = some_texts(64);
  for (const Window& window : all_windows(batcher(PadMode::max, 8), texts)) {
    EXPECT_EQ(window.batches.size(), 1u);
    EXPECT_EQ(window.batches[0].length, 20);
  }
  for (const Window& window : all_windows(batcher(PadMode::longest, 8), texts))
    for (const TextBatch& batch : window.batches)
      for (int row = 0; row + 1 < batch.rows; ++row)
        EXPECT_LE(window.tokens[batch.texts[static_cast<size_t>(row)]], window.tokens[batch.texts[static_cast<size_t>(row) + 1]]);
  for (const Window& window : all_windows(batcher(PadMode::bucket, 8), texts))
    for (const TextBatch& batch : window.batches)
      for (const uint32_t text : batch.texts) EXPECT_EQ(batch.length, bucket_length(window.tokens[text], 20));
}

TEST(Batcher, UnsortedBatchesKeepTheOrder) {
  for (const Window& window : all_windows(batcher(PadMode::longest, 8, false), some_texts(20)))
    for (const TextBatch& batch : window.batches) EXPECT_TRUE(std::is_sorted(batch.texts.begin(), batch.texts.end()));
}

TEST(Batcher, WindowsEndAtWholeBatchesAndStayBounded) {
  const auto windows = all_windows(batcher(PadMode::bucket, 4), some_texts(1000));
  for (size_t i = 0; i + 1 < windows.size(); ++i) EXPECT_EQ(windows[i].texts(), 64u);
  EXPECT_TRUE(all_windows(batcher(PadMode::bucket, 4), {}).empty());
}

TEST(Batcher, CountsTheTokensOfThePrompt) {
  const auto prompt_tokens = [](const std::string& prompt) {
    const std::vector<std::string> texts = {"tree"};
    return batcher(PadMode::longest, 4).with_prompt(prompt).next(each_of(texts)).prompt_tokens;
  };
  EXPECT_EQ(prompt_tokens(""), 0);
  EXPECT_EQ(prompt_tokens("the old river: "), 5);  // with [CLS]
  EXPECT_EQ(prompt_tokens(some_texts(30)[12]), 17);
  std::string longer;
  for (int i = 0; i < 30; ++i) longer += "tree ";
  EXPECT_EQ(prompt_tokens(longer), 19);  // truncated to 20, with [SEP]
}

TEST(Batcher, PairsHaveBothTexts) {
  const std::vector<std::pair<std::string, std::string>> pairs = {{"tree", "river house"}, {"", "tree"}, {some_texts(30)[12], "river"}};
  for (const PadMode pad : {PadMode::max, PadMode::longest}) {
    size_t next = 0;
    const Window window = batcher(pad, 8).next_pairs([&](std::string& first, std::string& second) {
      if (next == pairs.size()) return false;
      std::tie(first, second) = pairs[next++];
      return true;
    });
    ASSERT_EQ(window.texts(), 3u);
    EXPECT_EQ(window.truncated, (std::vector<uint8_t>{0, 0, 0}));
    for (const TextBatch& batch : window.batches) {
      for (size_t row = 0; row < batch.texts.size(); ++row) {
        const auto& [first, second] = pairs[batch.texts[row]];
        tokenize::EncodeOptions how;
        how.max_length = 20;
        const tokenize::Encoding expected = tokenize::WordPiece::builtin().encode_pair(first, second, how);
        const auto begin = static_cast<std::ptrdiff_t>(row) * batch.length;
        EXPECT_TRUE(std::equal(expected.ids.begin(), expected.ids.end(), batch.input_ids.begin() + begin));
        EXPECT_TRUE(std::equal(expected.type_ids.begin(), expected.type_ids.end(), batch.token_type_ids.begin() + begin));
      }
    }
  }
  EXPECT_THROW(batcher(PadMode::max, 8).with_prompt("query: ").next_pairs([](std::string&, std::string&) { return false; }), Error);
}

// Each token of a long text is of one row, from which the model sees what is on both sides.
TEST(Batcher, LongTextsBecomeOverlappingRows) {
  BatchOptions options;
  options.pad = PadMode::longest;
  options.max_length = 12;
  options.offsets = true;
  options.overlap = 4;
  std::string text;
  for (const char* word : {"tree", "river", "house", "moon", "wind", "rain", "stone", "light"}) text += std::string(word) + " big ";
  const std::vector<std::string> texts = {text + text, "tree"};
  const Window window = Batcher(tokenize::WordPiece::builtin(), options).next(each_of(texts));
  ASSERT_EQ(window.encodings.size(), 2u);
  const tokenize::Encoding whole = tokenize::WordPiece::builtin().encode(texts[0]);
  EXPECT_EQ(window.encodings[0].ids, whole.ids);  // 34 tokens
  EXPECT_EQ(window.truncated, (std::vector<uint8_t>{0, 0}));
  std::vector<int> owners(whole.ids.size());
  for (const TextBatch& batch : window.batches) {
    for (size_t row = 0; row < batch.texts.size(); ++row) {
      if (batch.texts[row] != 0) continue;
      EXPECT_EQ(batch.length, 12);
      const RowTokens tokens = batch.tokens[row];
      const int32_t* ids = batch.input_ids.data() + row * 12;
      EXPECT_EQ(ids[0], 101);
      EXPECT_EQ(ids[11], 102);
      for (size_t p = 1; p < 11; ++p) EXPECT_EQ(ids[p], whole.ids[tokens.shift + p]);
      for (size_t token = tokens.begin; token < tokens.end; ++token) ++owners[token];
      // [CLS], and half of the four shared tokens; the last row ends with the text, and shares six.
      EXPECT_EQ(tokens.begin, tokens.shift == 0 ? 0u : tokens.shift + (tokens.shift == 22 ? 4 : 3));
    }
  }
  EXPECT_EQ(owners, std::vector<int>(whole.ids.size(), 1));
  options.overlap = 10;
  EXPECT_THROW(Batcher(tokenize::WordPiece::builtin(), options), Error);
}

TEST(Batcher, ImpossibleOptionsAreErrors) {
  EXPECT_THROW(batcher(PadMode::max, 0), Error);
  EXPECT_THROW(batcher(PadMode::max, 8, true, 2), Error);
}

}  // namespace
}  // namespace m2bert::infer
