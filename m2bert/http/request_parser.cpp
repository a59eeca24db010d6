#include "m2bert/http/request_parser.h"

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/beast/http/basic_parser.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/version.hpp>
#include <limits>

namespace m2bert::http {
namespace beast = boost::beast;
using beast::error_code;
using beast::http::error;
using beast::http::field;

namespace {

// A body grows as it arrives: a client cannot reserve memory by announcing a length.
constexpr uint64_t kReserveAtMost = 64 << 10;
// "0\r\n\r\n", the shortest end of a chunked body.
constexpr size_t kShortestEnd = 5;

std::string text_of(beast::string_view text) { return {text.data(), text.size()}; }

// Whether the line ends like a request line.
bool names_a_version(std::string_view bytes) {
  const std::string_view line = bytes.substr(0, bytes.find("\r\n"));
  const size_t version = line.rfind(' ');
  return version != std::string_view::npos && line.substr(version + 1).starts_with("HTTP/") && line.find('\n') == std::string_view::npos;
}

bool equals_ignoring_case(std::string_view a, std::string_view b) { return beast::iequals({a.data(), a.size()}, {b.data(), b.size()}); }

size_t count_headers(const Request& request, std::string_view name) {
  return static_cast<size_t>(
      std::ranges::count_if(request.headers, [&](const Header& header) { return equals_ignoring_case(header.name, name); }));
}

// What follows the host in "http://host/path"; nothing if the target is not of that form.
std::optional<std::string_view> without_authority(std::string_view target) {
  for (const std::string_view scheme : {"http://", "https://"}) {
    if (!equals_ignoring_case(target.substr(0, scheme.size()), scheme)) continue;
    target.remove_prefix(scheme.size());
    const size_t end = std::min(target.find_first_of("/?"), target.size());
    if (end == 0) return std::nullopt;
    return target.substr(end);
  }
  return std::nullopt;
}

}  // namespace

class RequestParser::Impl : public beast::http::basic_parser<true> {
 public:
  Impl(size_t header_bytes, size_t body_bytes) : header_bytes_(header_bytes), body_bytes_(body_bytes) {
    header_limit(static_cast<uint32_t>(std::min<size_t>(header_bytes, std::numeric_limits<uint32_t>::max())));
    body_limit(boost::none);  // checked here, so that the client gets a response
  }

  size_t take(std::string_view bytes) {
    if (state == State::body && taken_of_body_ == 0 && !check_length()) return 0;
    size_t taken = begun_ ? 0 : empty_lines(bytes);
    const State before = state;
    while (state == before && (state == State::header || state == State::body)) {
      const size_t step = take_step(bytes.substr(taken));
      if (step == 0) break;
      taken += step;
    }
    (before == State::header ? taken_of_header_ : taken_of_body_) += taken;
    if (before == State::header) check_header(bytes.size() - taken);
    return taken;
  }

  State state = State::header;
  std::shared_ptr<Request> request = std::make_shared<Request>();
  bool http10 = false;
  bool wants_continue = false;
  int status = 0;
  std::string message;

 private:
  void on_request_impl(beast::http::verb, beast::string_view method, beast::string_view target, int version, error_code&) override {
    request->method = text_of(method);
    target_ = text_of(target);
    http10 = version == 10;
    split_target();
  }
  void on_response_impl(int, beast::string_view, int, error_code&) override {}
  void on_field_impl(field, beast::string_view name, beast::string_view value, error_code&) override {
    if (!is_header_done() && state == State::header) request->headers.push_back({text_of(name), text_of(value)});
  }
#if BOOST_BEAST_VERSION >= 359
  void on_trailer_field_impl(field, beast::string_view, beast::string_view, error_code&) override {}
#endif
  void on_header_impl(error_code&) override {}
  void on_body_init_impl(const boost::optional<uint64_t>& length, error_code&) override {
    if (length) request->body.reserve(std::min(*length, kReserveAtMost));
  }
  size_t on_body_impl(beast::string_view piece, error_code&) override {
    request->body.append(piece.data(), piece.size());
    return piece.size();
  }
  void on_chunk_header_impl(uint64_t size, beast::string_view, error_code& error) override {
    chunk_left_ = size;
    if (size <= body_bytes_ - request->body.size()) return;
    fail(413, "The body has more than " + std::to_string(body_bytes_) + " bytes, which is the limit.");
    error = error::body_limit;
  }
  size_t on_chunk_body_impl(uint64_t, beast::string_view piece, error_code&) override {
    request->body.append(piece.data(), piece.size());
    chunk_left_ -= piece.size();
    return piece.size();
  }
  void on_finish_impl(error_code&) override {}

  void fail(int failed_status, std::string why) {
    if (state == State::failed) return;
    state = State::failed;
    status = failed_status;
    message = std::move(why);
  }

  // Empty lines before a request are ignored (RFC 9112 section 2.2).
  static size_t empty_lines(std::string_view bytes) {
    size_t size = 0;
    while (bytes.substr(size).starts_with("\r\n")) size += 2;
    return size;
  }

  // One step of Beast's parser; 0 if it needs more bytes, or has failed.
  size_t take_step(std::string_view bytes) {
    if (bytes.empty() || (!begun_ && bytes == "\r")) return 0;
    // Beast's parser asserts that the end of a chunked body does not arrive byte by byte.
    if (state == State::body && chunked() && chunk_left_ == 0 && bytes.size() < kShortestEnd) return 0;
    begun_ = true;
    error_code error;
    const size_t taken = put(boost::asio::const_buffer(bytes.data(), bytes.size()), error);
    if (error == error::need_more) {
      if (state == State::body && bytes.size() - taken > header_bytes_) fail(431, "The header of a chunk, or the trailer, is too large.");
    } else if (error) {
      fail_with(error, bytes);
    } else if (is_done()) {
      state = State::done;
    } else if (is_header_done()) {
      state = State::body;
    }
    return taken;
  }

  void fail_with(const error_code& error, std::string_view bytes) {
    if (error == error::header_limit) return fail_header_limit();
    if (error == error::bad_version && names_a_version(bytes)) return fail(505, "The request is not HTTP/1.0 or HTTP/1.1.");
    fail(400, "The request is not valid HTTP: " + error.message() + ".");
  }
  void fail_header_limit() { fail(431, "The header has more than " + std::to_string(header_bytes_) + " bytes, which is the limit."); }

  // Called with every piece of a header. left: bytes of the piece that were not taken.
  void check_header(size_t left) {
    if (state == State::header) {
      if (taken_of_header_ + left > header_bytes_) fail_header_limit();
      return;
    }
    if (state == State::failed) return;
    if (taken_of_header_ > header_bytes_) return fail_header_limit();
    if (!target_error_.empty()) return fail(400, target_error_);
    const size_t hosts = count_headers(*request, "Host");
    if (hosts > 1 || (hosts == 0 && !http10)) return fail(400, hosts > 1 ? "There is more than one Host." : "The Host is missing.");
    check_transfer_encoding();
    check_expect();
  }

  void check_transfer_encoding() {
    const std::string* encoding = request->header("Transfer-Encoding");
    if (!encoding) return;
    if (http10) return fail(400, "HTTP/1.0 has no Transfer-Encoding.");
    if (count_headers(*request, "Transfer-Encoding") > 1) return fail(400, "There is more than one Transfer-Encoding.");
    if (!equals_ignoring_case(*encoding, "chunked")) fail(501, "The only Transfer-Encoding that is accepted is chunked.");
  }

  void check_expect() {
    const std::string* expect = request->header("Expect");
    if (!expect || http10) return;  // RFC 9110 section 10.1.1
    wants_continue = equals_ignoring_case(*expect, "100-continue");
    if (!wants_continue) fail(417, "The only Expect that is accepted is 100-continue.");
  }

  bool check_length() {
    const auto length = content_length();
    if (!length || *length <= body_bytes_) return true;
    fail(413, "The body has " + std::to_string(*length) + " bytes; the limit is " + std::to_string(body_bytes_) + ".");
    return false;
  }

  void split_target() {
    std::string_view target = target_;
    if (target == "*") {
      request->path = target;
      return;
    }
    if (!target.starts_with('/')) {
      const auto rest = without_authority(target);
      if (!rest) {
        target_error_ = "The target of the request is neither a path nor a http URL.";
        return;
      }
      target = *rest;
    }
    if (target.find('#') != std::string_view::npos) target_error_ = "The target of the request has a fragment.";
    const size_t mark = target.find('?');
    if (mark != std::string_view::npos) request->query = target.substr(mark + 1);
    const auto path = percent_decode(target.substr(0, mark));
    if (!path) target_error_ = "The path has a percent sign without two hexadecimal digits.";
    request->path = path && !path->empty() ? *path : "/";
  }

  size_t header_bytes_, body_bytes_;
  size_t taken_of_header_ = 0, taken_of_body_ = 0;
  uint64_t chunk_left_ = 0;
  bool begun_ = false;
  std::string target_, target_error_;
};

RequestParser::RequestParser(size_t header_bytes, size_t body_bytes) : impl_(std::make_unique<Impl>(header_bytes, body_bytes)) {}
RequestParser::~RequestParser() = default;

size_t RequestParser::put(std::string_view bytes) { return impl_->take(bytes); }
RequestParser::State RequestParser::state() const { return impl_->state; }
const std::shared_ptr<Request>& RequestParser::request() const { return impl_->request; }
bool RequestParser::keep_alive() const { return impl_->is_header_done() && impl_->keep_alive(); }
bool RequestParser::is_http10() const { return impl_->http10; }
bool RequestParser::expects_continue() const { return impl_->wants_continue; }
int RequestParser::status() const { return impl_->status; }
const std::string& RequestParser::message() const { return impl_->message; }

}  // namespace m2bert::http
