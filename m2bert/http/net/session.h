#pragma once
// One connection: requests are read, handed to the handler and answered, one after another.
#include <atomic>
#include <mutex>
#include <optional>
#include <unordered_map>

#include "m2bert/http/net/channel.h"
#include "m2bert/http/request_parser.h"
#include "m2bert/http/server.h"

namespace m2bert::http {

class Session;

// The open connections of a server. Thread-safe.
class Sessions {
 public:
  void add(Session& session);
  void remove(const Session& session);
  size_t count() const { return count_; }
  std::vector<std::shared_ptr<Session>> all() const;

 private:
  mutable std::mutex mutex_;
  std::unordered_map<const Session*, std::weak_ptr<Session>> sessions_;
  std::atomic<size_t> count_{0};
};

// The way of a response to its connection. A handler may keep it longer than the server lives. Thread-safe.
class ResponseGate {
 public:
  void deliver(const std::weak_ptr<Session>& session, std::optional<Response> response);
  // Later responses go nowhere.
  void close();

 private:
  std::mutex mutex_;
  bool open_ = true;
};

// What the connections of a server share.
struct ServerState {
  Limits limits;
  std::shared_ptr<Handler> handler;
  std::shared_ptr<ResponseGate> gate = std::make_shared<ResponseGate>();
  Sessions sessions;
  std::atomic<bool> draining{false};
  std::function<void()> on_session_end;
};

class Session : public std::enable_shared_from_this<Session> {
 public:
  // too_many: its first request is refused with 503.
  Session(ServerState& server, std::unique_ptr<Channel> channel, bool too_many);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  void start();
  // From any thread: an idle connection is closed soon.
  void drain();
  // Only where no thread runs the connection.
  void close() { channel_->close(); }
  // On the connection's strand: the handler's response, or none if it dropped the request.
  void deliver(std::optional<Response> response);
  asio::any_io_executor executor() { return channel_->executor(); }

 private:
  enum class OnExpiry { cancel, close };

  static asio::awaitable<void> run(std::shared_ptr<Session> self);
  asio::awaitable<bool> exchange();
  asio::awaitable<bool> wait_for_request();
  asio::awaitable<bool> receive(RequestParser& parser);
  asio::awaitable<bool> receive_body(RequestParser& parser);
  asio::awaitable<bool> read_while(RequestParser::State state, RequestParser& parser, const char* too_slow);
  asio::awaitable<bool> fill();
  asio::awaitable<Response> answer(std::shared_ptr<Request> request);
  asio::awaitable<bool> respond(const Request& request, Response response, bool keep_alive, bool http10);
  asio::awaitable<bool> write(std::string_view bytes);
  asio::awaitable<void> linger();

  void feed(RequestParser& parser);
  std::optional<Response> refuse(const Request& request);
  Response failure(int status, const std::string& message, const Request& request);
  void hand_over(const std::shared_ptr<Request>& request);

  // Ends the operation that runs at that time.
  void expire_after(Clock::duration duration, OnExpiry action = OnExpiry::cancel);
  void never_expire();
  void expire_at(Clock::time_point when, OnExpiry action);
  void interrupt();
  void arm(Clock::time_point when);
  void on_timer();

  ServerState& server_;
  std::unique_ptr<Channel> channel_;
  bool too_many_;
  bool idle_ = false;
  bool at_end_ = false;  // the client sends nothing more. Asio would wait for ever: it sees the end of a socket only once
  error_code error_;

  std::string buffer_;  // bytes that are read and not parsed
  size_t read_size_;
  std::optional<Response> refusal_;   // of the request that is being read
  std::optional<Response> response_;  // of the request that the handler has
  bool dropped_ = false;              // the handler dropped it

  asio::steady_timer answered_;  // waits for deliver() where nothing can be read
  asio::steady_timer timer_;
  Clock::time_point deadline_ = Clock::time_point::max(), armed_for_ = Clock::time_point::max();
  OnExpiry on_expiry_ = OnExpiry::cancel;
  bool expired_ = false, interrupted_ = false;
};

}  // namespace m2bert::http
