// Requests and responses on a connection.
#include "client.h"

namespace m2bert {
namespace {

using test::Client, test::eventually, test::get, test::post, test::Reply, test::TestServer;

TEST(Connection, StaysOpen) {
  TestServer server;
  Client client(server.port());
  for (const char* path : {"/a", "/b", "/thread"}) {
    client.send(get(path));
    const Reply reply = client.reply();
    EXPECT_EQ(reply.status, 200);
    EXPECT_EQ(reply.header("Connection"), "");
  }
  EXPECT_EQ(server.server->connections(), 1u);
}

TEST(Connection, SaysServerAndDate) {
  TestServer server;
  Client client(server.port());
  client.send(get("/a"));
  const Reply reply = client.reply();
  EXPECT_EQ(reply.header("Server"), "m2bert");
  EXPECT_EQ(reply.header("Date").size(), 29u);
  EXPECT_TRUE(reply.header("Date").ends_with(" GMT"));
  EXPECT_EQ(reply.header("Content-Type"), "text/plain");
}

TEST(Connection, AnswersPipelinedRequestsInOrder) {
  TestServer server;
  Client client(server.port());
  client.send(get("/held") + get("/second") + post("/third", "body") + get("/fourth", "Connection: close\r\n"));
  EXPECT_FALSE(client.has_bytes(50));
  server.handler->next_held().respond({.body = "first"});
  EXPECT_EQ(client.reply().body, "first");
  EXPECT_EQ(client.reply().body, "GET /second? ");
  EXPECT_EQ(client.reply().body, "POST /third? body");
  EXPECT_EQ(client.reply().body, "GET /fourth? ");
  EXPECT_TRUE(client.closed());
}

// More than the buffer of a connection that waits for its handler.
TEST(Connection, HoldsALongPipeline) {
  TestServer server;
  Client client(server.port());
  std::string requests = get("/held");
  for (int i = 0; i < 2000; ++i) requests += get("/x" + std::to_string(i));
  std::thread sender([&] { client.send(requests); });
  const auto held = server.handler->next_held();
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  held.respond({.body = "first"});
  EXPECT_EQ(client.reply().body, "first");
  for (int i = 0; i < 2000; ++i) ASSERT_EQ(client.reply().body, "GET /x" + std::to_string(i) + "? ");
  sender.join();
}

TEST(Connection, ReadsBodies) {
  TestServer server;
  Client client(server.port());
  const std::string body(3'000'000, 'b');
  client.send(post("/echo", body));
  EXPECT_EQ(client.reply().body, "POST /echo? " + body);
  client.send(
      "POST /echo HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nWiki\r\n5;name=value\r\npedia\r\n0\r\nX-Trailer: "
      "1\r\n\r\n");
  EXPECT_EQ(client.reply().body, "POST /echo? Wikipedia");
  client.send(post("/echo", ""));
  EXPECT_EQ(client.reply().body, "POST /echo? ");
}

TEST(Connection, ReadsRequestsByteByByte) {
  TestServer server;
  Client client(server.port());
  const std::string head = "POST /a%20b?q=%20 HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n";
  for (const char byte : head + "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n") client.send({&byte, 1});
  EXPECT_EQ(client.reply().body, "POST /a b?q=%20 abcde");
}

TEST(Connection, AnswersExpectContinue) {
  TestServer server;
  Client client(server.port());
  client.send("POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_EQ(client.reply().status, 100);
  client.send("body");
  EXPECT_EQ(client.reply().body, "POST /echo? body");
}

TEST(Connection, DoesNotAskForABodyThatIsRefused) {
  TestServer server({.limits = {.body_bytes = 100}});
  Client client(server.port());
  client.send("POST /refused HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_EQ(client.reply().status, 401);
  Client second(server.port());
  second.send("POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 400\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_EQ(second.reply().status, 413);
  Client third(server.port());
  third.send("POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\nExpect: something\r\n\r\n");
  EXPECT_EQ(third.reply().status, 417);
}

TEST(Connection, RefusesBeforeTheBody) {
  TestServer server;
  Client client(server.port());
  client.send("POST /refused HTTP/1.1\r\nHost: test\r\nContent-Length: 1000000\r\n\r\n");
  const Reply reply = client.reply();
  EXPECT_EQ(reply.status, 401);
  EXPECT_EQ(reply.body, "no key");
  EXPECT_EQ(reply.header("Connection"), "close");
  EXPECT_TRUE(client.closed());
}

TEST(Connection, SendsNoBodyToHead) {
  TestServer server;
  Client client(server.port());
  client.send("HEAD /a HTTP/1.1\r\nHost: test\r\n\r\n" + get("/b"));
  const Reply head = client.reply(true);
  EXPECT_EQ(head.status, 200);
  EXPECT_EQ(head.header("Content-Length"), std::to_string(std::string("HEAD /a? ").size()));
  EXPECT_EQ(client.reply().body, "GET /b? ");
}

TEST(Connection, Sends204WithoutALength) {
  TestServer server;
  Client client(server.port());
  client.send(get("/none") + get("/b"));
  const Reply none = client.reply();
  EXPECT_EQ(none.status, 204);
  EXPECT_EQ(none.header("Content-Length"), "");
  EXPECT_EQ(client.reply().body, "GET /b? ");
}

TEST(Connection, SpeaksHttp10) {
  TestServer server;
  Client client(server.port());
  client.send("GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /b HTTP/1.0\r\n\r\n");
  EXPECT_EQ(client.reply().header("Connection"), "keep-alive");
  const Reply last = client.reply();
  EXPECT_EQ(last.body, "GET /b? ");
  EXPECT_EQ(last.header("Connection"), "close");
  EXPECT_TRUE(client.closed());
}

TEST(Connection, ClosesWhereTheResponseSaysSo) {
  TestServer server;
  Client client(server.port());
  client.send(get("/close") + get("/b"));
  const Reply reply = client.reply();
  EXPECT_EQ(reply.body, "closing");
  EXPECT_EQ(reply.header("Connection"), "close");
  EXPECT_TRUE(client.closed());
}

TEST(Connection, SendsLargeResponses) {
  TestServer server;
  Client client(server.port());
  client.send(get("/large") + get("/b"));
  EXPECT_EQ(client.reply().body, std::string(20'000'000, 'x'));
  EXPECT_EQ(client.reply().body, "GET /b? ");
}

TEST(Connection, LeavesOutHeadersThatWouldBreakTheResponse) {
  TestServer server;
  Client client(server.port());
  client.send(get("/bad-header"));
  const Reply reply = client.reply();
  EXPECT_EQ(reply.header("X-Good"), "1");
  for (const http::Header& header : reply.headers) EXPECT_TRUE(header.name == "X-Good" || !header.name.starts_with("X")) << header.name;
}

TEST(Connection, Answers500WhereTheHandlerFails) {
  TestServer server;
  Client client(server.port());
  client.send(get("/throws"));
  Reply reply = client.reply();
  EXPECT_EQ(reply.status, 500);
  EXPECT_EQ(reply.body, "/throws: handle threw");
  client.send(get("/drops"));
  reply = client.reply();
  EXPECT_EQ(reply.status, 500);
  EXPECT_EQ(reply.body, "/drops: The server gave no response.");
  client.send(get("/refuse-throws"));
  EXPECT_EQ(client.reply().body, "/refuse-throws: refuse threw");
}

TEST(Connection, TakesOneResponse) {
  TestServer server;
  Client client(server.port());
  client.send(get("/held"));
  const auto held = server.handler->next_held();
  held.respond({.body = "one"});
  held.respond({.body = "two"});
  EXPECT_EQ(client.reply().body, "one");
  client.send(get("/b"));
  EXPECT_EQ(client.reply().body, "GET /b? ");
}

TEST(Connection, NoticesThatTheClientIsGone) {
  TestServer server;
  for (const bool pipelined : {false, true}) {
    Client client(server.port());
    client.send(get("/held") + (pipelined ? get("/b") : ""));
    const auto held = server.handler->next_held();
    EXPECT_FALSE(held.request->gone);
    client.close();
    EXPECT_TRUE(eventually([&] { return held.request->gone.load(); }));
    held.respond({.body = "nobody reads this"});
    server.wait_for_connections(0);
  }
}

// Programs such as nc close their side behind the request, and still read.
TEST(Connection, AnswersAClientThatHasFinishedSending) {
  TestServer server;
  Client client(server.port());
  client.send(get("/held"));
  client.finish_sending();
  const auto held = server.handler->next_held();
  EXPECT_TRUE(eventually([&] { return held.request->gone.load(); }));
  held.respond({.body = "still"});
  EXPECT_EQ(client.reply().body, "still");
  EXPECT_TRUE(client.closed());
}

TEST(Connection, TakesResponsesAfterTheServersEnd) {
  test::TestHandler::Held held;
  {
    TestServer server;
    Client client(server.port());
    client.send(get("/held"));
    held = server.handler->next_held();
  }
  held.respond({.body = "late"});
}

TEST(Connection, SurvivesClientsThatGoAwayWhileItWrites) {
  TestServer server;
  for (int i = 0; i < 20; ++i) {
    Client client(server.port());
    client.send(get("/large"));
    client.has_bytes(10'000);
  }
  server.wait_for_connections(0);
  Client client(server.port());
  client.send(get("/a"));
  EXPECT_EQ(client.reply().status, 200);
}

}  // namespace
}  // namespace m2bert
