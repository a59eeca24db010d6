#include "m2bert/http/net/channel.h"

#include <type_traits>

namespace m2bert::http {
namespace {

using Tcp = asio::ip::tcp;

auto with_error(error_code& error) { return asio::redirect_error(asio::use_awaitable, error); }

std::string peer_of(const Tcp::socket& socket) {
  error_code error;
  const Tcp::endpoint endpoint = socket.remote_endpoint(error);
  return error ? "" : endpoint.address().to_string();
}
std::string peer_of(const asio::local::stream_protocol::socket&) { return "unix"; }

template <class Socket>
class SocketChannel : public Channel {
 public:
  explicit SocketChannel(Socket socket) : socket_(std::move(socket)), peer_(peer_of(socket_)) {
    if constexpr (std::is_same_v<Socket, Tcp::socket>) {
      error_code ignored;
      socket_.set_option(Tcp::no_delay(true), ignored);
    }
  }

  asio::any_io_executor executor() override { return socket_.get_executor(); }
  std::string peer() const override { return peer_; }

  asio::awaitable<void> handshake(error_code& error) override {
    error = {};
    co_return;
  }
  asio::awaitable<size_t> read_some(asio::mutable_buffer into, error_code& error) override {
    return socket_.async_read_some(into, with_error(error));
  }
  asio::awaitable<void> write(std::string_view bytes, error_code& error) override {
    co_await asio::async_write(socket_, asio::buffer(bytes), with_error(error));
  }
  asio::awaitable<void> finish_sending(error_code& error) override {
    socket_.shutdown(asio::socket_base::shutdown_send, error);
    co_return;
  }
  asio::awaitable<size_t> discard_some(asio::mutable_buffer into, error_code& error) override { return read_some(into, error); }

  void cancel() override {
    error_code ignored;
    socket_.cancel(ignored);
  }
  bool cancel_can_miss() const override { return false; }
  void close() override {
    error_code ignored;
    socket_.close(ignored);
  }

 private:
  Socket socket_;
  std::string peer_;
};

class TlsChannel : public Channel {
 public:
  TlsChannel(Tcp::socket socket, std::shared_ptr<asio::ssl::context> context)
      : context_(std::move(context)), peer_(peer_of(socket)), stream_(std::move(socket), *context_) {
    error_code ignored;
    this->socket().set_option(Tcp::no_delay(true), ignored);
  }

  asio::any_io_executor executor() override { return stream_.get_executor(); }
  std::string peer() const override { return peer_; }

  asio::awaitable<void> handshake(error_code& error) override {
    co_await stream_.async_handshake(asio::ssl::stream_base::server, with_error(error));
  }
  asio::awaitable<size_t> read_some(asio::mutable_buffer into, error_code& error) override {
    return stream_.async_read_some(into, with_error(error));
  }
  asio::awaitable<void> write(std::string_view bytes, error_code& error) override {
    co_await asio::async_write(stream_, asio::buffer(bytes), with_error(error));
  }
  asio::awaitable<void> finish_sending(error_code& error) override {
    co_await stream_.async_shutdown(with_error(error));  // until the client answers, or sends other bytes
    socket().shutdown(asio::socket_base::shutdown_send, error);
  }
  asio::awaitable<size_t> discard_some(asio::mutable_buffer into, error_code& error) override {
    return socket().async_read_some(into, with_error(error));
  }

  void cancel() override {
    error_code ignored;
    socket().cancel(ignored);
  }
  bool cancel_can_miss() const override { return true; }
  void close() override {
    error_code ignored;
    socket().close(ignored);
  }

 private:
  Tcp::socket& socket() { return stream_.next_layer(); }

  std::shared_ptr<asio::ssl::context> context_;
  std::string peer_;
  asio::ssl::stream<Tcp::socket> stream_;
};

}  // namespace

std::unique_ptr<Channel> make_channel(Tcp::socket socket) { return std::make_unique<SocketChannel<Tcp::socket>>(std::move(socket)); }

std::unique_ptr<Channel> make_channel(asio::local::stream_protocol::socket socket) {
  return std::make_unique<SocketChannel<asio::local::stream_protocol::socket>>(std::move(socket));
}

std::unique_ptr<Channel> make_tls_channel(Tcp::socket socket, std::shared_ptr<asio::ssl::context> context) {
  return std::make_unique<TlsChannel>(std::move(socket), std::move(context));
}

}  // namespace m2bert::http
