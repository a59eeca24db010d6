#include "m2bert/hub/etag.h"

#include <gtest/gtest.h>

#include "tests/support/scratch.h"

namespace m2bert::hub::test {
namespace {

using m2bert::test::error_of;
using m2bert::test::has;

TEST(ParseEtag, WithoutQuotes) {
  EXPECT_EQ(parse_etag("\"abc-1.2_x\"", "f"), "abc-1.2_x");
  EXPECT_EQ(parse_etag("W/\"abc\"", "f"), "abc");
  EXPECT_EQ(parse_etag("abc", "f"), "abc");
}

TEST(ParseEtag, RefusesWhatCannotNameAFile) {
  for (const std::string& etag :
       {std::string(), std::string("\"\""), std::string("\""), std::string(".."), std::string("."), std::string("../x"), std::string("/x"),
        std::string("a/b"), std::string("a\\b"), std::string("a b"), std::string("\"a\"b\""), std::string("\xff"), std::string(129, 'a'),
        std::string("x.incomplete"), std::string("-rf"), std::string("a\0b", 3)})
    EXPECT_TRUE(has(error_of([&] { (void)parse_etag(etag, "file"); }), "ETag")) << etag;
}

}  // namespace
}  // namespace m2bert::hub::test
