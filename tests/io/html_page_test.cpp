#include "m2bert/io/html_page.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "tests/support/scratch.h"

namespace m2bert::io {
namespace {

using test::has;
using test::Scratch;

TEST(HtmlPage, EscapesTextInTitles) {
  EXPECT_EQ(html_text("<a href=\"x\">&'"), "&lt;a href=&quot;x&quot;&gt;&amp;&#39;");
  const std::string page = html_page({"m2bert eval", "a < b", "<p>body</p>", "p { margin: 0 }"});
  EXPECT_PRED2(has, page, "<title>a &lt; b</title>");
  EXPECT_PRED2(has, page, "<p>body</p>");
  EXPECT_PRED2(has, page, "p { margin: 0 }</style>");
}

TEST(HtmlPage, IsKnownByItsGenerator) {
  const Scratch scratch;
  const auto page = scratch.put("page.html", html_page({"m2bert eval", "title", "", ""}));
  EXPECT_TRUE(is_page_of(page, "m2bert eval"));
  EXPECT_FALSE(is_page_of(page, "m2bert report"));
  EXPECT_FALSE(is_page_of(scratch.put("other.html", "<!doctype html>\n<html></html>"), "m2bert eval"));
  EXPECT_FALSE(is_page_of(scratch / "none.html", "m2bert eval"));
  ASSERT_EQ(::mkfifo((scratch / "pipe").c_str(), 0600), 0);
  EXPECT_FALSE(is_page_of(scratch / "pipe", "m2bert eval"));  // at once: nobody writes into it
}

}  // namespace
}  // namespace m2bert::io
