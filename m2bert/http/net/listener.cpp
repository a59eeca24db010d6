#include "m2bert/http/net/listener.h"

#include <sys/stat.h>
#include <unistd.h>

#include <boost/asio/ip/v6_only.hpp>
#include <optional>

#include "m2bert/error.h"
#include "m2bert/io/log.h"

namespace m2bert::http {
namespace {

using Tcp = asio::ip::tcp;
using Unix = asio::local::stream_protocol;

// Between two attempts to accept where the process has no descriptor left.
constexpr auto kAcceptPause = std::chrono::milliseconds(100);

template <class Protocol>
class SocketListener : public Listener {
 public:
  using Socket = typename Protocol::socket;
  using MakeChannel = std::function<std::unique_ptr<Channel>(Socket)>;

  SocketListener(asio::io_context& io, typename Protocol::acceptor acceptor, MakeChannel make, std::function<void()> on_close = {})
      : io_(io), acceptor_(std::move(acceptor)), pause_(acceptor_.get_executor()), make_(std::move(make)), on_close_(std::move(on_close)) {}
  ~SocketListener() override { close(); }

  uint16_t port() const override {
    if constexpr (std::is_same_v<Protocol, Tcp>) return acceptor_.local_endpoint().port();
    return 0;
  }

  void start(std::function<void(std::unique_ptr<Channel>)> on_accept, std::function<void()> on_end) override {
    on_accept_ = std::move(on_accept);
    on_end_ = std::move(on_end);
    asio::co_spawn(acceptor_.get_executor(), run(), asio::detached);
  }

  void drain() override {
    asio::post(acceptor_.get_executor(), [this] {
      draining_ = true;
      error_code ignored;
      acceptor_.cancel(ignored);
      pause_.cancel();
    });
  }

  void close() override {
    error_code ignored;
    acceptor_.close(ignored);
    if (on_close_) on_close_();
    on_close_ = {};
  }

 private:
  asio::any_io_executor next_strand() { return asio::make_strand(io_); }

  asio::awaitable<void> run() {
    while (!draining_) {
      error_code error;
      Socket socket = co_await acceptor_.async_accept(next_strand(), asio::redirect_error(asio::use_awaitable, error));
      if (!error) {
        accepted(std::move(socket));
        failing_ = false;
      } else if (!draining_) {
        report(error);
        pause_.expires_after(kAcceptPause);
        co_await pause_.async_wait(asio::redirect_error(asio::use_awaitable, error));
      }
    }
    accept_waiting();
    close();
    on_end_();
  }

  void accept_waiting() {
    error_code error;
    acceptor_.non_blocking(true, error);
    while (!error) {
      Socket socket = acceptor_.accept(next_strand(), error);
      if (!error) accepted(std::move(socket));
    }
  }

  void accepted(Socket socket) try { on_accept_(make_(std::move(socket))); } catch (const std::exception& error) {
    io::warn("a connection could not be served: ", error.what());
  }

  void report(const error_code& error) {
    if (!failing_) io::warn("cannot accept connections: ", error.message(), ". Trying again every ", kAcceptPause.count(), " ms.");
    failing_ = true;
  }

  asio::io_context& io_;
  typename Protocol::acceptor acceptor_;
  asio::steady_timer pause_;
  MakeChannel make_;
  std::function<void()> on_close_;
  std::function<void(std::unique_ptr<Channel>)> on_accept_;
  std::function<void()> on_end_;
  bool draining_ = false, failing_ = false;
};

std::string with_port(const std::string& host, uint16_t port) {
  return (host.find(':') == std::string::npos ? host : "[" + host + "]") + ":" + std::to_string(port);
}

// An acceptor that listens, or the error.
Tcp::acceptor open_tcp(asio::io_context& io, const Tcp::endpoint& endpoint, bool only_v6, error_code& error) {
  Tcp::acceptor acceptor(asio::make_strand(io));
  acceptor.open(endpoint.protocol(), error);
  if (!error) acceptor.set_option(asio::socket_base::reuse_address(true), error);
  if (!error && only_v6 && endpoint.address().is_v6()) acceptor.set_option(asio::ip::v6_only(true), error);
  if (!error) acceptor.bind(endpoint, error);
  if (!error) acceptor.listen(asio::socket_base::max_listen_connections, error);
  return acceptor;
}

bool is_missing_family(const error_code& error) {
  return error == asio::error::address_family_not_supported || error == boost::system::errc::address_not_available;
}

// What the kernel says of a file; nothing if there is none.
std::optional<struct stat> status_of(const std::filesystem::path& file) {
  struct stat status{};
  if (::lstat(file.c_str(), &status) != 0) return std::nullopt;
  return status;
}

void remove_stale_socket(asio::io_context& io, const std::filesystem::path& file) {
  const auto status = status_of(file);
  if (!status) return;
  require(S_ISSOCK(status->st_mode), "cannot listen on ", file.string(), ": it exists and is not a socket.");
  Unix::socket probe(io);
  error_code error;
  probe.connect(Unix::endpoint(file.string()), error);
  require(error.failed(), "cannot listen on ", file.string(), ": another server has it open.");
  require(error == asio::error::connection_refused, "cannot listen on ", file.string(),
          ": it exists, and connecting to it says: ", error.message());
  ::unlink(file.c_str());
}

// Removes the file unless another one has taken its place.
void remove_same(const std::filesystem::path& file, const struct stat& before) {
  const auto now = status_of(file);
  if (now && now->st_ino == before.st_ino && now->st_dev == before.st_dev) ::unlink(file.c_str());
}

}  // namespace

std::vector<std::unique_ptr<Listener>> listen_on_tcp(asio::io_context& io, const std::string& host, uint16_t port,
                                                     const MakeTcpChannel& make) {
  error_code error;
  Tcp::resolver resolver(io);
  const auto found = resolver.resolve(host, std::to_string(port), Tcp::resolver::passive, error);
  require(!error && !found.empty(), "cannot listen on ", with_port(host, port), ": ", error.message());
  std::vector<std::unique_ptr<Listener>> listeners;
  error_code last;
  for (const auto& entry : found) {
    const Tcp::endpoint endpoint(entry.endpoint().address(), listeners.empty() ? port : listeners.front()->port());
    Tcp::acceptor acceptor = open_tcp(io, endpoint, found.size() > 1, error);
    require(!error || is_missing_family(error), "cannot listen on ", with_port(host, endpoint.port()), ": ", error.message());
    if (error) last = error;
    else listeners.push_back(std::make_unique<SocketListener<Tcp>>(io, std::move(acceptor), make));
  }
  require(!listeners.empty(), "cannot listen on ", with_port(host, port), ": ", last.message());
  return listeners;
}

std::unique_ptr<Listener> listen_on_unix(asio::io_context& io, const std::filesystem::path& file) {
  constexpr size_t longest = sizeof(sockaddr_un::sun_path) - 1;
  require(file.string().size() <= longest, "the path of the Unix socket has more than ", longest, " bytes: ", file.string());
  remove_stale_socket(io, file);
  error_code error;
  Unix::acceptor acceptor(asio::make_strand(io));
  acceptor.open(Unix(), error);
  if (!error) acceptor.bind(Unix::endpoint(file.string()), error);
  require(!error, "cannot listen on ", file.string(), ": ", error.message());
  const auto status = status_of(file);
  require(status.has_value(), "cannot listen on ", file.string(), ": it was removed.");
  ::chmod(file.c_str(), status->st_mode & 0660);  // no client can connect before listen()
  acceptor.listen(asio::socket_base::max_listen_connections, error);
  require(!error, "cannot listen on ", file.string(), ": ", error.message());
  return std::make_unique<SocketListener<Unix>>(
      io, std::move(acceptor), [](Unix::socket socket) { return make_channel(std::move(socket)); },
      [file, before = *status] { remove_same(file, before); });
}

}  // namespace m2bert::http
