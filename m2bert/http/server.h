#pragma once
// An HTTP/1.1 server on TCP, TLS and Unix sockets. It reads requests under limits and deadlines, and hands them to a handler.
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "m2bert/http/message.h"

namespace m2bert::http {

struct Limits {
  size_t header_bytes = 16 << 10;
  size_t body_bytes = 8 << 20;
  size_t connections = 8192;                         // further ones get 503 and are closed
  std::chrono::milliseconds header_timeout{10'000};  // from the first byte of a request to the end of its header; of the TLS handshake
  std::chrono::milliseconds body_timeout{60'000};
  std::chrono::milliseconds idle_timeout{75'000};   // of a connection between requests
  std::chrono::milliseconds write_timeout{60'000};  // of a response
};

struct ServerOptions {
  std::string host = "127.0.0.1";           // an address or a name; empty: no TCP
  uint16_t port = 8080;                     // 0: any free one
  std::filesystem::path unix_socket;        // empty: none. A stale socket file is replaced, another file is an error
  std::filesystem::path tls_cert, tls_key;  // PEM; both or none. TLS on TCP only
  int io_threads = 1;
  Limits limits;
};

using Respond = std::function<void(Response)>;

// What a server does with requests. The functions are called on I/O threads and must not block.
class Handler {
 public:
  virtual ~Handler() = default;
  // Called once the header is read. A response refuses the request: its body is not read, and the connection is closed behind it.
  virtual std::optional<Response> refuse(const Request& head) = 0;
  // respond must be called once, on any thread, now or later.
  virtual void handle(std::shared_ptr<Request> request, Respond respond) = 0;
  // The response to a request that is not HTTP (400), comes too slowly (408), is too large (413, 431), or finds no free connection (503).
  // head: what is known of it.
  virtual Response failed(int status, const std::string& message, const Request& head) = 0;
};

class Server {
 public:
  // Binds and listens. Errors name the address, the socket's path or the certificate's file.
  Server(const ServerOptions& options, std::shared_ptr<Handler> handler);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // The bound port; 0 without TCP.
  uint16_t port() const;
  // Serves on io_threads threads until stop() or the end of drain().
  void run();
  // From any thread: accepts no more connections, closes idle ones, answers what has been read with "Connection: close". run() returns
  // when the last connection is closed, or after the limit.
  void drain(std::chrono::milliseconds limit);
  // From any thread: closes everything at once.
  void stop();
  // Reads certificate and key again, for new connections. On an error the old ones stay, and it is thrown.
  void reload_tls();
  size_t connections() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

// Lets the process open as many files, and connections, as the system allows. Returns how many these are.
size_t raise_open_files_limit();

}  // namespace m2bert::http
