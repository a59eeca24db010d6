#include "m2bert/io/hash.h"

#include "tests/support/scratch.h"

namespace m2bert::io {
namespace {

TEST(Hash, PiecesAndFilesGiveTheHashOfTheWhole) {
  std::string text;
  for (int i = 0; i < 400000; ++i) text += std::to_string(i);
  const std::string whole = hash128(text);
  EXPECT_EQ(whole.size(), 32u);
  Hasher hasher;
  for (size_t at = 0; at < text.size(); at += 777) hasher.update(std::string_view(text).substr(at, 777));
  EXPECT_EQ(hasher.hash128(), whole);
  const test::Scratch scratch;
  EXPECT_EQ(hash_file(scratch.put("a", text)), whole);
  text[text.size() / 2] ^= 1;
  EXPECT_NE(hash128(text), whole);
  EXPECT_EQ(hash_file(scratch.put("empty", "")), hash128(""));
}

// The values of the xxHash specification. They must not change between releases, because resumed runs compare them.
TEST(Hash, KnownValues) {
  EXPECT_EQ(hash64(""), 0x2D06800538D394C2u);
  EXPECT_EQ(hash128(""), "99aa06d3014798d86001c324468d497f");
  EXPECT_NE(hash64("a", 1), hash64("a", 2));
}

}  // namespace
}  // namespace m2bert::io
