#include "m2bert/io/http_client.h"

#include <gtest/gtest.h>

#include "tests/support/scratch.h"

namespace m2bert::io {
namespace {

using m2bert::test::error_of;
using m2bert::test::has;

TEST(Origin, IsSchemeHostAndPort) {
  EXPECT_EQ(origin_of("https://Hub.Example/a/b?c"), "https://hub.example:443");
  EXPECT_EQ(origin_of("http://hub.example"), origin_of("http://hub.example:80/x"));
  EXPECT_NE(origin_of("http://hub.example"), origin_of("https://hub.example"));
  EXPECT_NE(origin_of("http://127.0.0.1:8080"), origin_of("http://localhost:8080"));
  EXPECT_NE(origin_of("http://hub.example.evil"), origin_of("http://hub.example"));
}

TEST(Origin, RefusesOtherSchemesUsersAndNonsense) {
  for (const char* url :
       {"file:///etc/passwd", "ftp://host/x", "hub.example", "", "http://", "http://a b/", "http://host/\n", "javascript:1"})
    EXPECT_NE(error_of([&] { (void)origin_of(url); }), "") << url;
  const std::string message = error_of([] { (void)origin_of("https://name:pazzword@host/x"); });
  EXPECT_TRUE(has(message, "user name or password"));
  EXPECT_EQ(message.find("pazzword"), std::string::npos) << message;
}

TEST(RedirectTarget, IsResolvedAgainstTheAddress) {
  EXPECT_EQ(redirect_target("https://hub/a/b", "/c"), "https://hub/c");
  EXPECT_EQ(redirect_target("https://hub/a/b", "c?d=1"), "https://hub/a/c?d=1");
  EXPECT_EQ(redirect_target("https://hub/a", "//cdn.example/x"), "https://cdn.example/x");
  EXPECT_EQ(redirect_target("http://hub/a", "https://cdn.example/x"), "https://cdn.example/x");
}

TEST(RedirectTarget, StaysWithHttpAndNeverLosesEncryption) {
  EXPECT_TRUE(has(error_of([] { (void)redirect_target("https://hub/a", "http://hub/a"); }), "from https to http"));
  for (const char* location : {"file:///etc/passwd", "ftp://host/", "gopher://host/", "data:,x", "http://", "\x1b[31m", "http://a:b@host/"})
    EXPECT_NE(error_of([&] { (void)redirect_target("http://hub/a", location); }), "") << location;
}

TEST(ShownUrl, HidesSignaturesPasswordsAndControlCharacters) {
  EXPECT_EQ(shown_url("https://cdn/x?Signature=s3cret#part"), "https://cdn/x");
  EXPECT_EQ(shown_url("https://name:pass@cdn/x@y"), "https://cdn/x@y");
  EXPECT_EQ(shown_url("http://cdn/\x1b[31m"), "http://cdn/?[31m");
  EXPECT_LE(shown_url("http://cdn/" + std::string(100000, 'x')).size(), 300u);
}

TEST(UrlEscaped, KeepsLettersAndSlashesWhereWanted) {
  EXPECT_EQ(url_escaped("refs/pr/1"), "refs%2Fpr%2F1");
  EXPECT_EQ(url_escaped("1_Pooling/a b?#%.json", true), "1_Pooling/a%20b%3F%23%25.json");
  EXPECT_EQ(url_escaped("\xc3\xa4"), "%C3%A4");
}

TEST(HeaderNumber, AcceptsDigitsOnly) {
  const auto number = [](const std::string& text) { return header_number(&text); };
  EXPECT_EQ(number("0"), 0u);
  EXPECT_EQ(number("1000000000000"), 1000000000000u);
  for (const char* text : {"", "-1", "+1", " 1", "1 ", "0x10", "1e3", "99999999999999999999999", "18446744073709551615"})
    EXPECT_EQ(number(text), std::nullopt) << text;
  EXPECT_EQ(header_number(nullptr), std::nullopt);
}

TEST(HttpClient, TokenWithALineBreakIsRefusedWithoutShowingIt) {
  const std::string message = error_of([] { HttpClient client({.token = "s3cret\r\nX-Evil: 1", .token_origin = "http://hub"}); });
  EXPECT_EQ(message.find("s3cret"), std::string::npos) << message;
}

TEST(HttpClient, UnreachableServerIsAnHttpError) {
  HttpClient client({.attempts = 2, .first_wait = std::chrono::milliseconds(1)});
  EXPECT_THROW((void)client.send({.url = "http://127.0.0.1:1/"}), HttpError);
}

}  // namespace
}  // namespace m2bert::io
