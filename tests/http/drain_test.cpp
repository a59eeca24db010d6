// The end of a server.
#include "client.h"

namespace m2bert {
namespace {

using namespace std::chrono_literals;
using test::Client, test::eventually, test::get, test::Reply, test::TestServer;

constexpr auto kLong = 60s;

bool refuses_connections(uint16_t port) {
  try {
    const Client client(port);
    return false;
  } catch (const std::exception&) {
    return true;
  }
}

TEST(Drain, EndsAServerWithoutConnections) {
  TestServer server;
  server.server->drain(kLong);
  server.join();
  EXPECT_TRUE(refuses_connections(server.port()));
}

TEST(Drain, ClosesIdleConnections) {
  TestServer server;
  Client silent(server.port()), used(server.port());
  used.send(get("/a"));
  EXPECT_EQ(used.reply().status, 200);
  server.wait_for_connections(2);
  server.server->drain(kLong);
  EXPECT_TRUE(silent.closed());
  EXPECT_TRUE(used.closed());
  server.join();
}

TEST(Drain, AnswersWhatHasBeenRead) {
  TestServer server;
  Client client(server.port()), partly(server.port());
  partly.send("POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\n\r\nbo");
  client.send(get("/held"));
  const auto held = server.handler->next_held();
  server.server->drain(kLong);
  EXPECT_TRUE(eventually([&] { return refuses_connections(server.port()); }));
  held.respond({.body = "last"});
  const Reply reply = client.reply();
  EXPECT_EQ(reply.body, "last");
  EXPECT_EQ(reply.header("Connection"), "close");
  EXPECT_TRUE(client.closed());
  client.close();
  partly.send("dy");
  EXPECT_EQ(partly.reply().body, "POST /echo? body");
  partly.close();
  server.join();
}

// Connections that the kernel has accepted, and requests that have arrived, while the server was busy.
TEST(Drain, AnswersWhatHasArrived) {
  TestServer server;
  Client open(server.port()), busy(server.port());
  open.send(get("/a"));
  EXPECT_EQ(open.reply().status, 200);
  busy.send(get("/blocks"));
  server.handler->wait_until_blocked();
  open.send(get("/b"));
  std::vector<Client> waiting;
  for (int i = 0; i < 20; ++i) {
    waiting.emplace_back(server.port());
    waiting.back().send(get("/c"));
  }
  server.server->drain(kLong);
  server.handler->unblock();
  EXPECT_EQ(busy.reply().status, 200);
  EXPECT_EQ(open.reply().body, "GET /b? ");
  for (Client& client : waiting) EXPECT_EQ(client.reply().body, "GET /c? ");
  for (Client* client : {&busy, &open}) client->close();
  waiting.clear();
  server.join();
}

TEST(Drain, EndsAfterItsLimit) {
  TestServer server;
  Client client(server.port());
  client.send(get("/held"));
  const auto held = server.handler->next_held();
  server.server->drain(kLong);
  server.server->drain(100ms);  // the later limit counts
  server.join();
  EXPECT_TRUE(client.closed());
  held.respond({.body = "too late"});
}

TEST(Drain, BeforeARun) {
  http::Server server({.port = 0}, std::make_shared<test::TestHandler>());
  server.drain(kLong);
  server.run();
}

TEST(Drain, OnSeveralThreadsUnderLoad) {
  for (int round = 0; round < 10; ++round) {
    TestServer server({.io_threads = 3});
    std::atomic<int> answered{0}, started{0};
    std::vector<std::jthread> threads;
    for (int i = 0; i < 4; ++i)
      threads.emplace_back([&] {
        Client client(server.port());
        for (;;) {
          ++started;
          if (!client.send(get("/thread"))) return;
          const Reply reply = client.reply();
          if (reply.status == 200) ++answered;
          if (reply.header("Connection") == "close" || reply.status == 0) return;
        }
      });
    EXPECT_TRUE(eventually([&] { return answered > 20; }));
    server.server->drain(kLong);
    threads.clear();
    server.join();
    EXPECT_EQ(answered, started);
  }
}

TEST(Stop, ClosesEverything) {
  TestServer server;
  Client idle(server.port()), busy(server.port()), partly(server.port());
  busy.send(get("/held"));
  partly.send("GET /");
  const auto held = server.handler->next_held();
  server.wait_for_connections(3);
  server.server->stop();
  server.join();
  EXPECT_TRUE(idle.closed());
  EXPECT_TRUE(busy.closed());
  EXPECT_TRUE(partly.closed());
}

}  // namespace
}  // namespace m2bert
