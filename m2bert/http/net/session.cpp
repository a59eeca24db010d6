#include "m2bert/http/net/session.h"

#include <algorithm>
#include <exception>

#include "m2bert/http/net/response_head.h"

namespace m2bert::http {
namespace {

using namespace std::chrono_literals;
using State = RequestParser::State;

// An idle connection has a buffer of the first size. Reads grow while they are filled.
constexpr size_t kSmallestRead = 2 << 10, kLargestRead = 64 << 10;
// Header and body of a small response are sent together.
constexpr size_t kSmallBody = 16 << 10;
// Idle connections of a draining server: a request may be under way.
constexpr auto kDrainGrace = 100ms;
// After the last response, bytes of the client are read for a while: closing at once would reset the connection, and the client might not
// see the response. Without new bytes for the first time, or after the second one, it ends.
constexpr auto kLingerIdle = 2s, kLingerTotal = 30s;
// Time between two attempts to cancel an operation.
constexpr auto kCancelAgain = 10ms;

// The function that a handler calls with its response. It works once; if it is never called, the session hears of that too.
class Responder {
 public:
  Responder(std::shared_ptr<ResponseGate> gate, std::weak_ptr<Session> session) : gate_(std::move(gate)), session_(std::move(session)) {}
  ~Responder() {
    if (!used_.exchange(true)) gate_->deliver(session_, std::nullopt);
  }
  Responder(const Responder&) = delete;
  Responder& operator=(const Responder&) = delete;

  void respond(Response response) {
    if (!used_.exchange(true)) gate_->deliver(session_, std::move(response));
  }

 private:
  std::shared_ptr<ResponseGate> gate_;
  std::weak_ptr<Session> session_;
  std::atomic<bool> used_{false};
};

}  // namespace

void Sessions::add(Session& session) {
  const std::lock_guard lock(mutex_);
  sessions_.emplace(&session, session.weak_from_this());
  count_ = sessions_.size();
}

void Sessions::remove(const Session& session) {
  const std::lock_guard lock(mutex_);
  sessions_.erase(&session);
  count_ = sessions_.size();
}

std::vector<std::shared_ptr<Session>> Sessions::all() const {
  std::vector<std::shared_ptr<Session>> found;
  const std::lock_guard lock(mutex_);
  for (const auto& [key, session] : sessions_)
    if (auto alive = session.lock()) found.push_back(std::move(alive));
  return found;
}

void ResponseGate::deliver(const std::weak_ptr<Session>& session, std::optional<Response> response) {
  const std::lock_guard lock(mutex_);
  auto alive = open_ ? session.lock() : nullptr;
  if (!alive) return;
  const asio::any_io_executor executor = alive->executor();
  asio::post(executor, [alive = std::move(alive), response = std::move(response)]() mutable { alive->deliver(std::move(response)); });
}

void ResponseGate::close() {
  const std::lock_guard lock(mutex_);
  open_ = false;
}

Session::Session(ServerState& server, std::unique_ptr<Channel> channel, bool too_many)
    : server_(server),
      channel_(std::move(channel)),
      too_many_(too_many),
      read_size_(kSmallestRead),
      answered_(channel_->executor(), Clock::time_point::max()),
      timer_(channel_->executor()) {}

Session::~Session() {
  server_.sessions.remove(*this);
  server_.on_session_end();
}

void Session::start() {
  server_.sessions.add(*this);
  asio::co_spawn(channel_->executor(), run(shared_from_this()), asio::detached);
}

void Session::drain() {
  asio::post(channel_->executor(), [self = shared_from_this()] {
    if (self->idle_) self->expire_after(kDrainGrace);
  });
}

void Session::deliver(std::optional<Response> response) {
  dropped_ = !response;
  response_ = response ? std::move(response) : Response{};
  answered_.cancel();
  interrupt();
}

asio::awaitable<void> Session::run(std::shared_ptr<Session> self) {
  try {
    self->expire_after(self->server_.limits.header_timeout, OnExpiry::close);
    co_await self->channel_->handshake(self->error_);
    bool open = !self->error_;
    while (open) open = co_await self->exchange();
  } catch (const std::exception&) {  // out of memory: nothing is left but to close
  }
  self->never_expire();
  self->timer_.cancel();
  self->channel_->close();
}

// One request and its response. Returns whether the connection stays open.
asio::awaitable<bool> Session::exchange() {
  if (buffer_.empty()) {
    const bool more = co_await wait_for_request();
    if (!more) co_return false;
  }
  RequestParser parser(server_.limits.header_bytes, server_.limits.body_bytes);
  const std::shared_ptr<Request> request = parser.request();
  request->peer = channel_->peer();
  refusal_.reset();
  const bool received = co_await receive(parser);
  if (!received && !refusal_) co_return false;

  Response response;
  if (received) response = co_await answer(request);
  else response = std::move(*refusal_);
  const bool keep_alive = received && !response.close && parser.keep_alive() && !server_.draining;
  const bool written = co_await respond(*request, std::move(response), keep_alive, parser.is_http10());
  if (written && !keep_alive && !at_end_) co_await linger();
  co_return written&& keep_alive;
}

asio::awaitable<bool> Session::wait_for_request() {
  read_size_ = kSmallestRead;
  if (buffer_.capacity() > 2 * kSmallestRead) buffer_ = {};
  expire_after(server_.draining ? Clock::duration(kDrainGrace) : Clock::duration(server_.limits.idle_timeout));
  idle_ = true;
  const bool read = co_await fill();
  idle_ = false;
  co_return read;
}

// Reads a request. If it returns false, refusal_ is the response, or there is none because the connection is at its end.
asio::awaitable<bool> Session::receive(RequestParser& parser) {
  expire_after(server_.limits.header_timeout);
  bool good = co_await read_while(State::header, parser, "The header of the request came too slowly.");
  if (good) {
    refusal_ = refuse(*parser.request());
    good = !refusal_;
  }
  if (good && parser.state() == State::body) good = co_await receive_body(parser);
  co_return good;
}

asio::awaitable<bool> Session::receive_body(RequestParser& parser) {
  feed(parser);
  if (parser.state() == State::body && parser.expects_continue()) {
    const bool written = co_await write("HTTP/1.1 100 Continue\r\n\r\n");
    if (!written) co_return false;
  }
  expire_after(server_.limits.body_timeout);
  const bool read = co_await read_while(State::body, parser, "The body of the request came too slowly.");
  co_return read;
}

asio::awaitable<bool> Session::read_while(State state, RequestParser& parser, const char* too_slow) {
  for (;;) {
    feed(parser);
    if (parser.state() == State::failed) {
      refusal_ = failure(parser.status(), parser.message(), *parser.request());
      co_return false;
    }
    if (parser.state() != state) co_return true;
    const bool read = co_await fill();
    if (!read) {
      if (expired_) refusal_ = failure(408, too_slow, *parser.request());
      co_return false;
    }
  }
}

void Session::feed(RequestParser& parser) { buffer_.erase(0, parser.put(buffer_)); }

// Reads some bytes behind those of the buffer.
asio::awaitable<bool> Session::fill() {
  if (expired_ || at_end_) co_return false;
  const size_t old = buffer_.size();
  buffer_.resize(old + read_size_);
  const size_t count = co_await channel_->read_some(asio::buffer(buffer_.data() + old, read_size_), error_);
  buffer_.resize(old + count);
  if (count == read_size_) read_size_ = std::min(2 * read_size_, kLargestRead);
  at_end_ = error_ && error_ != asio::error::operation_aborted;
  co_return !error_;
}

// Meanwhile the next request may arrive, or the client may go away.
asio::awaitable<Response> Session::answer(std::shared_ptr<Request> request) {
  never_expire();
  response_.reset();
  hand_over(request);
  read_size_ = kSmallestRead;
  while (!response_) {
    if (!at_end_ && buffer_.size() < server_.limits.header_bytes) {
      co_await fill();
    } else {
      request->gone = at_end_;
      co_await answered_.async_wait(asio::redirect_error(asio::use_awaitable, error_));
    }
  }
  Response response = std::move(*response_);
  response_.reset();
  if (dropped_) response = failure(500, "The server gave no response.", *request);
  co_return response;
}

asio::awaitable<bool> Session::respond(const Request& request, Response response, bool keep_alive, bool http10) {
  std::string bytes = response_head(response, {.keep_alive = keep_alive, .http10 = http10});
  if (request.method == "HEAD" || !has_body(response.status)) response.body.clear();
  if (response.body.size() <= kSmallBody) {
    bytes += response.body;
    response.body.clear();
  }
  bool written = co_await write(bytes);
  if (written && !response.body.empty()) written = co_await write(response.body);
  co_return written;
}

asio::awaitable<bool> Session::write(std::string_view bytes) {
  expire_after(server_.limits.write_timeout, OnExpiry::close);
  co_await channel_->write(bytes, error_);
  co_return !error_;
}

asio::awaitable<void> Session::linger() {
  const Clock::time_point end = Clock::now() + kLingerTotal;
  buffer_.resize(kSmallestRead);
  expire_after(kLingerIdle, OnExpiry::close);
  co_await channel_->finish_sending(error_);
  while (!error_ && Clock::now() < end) {
    expire_after(kLingerIdle, OnExpiry::close);
    co_await channel_->discard_some(asio::buffer(buffer_), error_);
  }
}

std::optional<Response> Session::refuse(const Request& request) {
  if (too_many_) return failure(503, "There are too many connections. Try again later.", request);
  try {
    return server_.handler->refuse(request);
  } catch (const std::exception& error) {
    return failure(500, error.what(), request);
  }
}

Response Session::failure(int status, const std::string& message, const Request& request) {
  try {
    return server_.handler->failed(status, message, request);
  } catch (const std::exception&) {
    return {.status = status, .content_type = "text/plain", .body = message + "\n"};
  }
}

void Session::hand_over(const std::shared_ptr<Request>& request) {
  const auto responder = std::make_shared<Responder>(server_.gate, weak_from_this());
  try {
    server_.handler->handle(request, [responder](Response response) { responder->respond(std::move(response)); });
  } catch (const std::exception& error) {
    responder->respond(failure(500, error.what(), *request));
  }
}

void Session::expire_after(Clock::duration duration, OnExpiry action) { expire_at(Clock::now() + duration, action); }

void Session::never_expire() { expire_at(Clock::time_point::max(), OnExpiry::cancel); }

// The timer often stays as it is: one that fires too early is set again then.
void Session::expire_at(Clock::time_point when, OnExpiry action) {
  deadline_ = when;
  on_expiry_ = action;
  expired_ = interrupted_ = false;
  if (when < armed_for_) arm(when);
}

void Session::interrupt() {
  interrupted_ = true;
  channel_->cancel();
  if (channel_->cancel_can_miss()) arm(Clock::now() + kCancelAgain);
}

void Session::arm(Clock::time_point when) {
  armed_for_ = when;
  timer_.expires_at(when);
  timer_.async_wait([weak = weak_from_this()](error_code error) {
    const auto self = weak.lock();
    if (!error && self) self->on_timer();
  });
}

void Session::on_timer() {
  armed_for_ = Clock::time_point::max();
  expired_ = Clock::now() >= deadline_;
  if (!expired_ && !interrupted_) {
    if (deadline_ != Clock::time_point::max()) arm(deadline_);
    return;
  }
  if (expired_ && on_expiry_ == OnExpiry::close) channel_->close();
  else channel_->cancel();
  arm(Clock::now() + kCancelAgain);  // until the next deadline is set
}

}  // namespace m2bert::http
