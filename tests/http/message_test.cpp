#include "m2bert/http/message.h"

#include <gtest/gtest.h>

namespace m2bert {
namespace {

TEST(Message, FindsHeadersWithoutCase) {
  const std::vector<http::Header> headers = {{"Accept", "a"}, {"X-Key", "first"}, {"x-key", "second"}};
  ASSERT_NE(http::find_header(headers, "X-KEY"), nullptr);
  EXPECT_EQ(*http::find_header(headers, "X-KEY"), "first");
  EXPECT_EQ(http::find_header(headers, "X-Ke"), nullptr);
}

TEST(Message, KnowsReasons) {
  EXPECT_EQ(http::reason(200), "OK");
  EXPECT_EQ(http::reason(431), "Request Header Fields Too Large");
  EXPECT_EQ(http::reason(299), "");
}

TEST(Message, DecodesPercent) {
  EXPECT_EQ(http::percent_decode("a%20b%C3%a4+"), "a b\xC3\xA4+");
  EXPECT_EQ(http::percent_decode("%00"), std::string(1, '\0'));
  EXPECT_EQ(http::percent_decode(""), "");
  for (const char* bad : {"%", "%2", "a%2", "%zz", "%2g", "%%20", "% 1"}) EXPECT_EQ(http::percent_decode(bad), std::nullopt) << bad;
}

}  // namespace
}  // namespace m2bert
