#include "m2bert/http/server.h"

#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>

#include "../support/scratch.h"
#include "client.h"

namespace m2bert {
namespace {

using test::Client, test::get, test::Scratch, test::TestServer;

TEST(Server, AnswersOnTcpAndUnixSocket) {
  const Scratch scratch;
  TestServer server({.unix_socket = scratch / "socket"});
  Client tcp(server.port()), local(scratch / "socket");
  tcp.send(get("/a"));
  local.send(get("/b"));
  EXPECT_EQ(tcp.reply().body, "GET /a? ");
  EXPECT_EQ(local.reply().body, "GET /b? ");
}

TEST(Server, KnowsTheAddressOfTheClient) {
  const Scratch scratch;
  TestServer server({.unix_socket = scratch / "socket"});
  Client tcp(server.port()), local(scratch / "socket");
  tcp.send(get("/held"));
  EXPECT_EQ(server.handler->next_held().request->peer, "127.0.0.1");
  local.send(get("/held"));
  EXPECT_EQ(server.handler->next_held().request->peer, "unix");
}

TEST(Server, ServesOnSeveralThreads) {
  TestServer server({.io_threads = 4});
  std::vector<std::jthread> threads;
  std::atomic<int> answered{0};
  for (int i = 0; i < 8; ++i)
    threads.emplace_back([&] {
      Client client(server.port());
      for (int request = 0; request < 200; ++request) {
        client.send(get(request % 4 == 0 ? "/thread" : "/x"));
        if (client.reply().status == 200) ++answered;
      }
    });
  threads.clear();
  EXPECT_EQ(answered, 1600);
}

TEST(Server, SaysWhichAddressIsTaken) {
  TestServer first;
  const std::string message = test::error_of([&] { http::Server({.port = first.port()}, std::make_shared<test::TestHandler>()); });
  EXPECT_NE(message.find("127.0.0.1:" + std::to_string(first.port())), std::string::npos) << message;
  EXPECT_NE(test::error_of([&] { http::Server({.host = "no.such.host.invalid"}, nullptr); }).find("no.such.host.invalid"),
            std::string::npos);
  EXPECT_NE(test::error_of([&] { http::Server({.host = ""}, nullptr); }).find("neither a host nor a Unix socket"), std::string::npos);
}

TEST(Server, MayEndWithoutARun) {
  const Scratch scratch;
  const http::Server server({.port = 0, .unix_socket = scratch / "socket"}, std::make_shared<test::TestHandler>());
  EXPECT_GT(server.port(), 0);
  EXPECT_EQ(server.connections(), 0u);
}

TEST(Server, StopsBeforeARun) {
  http::Server server({.port = 0}, std::make_shared<test::TestHandler>());
  server.stop();
  server.run();
}

TEST(Server, ReplacesAStaleSocketFile) {
  const Scratch scratch;
  const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, (scratch / "socket").c_str(), sizeof address.sun_path - 1);
  ASSERT_EQ(::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  ::close(fd);
  {
    TestServer server({.unix_socket = scratch / "socket"});
    struct stat status{};
    ASSERT_EQ(::stat((scratch / "socket").c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0117, 0u);
    Client client(scratch / "socket");
    client.send(get("/a"));
    EXPECT_EQ(client.reply().status, 200);
  }
  EXPECT_FALSE(std::filesystem::exists(scratch / "socket"));
}

TEST(Server, LeavesOtherFilesAlone) {
  const Scratch scratch;
  scratch.put("file", "text");
  EXPECT_NE(test::error_of([&] { http::Server({.host = "", .unix_socket = scratch / "file"}, nullptr); }).find("is not a socket"),
            std::string::npos);
  EXPECT_TRUE(std::filesystem::exists(scratch / "file"));
  TestServer server({.unix_socket = scratch / "socket"});
  EXPECT_NE(test::error_of([&] { http::Server({.host = "", .unix_socket = scratch / "socket"}, nullptr); }).find("another server"),
            std::string::npos);
  const std::string longer(200, 'x');
  EXPECT_NE(test::error_of([&] { http::Server({.host = "", .unix_socket = scratch / longer}, nullptr); }).find("bytes"), std::string::npos);
}

TEST(Server, LeavesTheSocketFileOfItsSuccessor) {
  const Scratch scratch;
  auto first = std::make_unique<TestServer>(http::ServerOptions{.unix_socket = scratch / "socket"});
  std::filesystem::remove(scratch / "socket");
  TestServer second({.unix_socket = scratch / "socket"});
  first.reset();
  EXPECT_TRUE(std::filesystem::exists(scratch / "socket"));
}

// Where the process has no descriptor left, waiting clients are served later.
TEST(Server, WaitsForDescriptors) {
  TestServer server;
  struct rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  Client first(server.port());
  first.send(get("/a"));
  EXPECT_EQ(first.reply().status, 200);
  const int next = ::dup(0);
  ::close(next);
  struct rlimit low = limit;
  low.rlim_cur = static_cast<rlim_t>(next) + 1;  // for the client
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &low), 0);
  Client second(server.port());
  second.send(get("/b"));
  EXPECT_FALSE(second.has_bytes(300));
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &limit), 0);
  EXPECT_EQ(second.reply().status, 200);
}

TEST(Server, HoldsFiveThousandConnections) {
  const size_t files = http::raise_open_files_limit();
  const size_t count = std::min<size_t>(5000, files > 200 ? (files - 200) / 2 : 10);  // both ends are in this process
  if (count < 5000) std::printf("only %zu connections: the limit of open files is %zu\n", count, files);
  TestServer server;
  std::vector<Client> clients;
  clients.reserve(count);
  for (size_t i = 0; i < count; ++i) clients.emplace_back(server.port());
  for (Client& client : clients) client.send(get("/a"));
  size_t answered = 0;
  for (Client& client : clients) answered += client.reply().status == 200 ? 1 : 0;
  EXPECT_EQ(answered, count);
  server.wait_for_connections(count);
  clients.clear();
  server.wait_for_connections(0);
}

}  // namespace
}  // namespace m2bert
