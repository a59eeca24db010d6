#include "m2bert/serve/base64.h"

#include <gtest/gtest.h>

#include <string>

namespace m2bert::serve {
namespace {

std::string of(const std::string& text) { return base64(std::span(reinterpret_cast<const unsigned char*>(text.data()), text.size())); }

// RFC 4648, section 10.
TEST(Base64, TestVectors) {
  EXPECT_EQ(of(""), "");
  EXPECT_EQ(of("f"), "Zg==");
  EXPECT_EQ(of("fo"), "Zm8=");
  EXPECT_EQ(of("foo"), "Zm9v");
  EXPECT_EQ(of("foob"), "Zm9vYg==");
  EXPECT_EQ(of("fooba"), "Zm9vYmE=");
  EXPECT_EQ(of("foobar"), "Zm9vYmFy");
}

TEST(Base64, FloatsAreLittleEndian) {
  const std::vector<float> values = {1.0f, -2.5f};  // 00 00 80 3f, 00 00 20 c0
  EXPECT_EQ(base64(values), "AACAPwAAIMA=");
}

}  // namespace
}  // namespace m2bert::serve
