#include "client.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <charconv>
#include <cstring>

namespace m2bert::test {
namespace {

constexpr int kPatience = 30'000;

int connect_to(int family, const sockaddr* address, socklen_t size) {
  const int fd = ::socket(family, SOCK_STREAM, 0);
  if (fd < 0 || ::connect(fd, address, size) != 0) throw std::runtime_error(std::string("cannot connect: ") + std::strerror(errno));
#ifdef SO_NOSIGPIPE
  const int on = 1;
  ::setsockopt(fd, SOL_SOCKET, SO_NOSIGPIPE, &on, sizeof on);
#endif
  return fd;
}

#ifdef MSG_NOSIGNAL
constexpr int kSendFlags = MSG_NOSIGNAL;
#else
constexpr int kSendFlags = 0;
#endif

// The headers of a response, and the status.
Reply parse_head(const std::string& head) {
  Reply reply;
  std::istringstream lines(head);
  std::string version, line;
  lines >> version >> reply.status;
  std::getline(lines, line);
  while (std::getline(lines, line) && line != "\r") {
    const size_t colon = line.find(": ");
    if (colon == std::string::npos || !line.ends_with('\r')) throw std::runtime_error("not a header: " + line);
    reply.headers.push_back({line.substr(0, colon), line.substr(colon + 2, line.size() - colon - 3)});
  }
  return reply;
}

}  // namespace

Client::Client(uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  fd_ = connect_to(AF_INET, reinterpret_cast<sockaddr*>(&address), sizeof address);
  const int on = 1;
  ::setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

Client::Client(const std::filesystem::path& unix_socket) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, unix_socket.c_str(), sizeof address.sun_path - 1);
  fd_ = connect_to(AF_UNIX, reinterpret_cast<sockaddr*>(&address), sizeof address);
}

Client::~Client() { close(); }

void Client::close() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

void Client::finish_sending() { ::shutdown(fd_, SHUT_WR); }

bool Client::start_tls(std::string_view alpn, int version) {
  const std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> context(SSL_CTX_new(TLS_client_method()), SSL_CTX_free);
  SSL_CTX_set_min_proto_version(context.get(), version);
  SSL_CTX_set_max_proto_version(context.get(), version);
  SSL_CTX_set_security_level(context.get(), 0);
  ssl_.reset(SSL_new(context.get()));
  if (!alpn.empty())
    SSL_set_alpn_protos(ssl_.get(), reinterpret_cast<const unsigned char*>(alpn.data()), static_cast<unsigned>(alpn.size()));
  SSL_set_fd(ssl_.get(), fd_);
  return SSL_connect(ssl_.get()) == 1;
}

std::string Client::alpn() const {
  const unsigned char* name = nullptr;
  unsigned size = 0;
  SSL_get0_alpn_selected(ssl_.get(), &name, &size);
  return {reinterpret_cast<const char*>(name), size};
}

std::string Client::certificate_name() const {
  const std::unique_ptr<X509, decltype(&X509_free)> certificate(SSL_get1_peer_certificate(ssl_.get()), X509_free);
  std::string name(100, '\0');
  const int size =
      X509_NAME_get_text_by_NID(X509_get_subject_name(certificate.get()), NID_commonName, name.data(), static_cast<int>(name.size()));
  name.resize(static_cast<size_t>(std::max(size, 0)));
  return name;
}

bool Client::send(std::string_view bytes) {
  while (!bytes.empty()) {
    size_t sent = 0;
    if (ssl_) {
      if (SSL_write_ex(ssl_.get(), bytes.data(), bytes.size(), &sent) != 1) return false;
    } else {
      const ssize_t count = ::send(fd_, bytes.data(), bytes.size(), kSendFlags);
      if (count <= 0) return false;
      sent = static_cast<size_t>(count);
    }
    bytes.remove_prefix(sent);
  }
  return true;
}

bool Client::has_bytes(int milliseconds) {
  if (!rest_.empty() || (ssl_ && SSL_pending(ssl_.get()) > 0)) return true;
  pollfd wait{fd_, POLLIN, 0};
  return ::poll(&wait, 1, milliseconds) > 0;
}

bool Client::read_some() {
  if (!(ssl_ && SSL_pending(ssl_.get()) > 0)) {
    pollfd wait{fd_, POLLIN, 0};
    if (::poll(&wait, 1, kPatience) <= 0) {
      ADD_FAILURE() << "the server sends nothing";
      return false;
    }
  }
  char piece[16384];
  size_t count = 0;
  if (ssl_) {
    if (SSL_read_ex(ssl_.get(), piece, sizeof piece, &count) != 1) return false;
  } else {
    const ssize_t got = ::recv(fd_, piece, sizeof piece, 0);
    if (got <= 0) return false;
    count = static_cast<size_t>(got);
  }
  rest_.append(piece, count);
  return true;
}

Reply Client::reply(bool is_head) {
  size_t end;
  while ((end = rest_.find("\r\n\r\n")) == std::string::npos)
    if (!read_some()) return {};
  Reply reply = parse_head(rest_.substr(0, end + 4));
  rest_.erase(0, end + 4);
  const std::string length = reply.header("Content-Length");
  if (is_head || length.empty()) return reply;
  size_t size = 0;
  std::from_chars(length.data(), length.data() + length.size(), size);
  while (rest_.size() < size)
    if (!read_some()) return {};
  reply.body = rest_.substr(0, size);
  rest_.erase(0, size);
  return reply;
}

std::string Client::read_to_end() {
  while (read_some()) {
  }
  return std::exchange(rest_, {});
}

std::string get(const std::string& target, const std::string& headers) {
  return "GET " + target + " HTTP/1.1\r\nHost: test\r\n" + headers + "\r\n";
}

std::string post(const std::string& target, const std::string& body, const std::string& headers) {
  return "POST " + target + " HTTP/1.1\r\nHost: test\r\nContent-Length: " + std::to_string(body.size()) + "\r\n" + headers + "\r\n" + body;
}

TestHandler::~TestHandler() = default;

std::optional<http::Response> TestHandler::refuse(const http::Request& head) {
  if (head.path == "/refuse-throws") throw std::runtime_error("refuse threw");
  if (head.path == "/refused") return http::Response{.status = 401, .body = "no key"};
  return std::nullopt;
}

void TestHandler::handle(std::shared_ptr<http::Request> request, http::Respond respond) {
  const std::string& path = request->path;
  if (path == "/throws") throw std::runtime_error("handle threw");
  if (path == "/drops") return;
  if (path == "/blocks") {
    blocked_.release();
    unblocked_.acquire();
  }
  if (path == "/none") return respond({.status = 204});
  if (path == "/close") return respond({.body = "closing", .close = true});
  if (path == "/large") return respond({.body = std::string(20'000'000, 'x')});
  if (path == "/bad-header") return respond({.headers = {{"X-Good", "1"}, {"X-Bad", "1\r\nX-Injected: 2"}, {"X-Bad\n", "3"}, {"X:", "4"}}});
  const std::lock_guard lock(mutex_);
  if (path == "/thread") {
    threads_.emplace_back([request, respond] { respond({.body = "from a thread"}); });
  } else if (path == "/held") {
    held_.push_back({request, respond});
    changed_.notify_all();
  } else {
    respond({.content_type = "text/plain", .body = request->method + " " + path + "?" + request->query + " " + request->body});
  }
}

http::Response TestHandler::failed(int status, const std::string& message, const http::Request& head) {
  return {.status = status, .content_type = "text/plain", .body = head.path + ": " + message};
}

TestHandler::Held TestHandler::next_held() {
  std::unique_lock lock(mutex_);
  if (!changed_.wait_for(lock, std::chrono::milliseconds(kPatience), [&] { return !held_.empty(); }))
    throw std::runtime_error("no request came");
  Held next = std::move(held_.front());
  held_.pop_front();
  return next;
}

TestServer::TestServer(http::ServerOptions options) {
  options.port = 0;
  server = std::make_unique<http::Server>(options, handler);
  thread_ = std::thread([this] { server->run(); });
}

TestServer::~TestServer() {
  server->stop();
  join();
}

void TestServer::wait_for_connections(size_t count) const {
  EXPECT_TRUE(eventually([&] { return server->connections() == count; })) << server->connections();
}

Certificate make_certificate(const std::string& name) {
  const std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)> key(EVP_EC_gen("P-256"), EVP_PKEY_free);
  const std::unique_ptr<X509, decltype(&X509_free)> certificate(X509_new(), X509_free);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate.get()), 1);
  X509_gmtime_adj(X509_getm_notBefore(certificate.get()), -3600);
  X509_gmtime_adj(X509_getm_notAfter(certificate.get()), 3600);
  X509_set_pubkey(certificate.get(), key.get());
  X509_NAME* subject = X509_get_subject_name(certificate.get());
  X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1, 0);
  X509_set_issuer_name(certificate.get(), subject);
  X509_sign(certificate.get(), key.get(), EVP_sha256());

  const auto text_of = [](auto write) {
    const std::unique_ptr<BIO, decltype(&BIO_free)> memory(BIO_new(BIO_s_mem()), BIO_free);
    write(memory.get());
    char* bytes = nullptr;
    const long size = BIO_get_mem_data(memory.get(), &bytes);
    return std::string(bytes, static_cast<size_t>(size));
  };
  return {text_of([&](BIO* out) { PEM_write_bio_X509(out, certificate.get()); }),
          text_of([&](BIO* out) { PEM_write_bio_PrivateKey(out, key.get(), nullptr, nullptr, 0, nullptr, nullptr); })};
}

}  // namespace m2bert::test
