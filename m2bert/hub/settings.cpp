#include "m2bert/hub/settings.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>

#include "m2bert/error.h"
#include "m2bert/io/file.h"
#include "m2bert/io/http_client.h"
#include "m2bert/io/utf8.h"

namespace m2bert::hub {
namespace {

namespace fs = std::filesystem;

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

bool is_on(const char* name) {
  std::string value = variable(name);
  for (char& c : value) c = static_cast<char>(c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c);
  return value == "1" || value == "ON" || value == "YES" || value == "TRUE";
}

fs::path expand_home(const std::string& path) {
  return path == "~" || path.starts_with("~/") ? fs::path(variable("HOME") + path.substr(1)) : fs::path(path);
}

fs::path hub_home() {
  if (const std::string home = variable("HF_HOME"); !home.empty()) return expand_home(home);
  if (const std::string cache = variable("XDG_CACHE_HOME"); !cache.empty()) return expand_home(cache) / "huggingface";
  const std::string home = variable("HOME");
  require(!home.empty(), "there is no place for downloaded models: set HF_HOME to a folder");
  return fs::path(home) / ".cache" / "huggingface";
}

fs::path cache_folder() {
  for (const char* name : {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"})
    if (const std::string folder = variable(name); !folder.empty()) return expand_home(folder);
  return hub_home() / "hub";
}

std::string trimmed(std::string text) {
  const char* spaces = " \t\r\n";
  text.erase(text.find_last_not_of(spaces) + 1);
  text.erase(0, std::min(text.find_first_not_of(spaces), text.size()));
  return text;
}

// Errors name the token's source, never the token.
std::string checked_token(const std::string& text, const std::string& source) {
  std::string token = trimmed(text);
  const bool plain = std::all_of(token.begin(), token.end(), [](char c) { return c > 0x20 && c < 0x7f; });
  require(plain, source, ": holds no token: it has spaces or other characters that no token has");
  return token;
}

std::string find_token() {
  for (const char* name : {"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"})
    if (std::string token = checked_token(variable(name), name); !token.empty()) return token;
  if (is_on("HF_HUB_DISABLE_IMPLICIT_TOKEN")) return "";
  const std::string path = variable("HF_TOKEN_PATH");
  const fs::path file = path.empty() ? hub_home() / "token" : expand_home(path);
  std::error_code none;
  return fs::is_regular_file(file, none) ? checked_token(io::read_file(file, 1 << 16), file.string()) : "";
}

std::string find_endpoint(const std::string& fallback) {
  std::string endpoint = trimmed(variable("HF_ENDPOINT"));
  if (endpoint.empty()) return fallback;
  while (endpoint.ends_with('/')) endpoint.pop_back();
  try {
    (void)io::origin_of(endpoint);
  } catch (const Error& e) {
    fail("HF_ENDPOINT: ", e.what());
  }
  require(endpoint.find_first_of("?#") == std::string::npos, "HF_ENDPOINT: '", io::shown_url(endpoint), "' has a query");
  return endpoint;
}

std::chrono::seconds find_timeout(const char* name, std::chrono::seconds fallback) {
  const std::string value = variable(name);
  if (value.empty()) return fallback;
  int seconds = 0;
  const auto [end, failed] = std::from_chars(value.data(), value.data() + value.size(), seconds);
  require(failed == std::errc() && end == value.data() + value.size() && seconds >= 1 && seconds <= 86400, name, " is '",
          io::printable(value), "', wants seconds from 1 to 86400");
  return std::chrono::seconds(seconds);
}

}  // namespace

Settings settings_from_environment() {
  Settings settings;
  settings.endpoint = find_endpoint(settings.endpoint);
  settings.cache = fs::absolute(cache_folder());
  settings.offline = is_on("HF_HUB_OFFLINE") || is_on("TRANSFORMERS_OFFLINE");
  if (!settings.offline) settings.token = find_token();
  settings.check_timeout = find_timeout("HF_HUB_ETAG_TIMEOUT", settings.check_timeout);
  settings.download_timeout = find_timeout("HF_HUB_DOWNLOAD_TIMEOUT", settings.download_timeout);
  return settings;
}

}  // namespace m2bert::hub
