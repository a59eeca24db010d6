// Damaged requests on a server that must survive them.
#include <random>

#include "../support/scratch.h"
#include "client.h"

namespace m2bert {
namespace {

using test::Client, test::get, test::Scratch, test::TestServer;

constexpr int kRequests = 20'000;

const std::vector<std::string>& seeds() {
  static const std::vector<std::string> all = {
      get("/a?b=c"),
      get("/refused", "Content-Length: 10\r\n"),
      get("/throws"),
      get("/thread") + get("/close") + get("/c"),
      test::post("/echo", "some body", "Expect: 100-continue\r\n"),
      test::post("/%41", std::string(5000, 'x')),
      "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n5;x=y\r\n01234\r\n0\r\nT: 1\r\n\r\n",
      "HEAD http://x/a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
  };
  return all;
}

class Mutator {
 public:
  explicit Mutator(unsigned seed) : random_(seed) {}

  std::string next() {
    std::string bytes = pick(seeds());
    for (size_t changes = below(6); changes > 0; --changes) change(bytes);
    return bytes;
  }
  size_t below(size_t bound) { return std::uniform_int_distribution<size_t>(0, bound - 1)(random_); }

 private:
  const std::string& pick(const std::vector<std::string>& values) { return values[below(values.size())]; }

  void change(std::string& bytes) {
    static const std::vector<std::string> words = {"\r\n",
                                                   "\r\n\r\n",
                                                   "\r",
                                                   "\n",
                                                   "0\r\n\r\n",
                                                   ": ",
                                                   "%",
                                                   "%00",
                                                   "HTTP/1.1",
                                                   "Content-Length: 5\r\n",
                                                   "Transfer-Encoding: chunked\r\n",
                                                   "Host: y\r\n",
                                                   "ffffffffffffffff\r\n",
                                                   std::string(1, '\0'),
                                                   "\xff",
                                                   "Expect: 100-continue\r\n",
                                                   "Connection: close\r\n",
                                                   " ",
                                                   ";",
                                                   "99999999999999999999"};
    const size_t at = below(bytes.size() + 1);
    switch (below(5)) {
      case 0: bytes.insert(at, pick(words)); break;
      case 1: bytes.erase(at, below(20)); break;
      case 2: bytes.insert(at, 1, static_cast<char>(below(256))); break;
      case 3:
        if (at < bytes.size()) bytes[at] = static_cast<char>(bytes[at] ^ (1 << below(8)));
        break;
      default: bytes.insert(at, pick(seeds()).substr(0, below(100)));
    }
    if (bytes.empty()) bytes = "x";
  }

  std::mt19937 random_;
};

// Every response that comes has a status that the server means.
void check_responses(const std::string& bytes, const std::string& request) {
  if (bytes.empty()) return;
  ASSERT_TRUE(bytes.starts_with("HTTP/1.1 ")) << request;
  const int status = std::stoi(bytes.substr(9, 3));
  for (const int known : {100, 200, 204, 400, 401, 408, 413, 417, 431, 500, 501, 505})
    if (status == known) return;
  ADD_FAILURE() << status << " to " << request;
}

TEST(DamagedRequests, DoNotStopTheServer) {
  const Scratch scratch;
  TestServer server({.unix_socket = scratch / "socket", .io_threads = 2, .limits = {.header_bytes = 2000, .body_bytes = 10'000}});
  Mutator mutator(17);
  for (int i = 0; i < kRequests; ++i) {
    const std::string bytes = mutator.next();
    SCOPED_TRACE(bytes);
    Client client(scratch / "socket");
    const size_t cut = mutator.below(bytes.size() + 1);
    client.send(std::string_view(bytes).substr(0, cut));
    client.send(std::string_view(bytes).substr(cut));
    if (mutator.below(4) == 0) continue;  // goes away at once
    client.finish_sending();
    check_responses(client.read_to_end(), bytes);
  }
  server.wait_for_connections(0);
  Client client(server.port());
  client.send(get("/a"));
  EXPECT_EQ(client.reply().body, "GET /a? ");
}

}  // namespace
}  // namespace m2bert
