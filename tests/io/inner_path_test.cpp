#include "m2bert/io/inner_path.h"

#include <gtest/gtest.h>

namespace m2bert::io {
namespace {

TEST(WhyUnsafe, AcceptsOrdinaryNames) {
  for (const char* name :
       {"config.json", "1_Pooling/config.json", "a/b/c.d", "caf\xc3\xa9.txt", "..a", "a..", "...", ".gitattributes", "a b"})
    EXPECT_EQ(why_unsafe(name), "") << name;
}

TEST(WhyUnsafe, NamesTheReason) {
  for (const std::string& name :
       {std::string(), std::string("/a"), std::string("a//b"), std::string("a/"), std::string("."), std::string(".."), std::string("../a"),
        std::string("a/../b"), std::string("a/.."), std::string("a/./b"), std::string("a\\b"), std::string("a\nb"), std::string("a\0b", 3),
        std::string("\x7f"), std::string("\xff"), std::string(256, 'x'), std::string(256, 'x') + "/a", std::string("\xed\xa0\x80")})
    EXPECT_NE(why_unsafe(name), "") << name;
  std::string deep = "a";
  for (int i = 0; i < 600; ++i) deep += "/a";
  EXPECT_EQ(why_unsafe(deep), "is too long");
}

}  // namespace
}  // namespace m2bert::io
