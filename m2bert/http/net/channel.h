#pragma once
// The bytes of a connection.
#include "m2bert/http/net/asio.h"

namespace m2bert::http {

// A TCP or Unix socket, or TLS on a TCP socket. Everything runs on executor(), one operation at a time.
class Channel {
 public:
  virtual ~Channel() = default;
  virtual asio::any_io_executor executor() = 0;
  virtual std::string peer() const = 0;

  virtual asio::awaitable<void> handshake(error_code& error) = 0;
  virtual asio::awaitable<size_t> read_some(asio::mutable_buffer into, error_code& error) = 0;
  virtual asio::awaitable<void> write(std::string_view bytes, error_code& error) = 0;
  // Tells the client that nothing more will be sent.
  virtual asio::awaitable<void> finish_sending(error_code& error) = 0;
  // After finish_sending(): reads bytes that nobody needs.
  virtual asio::awaitable<size_t> discard_some(asio::mutable_buffer into, error_code& error) = 0;

  // Ends the running operation with operation_aborted.
  virtual void cancel() = 0;
  // Whether cancel() can miss an operation of several steps that is between two of them, and must be called again.
  virtual bool cancel_can_miss() const = 0;
  virtual void close() = 0;
};

std::unique_ptr<Channel> make_channel(asio::ip::tcp::socket socket);
std::unique_ptr<Channel> make_channel(asio::local::stream_protocol::socket socket);
std::unique_ptr<Channel> make_tls_channel(asio::ip::tcp::socket socket, std::shared_ptr<asio::ssl::context> context);

}  // namespace m2bert::http
