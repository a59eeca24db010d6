#pragma once
// Sockets that accept connections.
#include <filesystem>
#include <vector>

#include "m2bert/http/net/channel.h"

namespace m2bert::http {

class Listener {
 public:
  virtual ~Listener() = default;
  virtual uint16_t port() const = 0;  // 0 of a Unix socket
  // Accepts until drain(), and then calls on_end. Both functions are called on I/O threads.
  virtual void start(std::function<void(std::unique_ptr<Channel>)> on_accept, std::function<void()> on_end) = 0;
  // From any thread: accepts what has connected so far, and closes.
  virtual void drain() = 0;
  // Only where no thread runs the listener.
  virtual void close() = 0;
};

using MakeTcpChannel = std::function<std::unique_ptr<Channel>(asio::ip::tcp::socket)>;

// Listens on all addresses of the host, on the same port. Throws if it cannot.
std::vector<std::unique_ptr<Listener>> listen_on_tcp(asio::io_context& io, const std::string& host, uint16_t port,
                                                     const MakeTcpChannel& make);
// A socket file that no server has open is replaced. Throws if there is another file, or a server. The file can be used by its owner and
// group as far as the umask allows, and is removed at the end.
std::unique_ptr<Listener> listen_on_unix(asio::io_context& io, const std::filesystem::path& file);

}  // namespace m2bert::http
