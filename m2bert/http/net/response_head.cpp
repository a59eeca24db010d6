#include "m2bert/http/net/response_head.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <ctime>

namespace m2bert::http {
namespace {

// "Sun, 06 Nov 1994 08:49:37 GMT", whatever the locale is.
std::string date_now() {
  constexpr std::array days = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
  constexpr std::array months = {"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  ::gmtime_r(&now, &utc);
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), "%s, %02d %s %04d %02d:%02d:%02d GMT", days[static_cast<size_t>(utc.tm_wday)], utc.tm_mday,
                months[static_cast<size_t>(utc.tm_mon)], utc.tm_year + 1900, utc.tm_hour, utc.tm_min, utc.tm_sec);
  return text.data();
}

bool fits_a_line(const Header& header) {
  const auto breaks = [](char c) { return c == '\r' || c == '\n' || c == '\0'; };
  return !header.name.empty() && header.name.find_first_of(": ") == std::string::npos && std::ranges::none_of(header.name, breaks) &&
         std::ranges::none_of(header.value, breaks);
}

void add(std::string& head, const Header& header) {
  if (fits_a_line(header)) head.append(header.name).append(": ").append(header.value).append("\r\n");
}

}  // namespace

bool has_body(int status) { return status != 204 && status != 304; }

std::string response_head(const Response& response, ResponseContext context) {
  std::string head = "HTTP/1.1 " + std::to_string(response.status) + " ";
  head.append(reason(response.status)).append("\r\n");
  add(head, {"Server", "m2bert"});
  add(head, {"Date", date_now()});
  if (has_body(response.status)) {
    if (!response.content_type.empty()) add(head, {"Content-Type", response.content_type});
    add(head, {"Content-Length", std::to_string(response.body.size())});
  }
  if (!context.keep_alive) add(head, {"Connection", "close"});
  if (context.keep_alive && context.http10) add(head, {"Connection", "keep-alive"});
  for (const Header& header : response.headers) add(head, header);
  return head += "\r\n";
}

}  // namespace m2bert::http
