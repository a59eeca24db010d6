#pragma once
// A client that sends what it is told to, byte by byte, and a server in this process for it.
#include <gtest/gtest.h>
#include <openssl/ssl.h>

#include <condition_variable>
#include <deque>
#include <filesystem>
#include <memory>
#include <mutex>
#include <semaphore>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "m2bert/http/server.h"

namespace m2bert::test {

struct Reply {
  int status = 0;  // 0: the connection ended before a response
  std::vector<http::Header> headers;
  std::string body;
  std::string header(const std::string& name) const {
    const std::string* found = http::find_header(headers, name);
    return found ? *found : "";
  }
};

// Every wait ends after half a minute, with a failure.
class Client {
 public:
  explicit Client(uint16_t port);
  explicit Client(const std::filesystem::path& unix_socket);
  ~Client();
  Client(Client&& other) noexcept : fd_(std::exchange(other.fd_, -1)), ssl_(std::move(other.ssl_)), rest_(std::move(other.rest_)) {}

  // TLS from here on; alpn in the form of the protocol, as "\x02h2". False if the handshake fails.
  bool start_tls(std::string_view alpn = {}, int version = TLS1_3_VERSION);
  std::string alpn() const;
  std::string certificate_name() const;

  // False if the connection is broken.
  bool send(std::string_view bytes);
  // The next response. is_head: without a body, as to HEAD.
  Reply reply(bool is_head = false);
  // What arrives until the server closes the connection.
  std::string read_to_end();
  // Whether the server closes the connection without another byte.
  bool closed() { return read_to_end().empty(); }
  // Whether anything, or the end, has arrived.
  bool has_bytes(int milliseconds);
  void finish_sending();
  void close();

 private:
  struct FreeSsl {
    void operator()(SSL* ssl) const { SSL_free(ssl); }
  };
  bool read_some();

  int fd_ = -1;
  std::unique_ptr<SSL, FreeSsl> ssl_;
  std::string rest_;
};

std::string get(const std::string& target, const std::string& headers = "");
std::string post(const std::string& target, const std::string& body, const std::string& headers = "");

// What it does depends on the path. It answers all else with method, path, query and body.
//   /refused         refuse() answers 401
//   /held            the test answers: next_held()
//   /thread          answers on another thread
//   /throws, /drops  handle() throws; it drops the request
//   /refuse-throws   refuse() throws
//   /blocks          handle() blocks: wait_until_blocked(), unblock()
//   /large           20 million bytes
//   /close           closes the connection behind the response
//   /none            204
//   /bad-header      headers with line breaks
class TestHandler : public http::Handler {
 public:
  struct Held {
    std::shared_ptr<http::Request> request;
    http::Respond respond;
  };
  ~TestHandler() override;
  std::optional<http::Response> refuse(const http::Request& head) override;
  void handle(std::shared_ptr<http::Request> request, http::Respond respond) override;
  http::Response failed(int status, const std::string& message, const http::Request& head) override;

  Held next_held();
  void wait_until_blocked() { blocked_.acquire(); }
  void unblock() { unblocked_.release(); }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Held> held_;
  std::binary_semaphore blocked_{0}, unblocked_{0};
  std::vector<std::jthread> threads_;
};

// Runs until the end of the test.
class TestServer {
 public:
  explicit TestServer(http::ServerOptions options = {});
  ~TestServer();
  uint16_t port() const { return server->port(); }
  // Waits until run() has returned.
  void join() {
    if (thread_.joinable()) thread_.join();
  }
  // Waits until so many connections are open.
  void wait_for_connections(size_t count) const;

  std::shared_ptr<TestHandler> handler = std::make_shared<TestHandler>();
  std::unique_ptr<http::Server> server;

 private:
  std::thread thread_;
};

// Waits until it holds, for half a minute at most.
template <class Condition>
bool eventually(Condition condition) {
  for (int i = 0; i < 3000; ++i) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return false;
}

// A self-signed certificate of this name and its key, as PEM.
struct Certificate {
  std::string certificate, key;
};
Certificate make_certificate(const std::string& name);

}  // namespace m2bert::test
