#include "m2bert/http/request_parser.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace m2bert {
namespace {

using http::RequestParser;
using State = RequestParser::State;

// Gives the parser pieces of this size; returns how many bytes it took.
size_t put_in_pieces(RequestParser& parser, std::string_view bytes, size_t piece) {
  size_t taken = 0;
  for (size_t end = 0; end < bytes.size();) {
    end = std::min(end + piece, bytes.size());
    for (State before = State::failed; parser.state() != before;) {
      before = parser.state();
      if (before == State::header || before == State::body) taken += parser.put(bytes.substr(taken, end - taken));
    }
  }
  return taken;
}

TEST(RequestParser, ReadsTheSameFromPieces) {
  const std::string chunked =
      "POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA;x=\"y\"\r\n0123456789\r\n0\r\nT: 1\r\n\r\n";
  const std::string sized = "\r\nPUT http://x/a?q HTTP/1.1\r\nHost: x\r\nX-Y:  z \r\nContent-Length: 3\r\n\r\nabc";
  const std::string none = "GET / HTTP/1.0\r\n\r\n";
  for (const std::string& bytes : {chunked, sized, none}) {
    RequestParser whole(1000, 1000);
    ASSERT_EQ(put_in_pieces(whole, bytes + "GET", 1000), bytes.size());
    ASSERT_EQ(whole.state(), State::done);
    for (size_t piece = 1; piece < bytes.size(); ++piece) {
      RequestParser parser(1000, 1000);
      EXPECT_EQ(put_in_pieces(parser, bytes + "GET", piece), bytes.size());
      ASSERT_EQ(parser.state(), State::done) << piece << ": " << parser.message();
      EXPECT_EQ(parser.request()->body, whole.request()->body);
      EXPECT_EQ(parser.request()->path, whole.request()->path);
      EXPECT_EQ(parser.request()->headers.size(), whole.request()->headers.size());
    }
  }
}

TEST(RequestParser, StopsBehindTheHeader) {
  RequestParser parser(1000, 2);
  const std::string bytes = "POST /a HTTP/1.1\r\nHost: x\r\nx-y:  z \r\nContent-Length: 3\r\nExpect: 100-Continue\r\n\r\nabc";
  EXPECT_EQ(parser.put(bytes), bytes.size() - 3);
  EXPECT_EQ(parser.state(), State::body);
  EXPECT_EQ(parser.request()->method, "POST");
  EXPECT_EQ(*parser.request()->header("X-Y"), "z");
  EXPECT_TRUE(parser.expects_continue());
  EXPECT_TRUE(parser.keep_alive());
  EXPECT_EQ(parser.put(""), 0u);  // too long for the limit of two bytes
  EXPECT_EQ(parser.state(), State::failed);
  EXPECT_EQ(parser.status(), 413);
}

TEST(RequestParser, KnowsWhetherTheConnectionStaysOpen) {
  const auto keeps_alive = [](const std::string& version, const std::string& connection) {
    RequestParser parser(1000, 1000);
    parser.put("GET / HTTP/" + version + "\r\nHost: x\r\nConnection: " + connection + "\r\n\r\n");
    EXPECT_EQ(parser.state(), State::done);
    EXPECT_EQ(parser.is_http10(), version == "1.0");
    return parser.keep_alive();
  };
  EXPECT_TRUE(keeps_alive("1.1", "x"));
  EXPECT_FALSE(keeps_alive("1.1", "x, Close"));
  EXPECT_FALSE(keeps_alive("1.0", "x"));
  EXPECT_TRUE(keeps_alive("1.0", "Keep-Alive"));
}

// A client that announces much gets no memory for it.
TEST(RequestParser, ReservesLittle) {
  RequestParser parser(1000, size_t{1} << 40);
  parser.put("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000000\r\n\r\n");
  parser.put("x");
  EXPECT_EQ(parser.state(), State::body);
  EXPECT_LE(parser.request()->body.capacity(), size_t{1} << 17);
}

TEST(RequestParser, KnowsTheHeadOfAFailedRequest) {
  RequestParser parser(1000, 1000);
  parser.put("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n");
  EXPECT_EQ(parser.state(), State::failed);
  EXPECT_EQ(parser.status(), 400);
  EXPECT_EQ(parser.request()->path, "/a");
  EXPECT_FALSE(parser.keep_alive());
}

}  // namespace
}  // namespace m2bert
