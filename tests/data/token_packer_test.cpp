#include "m2bert/data/token_packer.h"

#include <gtest/gtest.h>

#include <cstring>

#include "tests/support/scratch.h"

namespace m2bert::data {
namespace {

using Samples = std::vector<std::vector<int64_t>>;
using test::error_of;
using test::has;

class TokenPackerTest : public ::testing::Test {
 protected:
  void add(TokenPacker& packer, std::vector<int32_t> ids) {
    packer.add(ids, [&](std::string&& bytes) {
      std::vector<int64_t> sample(bytes.size() / sizeof(int64_t));
      std::memcpy(sample.data(), bytes.data(), bytes.size());
      samples.push_back(sample);
    });
  }
  tokenize::WordPiece tokenizer = tokenize::WordPiece::builtin();
  Samples samples;
};

TEST_F(TokenPackerTest, JoinsTexts) {
  TokenPacker packer(tokenizer, {.length = 5});
  add(packer, {1, 2, 3});
  EXPECT_TRUE(samples.empty());  // three would do, but as upstream does, a sample waits for five
  add(packer, {4, 5, 6, 7, 8});
  EXPECT_EQ(samples, (Samples{{101, 1, 2, 3, 102}, {101, 4, 5, 6, 102}}));
  EXPECT_EQ(packer.waiting(), (std::vector<int32_t>{7, 8}));
}

TEST_F(TokenPackerTest, WithoutWrapTheRestIsDropped) {
  TokenPacker packer(tokenizer, {.length = 5, .wrap = false});
  add(packer, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11});
  add(packer, {12});
  EXPECT_EQ(samples, (Samples{{101, 1, 2, 3, 102}}));
  EXPECT_EQ(packer.waiting(), (std::vector<int32_t>{12}));
}

TEST_F(TokenPackerTest, OtherTextsAroundTheSamples) {
  TokenPacker bare(tokenizer, {.length = 3, .bos_text = "", .eos_text = ""});
  add(bare, {1, 2, 3, 4, 5, 6, 7});
  EXPECT_EQ(samples, (Samples{{1, 2, 3}, {4, 5, 6}}));
  samples.clear();
  TokenPacker words(tokenizer, {.length = 4, .bos_text = "hello world", .eos_text = ""});
  add(words, {1, 2, 3, 4});
  EXPECT_EQ(samples, (Samples{{7592, 2088, 1, 2}}));
}

TEST_F(TokenPackerTest, GoesOnWithWhatWaited) {
  TokenPacker first(tokenizer, {.length = 5});
  add(first, {1, 2, 3, 4});
  TokenPacker second(tokenizer, {.length = 5});
  second.restore(first.waiting());
  add(second, {5});
  EXPECT_EQ(samples, (Samples{{101, 1, 2, 3, 102}}));
}

TEST_F(TokenPackerTest, LengthsWithoutRoomAreErrors) {
  EXPECT_TRUE(has(error_of([&] { TokenPacker(tokenizer, {.length = 2}); }), "samples of 2 tokens leave no room"));
  EXPECT_TRUE(has(error_of([&] { TokenPacker(tokenizer, {.length = -1}); }), "leave no room"));
}

}  // namespace
}  // namespace m2bert::data
