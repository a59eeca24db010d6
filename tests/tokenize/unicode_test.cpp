#include "m2bert/tokenize/unicode.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace m2bert::tokenize {
namespace {

std::vector<uint32_t> sizes(const std::string& text) {
  std::vector<uint32_t> out;
  for (size_t at = 0; at < text.size(); at += out.back()) out.push_back(decode_utf8(text.data() + at, text.data() + text.size()).size);
  return out;
}

TEST(Unicode, EveryCodePointRoundTrips) {
  for (char32_t c = 0; c < 0x110000; ++c) {
    if (c >= 0xD800 && c < 0xE000) continue;
    char bytes[4];
    const uint32_t size = encode_utf8(c, bytes);
    const Decoded decoded = decode_utf8(bytes, bytes + size);
    ASSERT_EQ(decoded.c, c);
    ASSERT_EQ(decoded.size, size);
    if (c != replacement_char) {
      ASSERT_EQ(last_utf8(bytes, bytes + size).c, c);
    }
  }
}

// The sizes are those of Python's bytes.decode("utf-8", errors="replace").
TEST(Unicode, IllFormedSequencesAreMaximalSubparts) {
  using Sizes = std::vector<uint32_t>;
  EXPECT_EQ(sizes("\x80\xFF"), (Sizes{1, 1}));
  EXPECT_EQ(sizes("\xC0\xAF"), (Sizes{1, 1}));
  EXPECT_EQ(sizes("\xE2\x82"
                  "a"),
            (Sizes{2, 1}));
  EXPECT_EQ(sizes("\xE2\x82"), (Sizes{2}));
  EXPECT_EQ(sizes("\xED\xA0\x80"), (Sizes{1, 1, 1}));
  EXPECT_EQ(sizes("\xF0\x9F\x98"), (Sizes{3}));
  EXPECT_EQ(sizes("\xF0\x9F\x98\xC3\xA9"), (Sizes{3, 2}));
  EXPECT_EQ(sizes("\xF4\x90\x80\x80"), (Sizes{1, 1, 1, 1}));
  EXPECT_EQ(sizes("\xE0\x80\x80"), (Sizes{1, 1, 1}));
}

TEST(Unicode, DecomposesAndLowers) {
  char32_t out[4];
  ASSERT_EQ(decompose(0xE9, out), 2u);
  EXPECT_EQ(out[0], U'e');
  EXPECT_EQ(out[1], 0x301u);
  ASSERT_EQ(decompose(0xAC01, out), 3u);
  EXPECT_EQ(out[2], 0x11A8u);
  ASSERT_EQ(decompose(0xAC00, out), 2u);
  ASSERT_EQ(decompose(U'a', out), 1u);
  ASSERT_EQ(lower(0x130, out), 2u);
  ASSERT_EQ(lower(0x1E9E, out), 1u);
  EXPECT_EQ(out[0], 0xDFu);
  EXPECT_LT(combining_rank(0x327), combining_rank(0x301));
  EXPECT_EQ(combining_rank(U'a'), 0);
}

}  // namespace
}  // namespace m2bert::tokenize
