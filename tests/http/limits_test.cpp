// Limits and deadlines, and requests that are not valid.
#include "client.h"

namespace m2bert {
namespace {

using namespace std::chrono_literals;
using test::Client, test::get, test::post, test::Reply, test::TestServer;

constexpr auto kLong = 60s;

http::ServerOptions with(const http::Limits& limits) { return {.limits = limits}; }

// The response to these bytes; the connection must then be closed.
Reply last_reply(const TestServer& server, std::string_view bytes) {
  Client client(server.port());
  client.send(bytes);
  Reply reply = client.reply();
  EXPECT_EQ(reply.header("Connection"), "close") << bytes.substr(0, 100);
  EXPECT_TRUE(client.closed()) << bytes.substr(0, 100);
  return reply;
}

TEST(Limits, OfTheHeader) {
  const TestServer server(with({.header_bytes = 1000}));
  const std::string value(990, 'v');
  EXPECT_EQ(last_reply(server, "GET /a HTTP/1.1\r\nHost: test\r\nX: " + value + "\r\n\r\n").status, 431);
  EXPECT_EQ(last_reply(server, "GET /" + value + value).status, 431);
  Client client(server.port());
  client.send("GET /a HTTP/1.1\r\nHost: test\r\nX: " + std::string(900, 'v') + "\r\n\r\n");
  EXPECT_EQ(client.reply().status, 200);
}

// Each part is below the limit.
TEST(Limits, OfAHeaderInPieces) {
  const TestServer server(with({.header_bytes = 1000}));
  Client client(server.port());
  client.send("GET /a HTTP/1.1\r\nHost: test\r\n");
  for (int i = 0; i < 300 && !client.has_bytes(0); ++i) client.send("X-" + std::to_string(i) + ": value\r\n");
  EXPECT_EQ(client.reply().status, 431);
}

TEST(Limits, OfABodyWithLength) {
  const TestServer server(with({.body_bytes = 1000}));
  Client client(server.port());
  client.send(post("/echo", std::string(1000, 'b')));
  EXPECT_EQ(client.reply().status, 200);
  const Reply reply = last_reply(server, "POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 1001\r\n\r\n");
  EXPECT_EQ(reply.status, 413);
  EXPECT_EQ(reply.body, "/echo: The body has 1001 bytes; the limit is 1000.");
}

// The client sends all of its body before it reads.
TEST(Limits, OfABodyThatIsUnderWay) {
  const TestServer server(with({.body_bytes = 1000}));
  const std::string megabyte(1 << 20, 'b');
  for (const bool chunked : {false, true}) {
    Client client(server.port());
    client.send("POST /echo HTTP/1.1\r\nHost: test\r\n");
    client.send(chunked ? "Transfer-Encoding: chunked\r\n\r\n" : "Content-Length: 16777216\r\n\r\n");
    for (int i = 0; i < 16; ++i) EXPECT_TRUE(client.send((chunked ? "100000\r\n" : "") + megabyte + (chunked ? "\r\n" : "")));
    EXPECT_EQ(client.reply().status, 413);
    EXPECT_TRUE(client.closed());
  }
}

TEST(Limits, OfAChunkedBodyInSmallChunks) {
  const TestServer server(with({.body_bytes = 1000}));
  std::string chunks = "POST /echo HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n";
  for (int i = 0; i < 101; ++i) chunks += "a\r\n0123456789\r\n";
  EXPECT_EQ(last_reply(server, chunks + "0\r\n\r\n").status, 413);
}

TEST(Limits, OfChunkHeadersAndTrailers) {
  const TestServer server(with({.header_bytes = 1000}));
  const std::string head = "POST /echo HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n";
  EXPECT_EQ(last_reply(server, head + "1;" + std::string(5000, 'x')).status, 431);
  EXPECT_EQ(last_reply(server, head + "0\r\nX: " + std::string(5000, 'x')).status, 431);
}

TEST(Limits, OfTheTimeOfAHeader) {
  const TestServer server(with({.header_timeout = 200ms}));
  EXPECT_EQ(last_reply(server, "GET /a HTTP/1.1\r\nHo").status, 408);
}

// Bytes that trickle in do not move the deadline.
TEST(Limits, OfTheTimeOfASlowHeader) {
  const TestServer server(with({.header_timeout = 200ms, .idle_timeout = kLong}));
  Client client(server.port());
  client.send("GET /a HTTP/1.1\r\nX: ");
  for (int i = 0; i < 3000 && !client.has_bytes(10); ++i) client.send("x");
  EXPECT_EQ(client.reply().status, 408);
}

TEST(Limits, OfTheTimeOfABody) {
  const TestServer server(with({.header_timeout = kLong, .body_timeout = 200ms}));
  const Reply reply = last_reply(server, "POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\nabc");
  EXPECT_EQ(reply.status, 408);
  EXPECT_EQ(reply.body, "/echo: The body of the request came too slowly.");
}

TEST(Limits, OfTheTimeWithoutARequest) {
  const TestServer server(with({.header_timeout = kLong, .idle_timeout = 200ms}));
  Client silent(server.port()), used(server.port());
  used.send(get("/a"));
  EXPECT_EQ(used.reply().status, 200);
  EXPECT_TRUE(silent.closed());
  EXPECT_TRUE(used.closed());
}

// A handler may take longer than any deadline of the connection.
TEST(Limits, DoNotApplyToTheHandler) {
  TestServer server(with({.header_timeout = 50ms, .body_timeout = 50ms, .idle_timeout = 50ms, .write_timeout = 50ms}));
  Client client(server.port());
  client.send(get("/held"));
  const auto held = server.handler->next_held();
  std::this_thread::sleep_for(300ms);
  held.respond({.body = "late"});
  EXPECT_EQ(client.reply().body, "late");
}

TEST(Limits, OfTheTimeOfAResponse) {
  const TestServer server(with({.write_timeout = 200ms}));
  Client client(server.port());
  client.send(get("/large"));
  EXPECT_TRUE(client.has_bytes(30'000));
  server.wait_for_connections(0);
}

TEST(Limits, OfTheConnections) {
  TestServer server(with({.connections = 2}));
  Client first(server.port()), second(server.port());
  server.wait_for_connections(2);
  Client third(server.port());
  third.send(get("/a"));
  const Reply reply = third.reply();
  EXPECT_EQ(reply.status, 503);
  EXPECT_EQ(reply.header("Connection"), "close");
  EXPECT_TRUE(third.closed());
  first.send(get("/a"));
  EXPECT_EQ(first.reply().status, 200);
  third.close();
  second.close();
  server.wait_for_connections(1);
  Client fourth(server.port());
  fourth.send(get("/a"));
  EXPECT_EQ(fourth.reply().status, 200);
}

// Clients that send nothing cannot hold many connections above the limit.
TEST(Limits, OfTheConnectionsAboveTheLimit) {
  const TestServer server(with({.connections = 1}));
  std::vector<Client> clients;
  for (int i = 0; i < 100; ++i) clients.emplace_back(server.port());
  EXPECT_TRUE(clients.back().closed());
  EXPECT_LE(server.server->connections(), 65u);
}

TEST(BadRequests, Get400) {
  const TestServer server;
  const std::string head = "POST /a HTTP/1.1\r\nHost: test\r\n";
  for (const std::string& bytes : {
           std::string("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11),       // the hello of TLS
           std::string("GET\r\n\r\n"),                                            //
           std::string("GET  / HTTP/1.1\r\nHost: test\r\n\r\n"),                  //
           "GET /a" + std::string(1, '\0') + "b HTTP/1.1\r\nHost: test\r\n\r\n",  //
           std::string("GET /%4 HTTP/1.1\r\nHost: test\r\n\r\n"),                 //
           std::string("GET /%zz HTTP/1.1\r\nHost: test\r\n\r\n"),                //
           std::string("GET a HTTP/1.1\r\nHost: test\r\n\r\n"),                   //
           std::string("GET ftp://x/a HTTP/1.1\r\nHost: test\r\n\r\n"),           //
           std::string("CONNECT test:80 HTTP/1.1\r\nHost: test\r\n\r\n"),         //
           std::string("GET / HTTP/1.1\r\n\r\n"),                                 // no Host
           std::string("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),           //
           std::string("GET / HTTP/1.1\r\nHost: test\r\nX : y\r\n\r\n"),          // a space before the colon
           std::string("GET / HTTP/1.1\nHost: test\n\n") + std::string(9, 'x'),   //
           head + "Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
           head + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
           head + "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
           head + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
           head + "Content-Length: 5, 6\r\n\r\nabcde",
           head + "Content-Length: -5\r\n\r\n",
           head + "Content-Length: +5\r\n\r\nabcde",
           head + "Content-Length: 0x5\r\n\r\nabcde",
           head + "Content-Length: 99999999999999999999\r\n\r\n",
           head + "Content-Length:\r\n\r\n",
           head + "Transfer-Encoding: chunked\r\n\r\nxyz\r\n",
           head + "Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
           head + "Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n",
           head + "Transfer-Encoding: chunked\r\n\r\n11111111111111111\r\n\r\n",
           std::string("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
       })
    EXPECT_EQ(last_reply(server, bytes).status, 400) << bytes;
}

TEST(BadRequests, SayWhatIsNotSupported) {
  const TestServer server;
  EXPECT_EQ(last_reply(server, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").status, 505);
  EXPECT_EQ(last_reply(server, "GET / HTTP/3.7\r\nHost: test\r\n\r\n").status, 505);
  const std::string head = "POST / HTTP/1.1\r\nHost: test\r\n";
  EXPECT_EQ(last_reply(server, head + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n").status, 501);
  EXPECT_EQ(last_reply(server, head + "Transfer-Encoding: identity\r\n\r\n").status, 501);
}

// None of these is more than a path: the server opens no file.
TEST(BadRequests, AreNotTheseOnes) {
  const TestServer server;
  Client client(server.port());
  for (const auto& [target, said] : std::vector<std::pair<std::string, std::string>>{
           {"/../../etc/passwd", "/../../etc/passwd?"},
           {"/%2e%2e/%00x", std::string("/../\0x?", 7)},
           {"//double", "//double?"},
           {"/a?b?c=%zz", "/a?b?c=%zz"},
           {"http://test", "/?"},
           {"http://test?q", "/?q"},
           {"HTTP://test:80/a%41?q=1", "/aA?q=1"},
       }) {
    client.send(get(target));
    EXPECT_EQ(client.reply().body, "GET " + said + " ") << target;
  }
  client.send("OPTIONS * HTTP/1.1\r\nHost: test\r\n\r\n");
  EXPECT_EQ(client.reply().body, "OPTIONS *? ");
  client.send("\r\n\r\nGET /after-empty-lines HTTP/1.1\r\nHost: test\r\n\r\n");
  EXPECT_EQ(client.reply().body, "GET /after-empty-lines? ");
  client.send(get("/a", "Content-Length: 2\r\nContent-Length: 2\r\n") + "ab");
  EXPECT_EQ(client.reply().body, "GET /a? ab");
}

}  // namespace
}  // namespace m2bert
