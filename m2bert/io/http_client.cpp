#include "m2bert/io/http_client.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <exception>
#include <thread>

#include "m2bert/io/interrupt.h"
#include "m2bert/io/log.h"
#include "m2bert/io/net/curl_library.h"
#include "m2bert/io/progress.h"

namespace m2bert::io {
namespace {

constexpr size_t kMaxHeaders = 1000, kMaxHeaderBytes = 1 << 20, kErrorBody = 1 << 16;
constexpr uint64_t kProgress = 1 << 16;  // bytes that make an attempt count as progress

// A failure after which another attempt may succeed.
class BrokenConnection : public HttpError {
 public:
  using HttpError::HttpError;
};

struct CurlFree {
  void operator()(CURLU* url) const { curl().url_cleanup(url); }
  void operator()(curl_slist* list) const { curl().slist_free_all(list); }
};
using CurlUrl = std::unique_ptr<CURLU, CurlFree>;
using CurlList = std::unique_ptr<curl_slist, CurlFree>;

std::string lowered(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return out;
}

std::string_view trimmed(std::string_view text) {
  const auto first = text.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
}

bool has_control(std::string_view text) {
  return std::any_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
}

std::string part(CURLU* url, CURLUPart what, unsigned flags = 0) {
  char* text = nullptr;
  if (curl().url_get(url, what, &text, flags) != CURLUE_OK || !text) return "";
  std::string out = text;
  curl().free(text);
  return out;
}

CurlUrl parse_url(const std::string& url) {
  CurlUrl parts(curl().url());
  require(parts != nullptr, "out of memory for a URL");
  const bool good = !has_control(url) && curl().url_set(parts.get(), CURLUPART_URL, url.c_str(), CURLU_NON_SUPPORT_SCHEME) == CURLUE_OK;
  require(good, "'", shown_url(url), "' is not a URL");
  return parts;
}

// Throws unless it is http or https, without user and password.
void check_url(CURLU* url, const std::string& shown) {
  const std::string scheme = part(url, CURLUPART_SCHEME);
  require(scheme == "http" || scheme == "https", "'", shown, "': wants a URL of http or https");
  require(part(url, CURLUPART_USER).empty() && part(url, CURLUPART_PASSWORD).empty(), "'", scheme, "://", part(url, CURLUPART_HOST),
          "': a URL with a user name or password is not accepted");
}

bool is_retryable(int status) { return status == 408 || status == 429 || (status >= 500 && status <= 504); }

bool is_redirect(int status) { return status == 301 || status == 302 || status == 303 || status == 307 || status == 308; }

// Network failures may be transient; others (a wrong certificate, memory) are not.
bool is_transient(CURLcode code) {
  switch (code) {
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_CONNECT:
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM:
    case CURLE_PARTIAL_FILE:
    case CURLE_OPERATION_TIMEDOUT:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_GOT_NOTHING:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR: return true;
    default: return false;
  }
}

const char* certificates() {
  for (const char* name : {"CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"})
    if (const char* value = std::getenv(name); value && *value) return value;
  return nullptr;
}

const std::string* find_header(const HttpHeaders& headers, std::string_view name) {
  const std::string* found = nullptr;
  for (const auto& [key, value] : headers)
    if (key == name) found = &value;
  return found;
}

}  // namespace

const std::string* HttpResponse::header(std::string_view name) const { return find_header(headers, name); }
const std::string* HttpResponse::first_header(std::string_view name) const { return find_header(first_headers, name); }

std::string origin_of(const std::string& url) {
  const CurlUrl parts = parse_url(url);
  check_url(parts.get(), shown_url(url));
  return part(parts.get(), CURLUPART_SCHEME) + "://" + lowered(part(parts.get(), CURLUPART_HOST)) + ":" +
         part(parts.get(), CURLUPART_PORT, CURLU_DEFAULT_PORT);
}

std::string redirect_target(const std::string& from, const std::string& location) {
  const CurlUrl parts = parse_url(from);
  const std::string before = part(parts.get(), CURLUPART_SCHEME);
  const std::string shown = shown_url(location);
  const bool good =
      !has_control(location) && curl().url_set(parts.get(), CURLUPART_URL, location.c_str(), CURLU_NON_SUPPORT_SCHEME) == CURLUE_OK;
  require(good, shown_url(from), ": redirects to '", shown, "', which is not a URL");
  const std::string after = part(parts.get(), CURLUPART_SCHEME);
  require(after == "http" || after == "https", shown_url(from), ": redirects to '", shown, "'; only http and https are followed");
  require(before != "https" || after == "https", shown_url(from), ": redirects to '", shown, "', from https to http; that is not followed");
  check_url(parts.get(), shown);
  return part(parts.get(), CURLUPART_URL);
}

std::string shown_url(const std::string& url) {
  std::string out;
  for (const char c : url.substr(0, std::min(url.find_first_of("?#"), size_t{300})))
    out += static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) >= 0x7f ? '?' : c;
  // Omits a user and password before the host.
  const auto host = out.find("://"), slash = host == std::string::npos ? host : out.find('/', host + 3);
  if (host == std::string::npos) return out;
  const auto at = out.rfind('@', slash);
  return at == std::string::npos || at < host ? out : out.substr(0, host + 3) + out.substr(at + 1);
}

std::string url_escaped(std::string_view text, bool keep_slashes) {
  static constexpr char hex[] = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.' ||
                       c == '~' || (c == '/' && keep_slashes);
    if (plain) out += c;
    else (((out += '%') += hex[static_cast<unsigned char>(c) >> 4]) += hex[c & 15]);
  }
  return out;
}

std::optional<uint64_t> header_number(const std::string* value) {
  if (!value) return std::nullopt;
  uint64_t number = 0;
  const auto [end, failed] = std::from_chars(value->data(), value->data() + value->size(), number);
  if (failed != std::errc() || end != value->data() + value->size() || number > (uint64_t{1} << 60)) return std::nullopt;
  return number;
}

struct HttpClient::Handle {
  CURL* easy = nullptr;
  Handle() {
    static const CURLcode ready = curl().global_init(CURL_GLOBAL_DEFAULT);
    if (ready == CURLE_OK) easy = curl().easy_init();
    require(easy != nullptr, "libcurl cannot be started");
  }
  ~Handle() { curl().easy_cleanup(easy); }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
};

// One request and its answer, as libcurl's callbacks see them. Exceptions must not pass through libcurl, so they are stored here.
struct HttpClient::Hop {
  const HttpRequest& request;
  HttpResponse response;
  bool begun = false;
  bool enough = false;  // of the body of an error or a redirect was read
  size_t header_bytes = 0;
  std::exception_ptr thrown = nullptr;

  bool goes_to_sink() const { return request.sink && response.status >= 200 && response.status < 300; }

  void begin() {
    if (begun) return;
    begun = true;
    if (response.first_headers.empty()) response.first_headers = response.headers;
    if (goes_to_sink()) request.sink->begin(response);
  }

  void add_header(std::string_view line) {
    header_bytes += line.size();
    require(header_bytes <= kMaxHeaderBytes && response.headers.size() < kMaxHeaders, shown_url(response.url),
            ": the answer has too many headers");
    if (line.starts_with("HTTP/")) {  // also of an interim answer, 1xx
      response.headers.clear();
      const auto space = line.find(' ');
      int status = 0;
      if (space != std::string_view::npos) std::from_chars(line.data() + space + 1, line.data() + line.size(), status);
      response.status = status;
    } else if (const auto colon = line.find(':'); colon != std::string_view::npos) {
      response.headers.emplace_back(lowered(trimmed(line.substr(0, colon))), trimmed(line.substr(colon + 1)));
    }
  }

  void add_body(std::string_view bytes) {
    begin();
    if (goes_to_sink()) return request.sink->write(bytes);
    const bool good = response.status >= 200 && response.status < 300;
    const uint64_t limit = good ? request.max_body : kErrorBody;
    enough = response.body.size() + bytes.size() > limit;
    require(!good || !enough, shown_url(response.url), ": the answer has more than ", limit, " bytes");
    if (!enough) response.body.append(bytes);
  }

  template <class Call>
  size_t guarded(size_t size, Call call) {
    try {
      call();
      return size;
    } catch (...) {
      thrown = std::current_exception();
      return size == 0 ? 1 : 0;  // anything but `size` ends the transfer
    }
  }

  static size_t on_header(char* data, size_t one, size_t count, void* hop) {
    return static_cast<Hop*>(hop)->guarded(one * count, [&] { static_cast<Hop*>(hop)->add_header({data, one * count}); });
  }
  static size_t on_body(char* data, size_t one, size_t count, void* hop) {
    const size_t taken = static_cast<Hop*>(hop)->guarded(one * count, [&] { static_cast<Hop*>(hop)->add_body({data, one * count}); });
    return static_cast<Hop*>(hop)->enough ? 0 : taken;
  }
  static int on_progress(void*, curl_off_t, curl_off_t, curl_off_t, curl_off_t) { return interrupted() ? 1 : 0; }
};

HttpClient::HttpClient(HttpOptions options) : options_(std::move(options)), handle_(std::make_unique<Handle>()) {
  require(!has_control(options_.token) && !has_control(options_.user_agent), "the token has characters that no token has");
  if (!options_.token.empty()) options_.token_origin = origin_of(options_.token_origin);
}

HttpClient::~HttpClient() = default;

HttpResponse HttpClient::one_hop(const HttpRequest& request, const std::string& url, HttpHeaders first) {
  const CurlLibrary& library = curl();
  CURL* easy = handle_->easy;
  Hop hop{.request = request};
  hop.response.url = url;
  hop.response.first_headers = std::move(first);
  char error[CURL_ERROR_SIZE] = "";
  CurlList headers;
  const auto add = [&](const std::string& line) {
    curl_slist* longer = library.slist_append(headers.get(), line.c_str());
    require(longer != nullptr, "out of memory for a request");
    if (!headers) headers.reset(longer);  // otherwise it was appended to the list
  };
  add("Accept-Encoding: identity");  // so that sizes and ranges are those of the file
  if (!options_.token.empty() && origin_of(url) == options_.token_origin) add("Authorization: Bearer " + options_.token);
  const std::string range = std::to_string(request.sink ? request.sink->offset() : 0) + "-";

  library.easy_reset(easy);  // keeps open connections
  library.easy_setopt(easy, CURLOPT_URL, url.c_str());
  library.easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
  library.easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
  library.easy_setopt(easy, CURLOPT_NOBODY, request.head ? 1L : 0L);
  library.easy_setopt(easy, CURLOPT_HTTPHEADER, headers.get());
  library.easy_setopt(easy, CURLOPT_USERAGENT, options_.user_agent.c_str());
  library.easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
  if (range != "0-") library.easy_setopt(easy, CURLOPT_RANGE, range.c_str());
  if (const char* file = certificates()) library.easy_setopt(easy, CURLOPT_CAINFO, file);
  library.easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
  library.easy_setopt(easy, CURLOPT_CONNECTTIMEOUT, static_cast<long>(options_.connect_timeout.count()));
  library.easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, 32L);  // bytes a second: slower counts as stalled
  library.easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, static_cast<long>(options_.stall_timeout.count()));
  library.easy_setopt(easy, CURLOPT_BUFFERSIZE, 256L << 10);
  library.easy_setopt(easy, CURLOPT_ERRORBUFFER, error);
  library.easy_setopt(easy, CURLOPT_HEADERFUNCTION, &Hop::on_header);
  library.easy_setopt(easy, CURLOPT_HEADERDATA, &hop);
  library.easy_setopt(easy, CURLOPT_WRITEFUNCTION, &Hop::on_body);
  library.easy_setopt(easy, CURLOPT_WRITEDATA, &hop);
  library.easy_setopt(easy, CURLOPT_NOPROGRESS, 0L);
  library.easy_setopt(easy, CURLOPT_XFERINFOFUNCTION, &Hop::on_progress);
  const CURLcode code = library.easy_perform(easy);
  library.easy_setopt(easy, CURLOPT_ERRORBUFFER, nullptr);
  if (hop.thrown) std::rethrow_exception(hop.thrown);
  throw_if_interrupted();
  if (code == CURLE_OK || (code == CURLE_WRITE_ERROR && hop.enough)) {
    hop.begin();
    return std::move(hop.response);
  }
  const std::string what = shown_url(url) + ": " + (*error ? error : library.easy_strerror(code));
  if (is_transient(code)) throw BrokenConnection(what);
  throw HttpError(what);
}

HttpResponse HttpClient::follow(const HttpRequest& request) {
  std::string url = request.url;
  const std::string origin = origin_of(url);
  HttpHeaders first;
  for (int hops = 0;; ++hops) {
    HttpResponse response = one_hop(request, url, std::move(first));
    first = response.first_headers;
    const std::string* location = response.header("location");
    const bool redirected = is_redirect(response.status) && location;
    const std::string target = redirected ? redirect_target(url, *location) : "";
    if (!redirected || (request.stop_elsewhere && origin_of(target) != origin)) return response;
    require(hops < options_.redirects, shown_url(request.url), ": more than ", options_.redirects, " redirects in a row");
    url = target;
  }
}

void HttpClient::wait(const HttpResponse* response, int failures, const std::string& why) {
  using std::chrono::milliseconds;
  milliseconds pause = std::min<milliseconds>(options_.first_wait * (1 << std::min(failures - 1, 10)), std::chrono::seconds(8));
  if (const std::string* asked = response ? response->header("retry-after") : nullptr) {
    const auto number = header_number(asked);
    const time_t date = number ? -1 : curl().getdate(asked->c_str(), nullptr);
    const double seconds = number ? static_cast<double>(*number) : date >= 0 ? std::difftime(date, std::time(nullptr)) : 0;
    const auto most = static_cast<double>(options_.longest_wait.count());
    require(seconds <= most, why, "; the server asks to wait ", show_duration(seconds), ", try again then");
    pause = std::max(pause, milliseconds(static_cast<int64_t>(std::max(seconds, 0.0) * 1000)));
  }
  info(why, "; trying again in ", show_duration(static_cast<double>(pause.count()) / 1000));
  for (const auto end = std::chrono::steady_clock::now() + pause; std::chrono::steady_clock::now() < end;) {
    throw_if_interrupted();
    std::this_thread::sleep_for(std::min<milliseconds>(pause, milliseconds(50)));
  }
}

HttpResponse HttpClient::send(const HttpRequest& request) {
  for (int failures = 1;; ++failures) {
    const uint64_t before = request.sink ? request.sink->offset() : 0;
    std::string why;
    std::optional<HttpResponse> response;
    try {
      response = follow(request);
      const bool good = response->status >= 200 && response->status < 300;
      if (!is_retryable(response->status) && (!good || !request.sink || request.sink->complete())) return *std::move(response);
      why = shown_url(response->url) + (good ? ": ended early" : ": status " + std::to_string(response->status));
      if (good) response.reset();
    } catch (const BrokenConnection& broken) {
      why = broken.what();
    }
    const uint64_t now = request.sink ? request.sink->offset() : 0;
    if (now > before && now - before >= kProgress) failures = 1;
    if (failures >= options_.attempts) {
      if (response) return *std::move(response);
      throw HttpError(why);
    }
    wait(response ? &*response : nullptr, failures, why);
  }
}

}  // namespace m2bert::io
