#include "m2bert/io/digest.h"

#include <gtest/gtest.h>

namespace m2bert::io {
namespace {

std::string digest(Digest::Kind kind, std::initializer_list<std::string_view> pieces) {
  Digest d(kind);
  for (const auto piece : pieces) d.update(piece);
  return d.finish();
}

// FIPS 180 examples.
TEST(Digest, KnownValues) {
  EXPECT_EQ(digest(Digest::Kind::sha1, {"abc"}), "a9993e364706816aba3e25717850c26c9cd0d89d");
  EXPECT_EQ(digest(Digest::Kind::sha256, {"abc"}), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(digest(Digest::Kind::sha256, {}), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

TEST(Digest, PiecesGiveTheSame) {
  const std::string text(100000, 'x');
  EXPECT_EQ(digest(Digest::Kind::sha256, {text.substr(0, 7), text.substr(7)}), digest(Digest::Kind::sha256, {text}));
}

}  // namespace
}  // namespace m2bert::io
