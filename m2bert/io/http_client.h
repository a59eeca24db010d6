#pragma once
// HTTP and HTTPS requests with libcurl: checked redirects, retries, resuming, Ctrl-C. Uses curl's proxy variables (http_proxy, https_proxy,
// all_proxy, no_proxy), and the certificates of CURL_CA_BUNDLE, REQUESTS_CA_BUNDLE or SSL_CERT_FILE.
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "m2bert/error.h"

namespace m2bert::io {

struct HttpOptions {
  std::string user_agent;
  std::string token;                          // sent as "Authorization: Bearer"; never shown
  std::string token_origin;                   // URL whose scheme, host and port alone receive the token
  int redirects = 10;                         // maximum in a row
  int attempts = 5;                           // in a row without progress; at least 1
  std::chrono::milliseconds first_wait{500};  // before the second attempt; doubles, up to 8 s
  std::chrono::seconds longest_wait{300};     // maximum that Retry-After may ask for
  std::chrono::seconds connect_timeout{10};
  std::chrono::seconds stall_timeout{30};  // without data
};

using HttpHeaders = std::vector<std::pair<std::string, std::string>>;  // names in lower case

struct HttpResponse {
  int status = 0;
  std::string url;            // of the last answer, after redirects
  HttpHeaders headers;        // of the last answer
  HttpHeaders first_headers;  // of the first answer, before any redirect
  std::string body;           // empty if a sink took it

  // The last header of that name (in lower case), or nullptr.
  const std::string* header(std::string_view name) const;
  const std::string* first_header(std::string_view name) const;
};

// Every attempt failed: the server could not be reached, broke the connection or sent no data.
class HttpError : public Error {
 public:
  using Error::Error;
};

// Receives the body of a successful answer. Its exceptions end the request and reach the caller.
class HttpSink {
 public:
  virtual ~HttpSink() = default;
  // Bytes that were received before; above 0, the rest is requested as a range.
  virtual uint64_t offset() const = 0;
  // Called before the first byte of every attempt. With status 206 the body begins at the offset, else at the start of the file.
  virtual void begin(const HttpResponse& response) = 0;
  virtual void write(std::string_view bytes) = 0;
  // Whether the body is complete; if not, the request is repeated from the new offset.
  virtual bool complete() const = 0;
};

struct HttpRequest {
  std::string url;
  bool head = false;             // HEAD instead of GET
  bool stop_elsewhere = false;   // return a redirect to another origin, do not follow it
  uint64_t max_body = 64 << 20;  // bytes, without a sink
  HttpSink* sink = nullptr;
};

// Not thread-safe. Connections are reused.
class HttpClient {
 public:
  explicit HttpClient(HttpOptions options);
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  // Retries after broken connections, stalls and the statuses 408, 429 and 5xx. Returns the last answer, whatever its status. Throws
  // HttpError if there was none, and an Error for a URL that is not http or https, too many redirects, a redirect from https to http or to
  // another scheme, a Retry-After beyond longest_wait, Ctrl-C.
  HttpResponse send(const HttpRequest& request);

 private:
  struct Handle;
  struct Hop;
  HttpResponse follow(const HttpRequest& request);
  HttpResponse one_hop(const HttpRequest& request, const std::string& url, HttpHeaders first);
  void wait(const HttpResponse* response, int failures, const std::string& why);

  HttpOptions options_;
  std::unique_ptr<Handle> handle_;
};

// "https://host:443", in lower case and always with the port. Throws unless url is http or https, without user and password.
std::string origin_of(const std::string& url);
// The target of a redirect. Throws as origin_of does, and for a redirect from https to http.
std::string redirect_target(const std::string& from, const std::string& location);
// The URL without query and fragment, which may hold signatures; safe to print.
std::string shown_url(const std::string& url);
// Percent-encodes a part of a path; "/" too, unless keep_slashes.
std::string url_escaped(std::string_view text, bool keep_slashes = false);
// The number in a header such as Content-Length; nullopt if value is null or not a number.
std::optional<uint64_t> header_number(const std::string* value);

}  // namespace m2bert::io
