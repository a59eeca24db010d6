#include "m2bert/http/server.h"

#include <sys/resource.h>

#include <exception>
#include <thread>
#include <vector>

#include "m2bert/error.h"
#include "m2bert/http/net/listener.h"
#include "m2bert/http/net/session.h"
#include "m2bert/http/net/tls.h"
#include "m2bert/io/log.h"

namespace m2bert::http {
namespace {

// Connections above the limit that are told so; further ones are closed at once.
constexpr size_t kToldSo = 64;

}  // namespace

class Server::Impl {
 public:
  Impl(const ServerOptions& options, std::shared_ptr<Handler> handler)
      : threads_(std::max(options.io_threads, 1)), io_(threads_), control_(asio::make_strand(io_)), drain_timer_(control_) {
    state_.limits = options.limits;
    state_.handler = std::move(handler);
    state_.on_session_end = [this] { end_if_drained(); };
    require(options.tls_cert.empty() == options.tls_key.empty(), "TLS needs both a certificate and a key.");
    require(!options.host.empty() || !options.unix_socket.empty(), "the server has neither a host nor a Unix socket to listen on.");
    if (!options.tls_cert.empty()) tls_ = std::make_unique<TlsFiles>(options.tls_cert, options.tls_key);
    if (!options.host.empty())
      listeners_ = listen_on_tcp(io_, options.host, options.port, [this](auto socket) { return channel(std::move(socket)); });
    if (!options.unix_socket.empty()) listeners_.push_back(listen_on_unix(io_, options.unix_socket));
    port_ = listeners_.front()->port();
    open_listeners_ = listeners_.size();
  }

  ~Impl() { state_.gate->close(); }

  uint16_t port() const { return port_; }
  size_t connections() const { return state_.sessions.count(); }

  void run() {
    for (const auto& listener : listeners_)
      listener->start([this](std::unique_ptr<Channel> channel) { serve(std::move(channel)); },
                      [this] {
                        --open_listeners_;
                        end_if_drained();
                      });
    {
      std::vector<std::jthread> others;
      for (int i = 1; i < threads_; ++i) others.emplace_back([this] { run_thread(); });
      run_thread();
    }
    for (const auto& listener : listeners_) listener->close();
    for (const auto& session : state_.sessions.all()) session->close();
  }

  void drain(Clock::duration limit) {
    state_.draining = true;
    asio::post(control_, [this, limit] {
      drain_timer_.expires_after(limit);
      drain_timer_.async_wait([this](error_code error) {
        if (!error) io_.stop();
      });
      for (const auto& listener : listeners_) listener->drain();
      for (const auto& session : state_.sessions.all()) session->drain();
      end_if_drained();
    });
  }

  void stop() { io_.stop(); }

  void reload_tls() {
    if (tls_) tls_->reload();
  }

 private:
  std::unique_ptr<Channel> channel(asio::ip::tcp::socket socket) {
    return tls_ ? make_tls_channel(std::move(socket), tls_->context()) : make_channel(std::move(socket));
  }

  void serve(std::unique_ptr<Channel> channel) {
    const size_t open = state_.sessions.count();
    if (open >= state_.limits.connections + kToldSo) return;
    std::make_shared<Session>(state_, std::move(channel), open >= state_.limits.connections)->start();
  }

  void run_thread() {
    for (;;) try {
        io_.run();
        return;
      } catch (const std::exception& error) {
        io::warn("a connection could not be served: ", error.what());
      }
  }

  void end_if_drained() {
    if (state_.draining && open_listeners_ == 0 && state_.sessions.count() == 0) io_.stop();
  }

  int threads_;
  uint16_t port_ = 0;
  ServerState state_;
  std::unique_ptr<TlsFiles> tls_;
  std::atomic<size_t> open_listeners_{0};
  asio::io_context io_;  // its end is the end of the connections, which use what is above
  asio::strand<asio::io_context::executor_type> control_;
  asio::steady_timer drain_timer_;
  std::vector<std::unique_ptr<Listener>> listeners_;
};

Server::Server(const ServerOptions& options, std::shared_ptr<Handler> handler)
    : impl_(std::make_unique<Impl>(options, std::move(handler))) {}
Server::~Server() = default;
uint16_t Server::port() const { return impl_->port(); }
void Server::run() { impl_->run(); }
void Server::drain(std::chrono::milliseconds limit) { impl_->drain(limit); }
void Server::stop() { impl_->stop(); }
void Server::reload_tls() { impl_->reload_tls(); }
size_t Server::connections() const { return impl_->connections(); }

size_t raise_open_files_limit() {
  constexpr rlim_t mac_limit = 10240;  // OPEN_MAX: macOS says "unlimited", and accepts no more than this
  struct rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return 0;
  for (const rlim_t files : {limit.rlim_max, mac_limit}) {
    const struct rlimit raised{files, limit.rlim_max};
    if (files > limit.rlim_cur && ::setrlimit(RLIMIT_NOFILE, &raised) == 0) return files;
  }
  return limit.rlim_cur;
}

}  // namespace m2bert::http
