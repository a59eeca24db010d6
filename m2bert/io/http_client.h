#pragma once
// Reading over HTTP and HTTPS with libcurl: redirects under control, retries, resuming, Ctrl-C. The proxy variables count as they do for
// curl (http_proxy, https_proxy, all_proxy, no_proxy), and so do CURL_CA_BUNDLE, REQUESTS_CA_BUNDLE and SSL_CERT_FILE for the certificates.
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
  std::string token;                          // "Authorization: Bearer"; never shown
  std::string token_origin;                   // URL of the only scheme, host and port that the token is sent to
  int redirects = 10;                         // most in a row
  int attempts = 5;                           // in a row without progress; at least 1
  std::chrono::milliseconds first_wait{500};  // before the second attempt; doubles, up to 8 s
  std::chrono::seconds longest_wait{300};     // that a server may ask for by Retry-After
  std::chrono::seconds connect_timeout{10};
  std::chrono::seconds stall_timeout{30};  // without data
};

using HttpHeaders = std::vector<std::pair<std::string, std::string>>;  // names in lower case

struct HttpResponse {
  int status = 0;
  std::string url;            // that answered, after redirects
  HttpHeaders headers;        // of the last answer
  HttpHeaders first_headers;  // of the first answer, before any redirect
  std::string body;           // empty where a sink took it

  // The last one of that name (in lower case); nullptr: none.
  const std::string* header(std::string_view name) const;
  const std::string* first_header(std::string_view name) const;
};

// The server could not be reached, broke off or stayed silent, in every attempt.
class HttpError : public Error {
 public:
  using Error::Error;
};

// Takes the body of a successful answer. What it throws ends the request and reaches the caller.
class HttpSink {
 public:
  virtual ~HttpSink() = default;
  // Bytes that are here already; above 0 the rest is asked for by a range.
  virtual uint64_t offset() const = 0;
  // Before the first byte, at every attempt. Status 206: the body begins at the offset; any other: at the start of the file.
  virtual void begin(const HttpResponse& response) = 0;
  virtual void write(std::string_view bytes) = 0;
  // Whether everything came; if not, the request is repeated from the new offset.
  virtual bool complete() const = 0;
};

struct HttpRequest {
  std::string url;
  bool head = false;            // HEAD instead of GET
  bool stop_elsewhere = false;  // a redirect to another origin is the answer, and is not followed
  uint64_t most = 64 << 20;     // bytes of a body that no sink takes
  HttpSink* sink = nullptr;
};

// Not thread-safe. Connections are kept between requests.
class HttpClient {
 public:
  explicit HttpClient(HttpOptions options);
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  // Repeats the request after broken connections, silence and the statuses 408, 429 and 5xx. Returns the last answer whatever its status.
  // HttpError: there was none. Error: not http or https, too many redirects, a redirect from https to http or to another scheme,
  // a Retry-After beyond longest_wait, Ctrl-C.
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

// "https://host:443" in lower case with the port always there. Error for what is no http or https URL, or carries a user or password.
std::string origin_of(const std::string& url);
// The target of a redirect. Error as origin_of, and for https to http.
std::string redirect_target(const std::string& from, const std::string& location);
// Without query and fragment, which may hold signatures, and safe to print.
std::string shown_url(const std::string& url);
// Percent-encoded for a part of a path; "/" too, unless it is kept.
std::string url_escaped(std::string_view text, bool keep_slashes = false);
// The number of a header such as Content-Length; absent when it is none.
std::optional<uint64_t> header_number(const std::string* value);

}  // namespace m2bert::io
