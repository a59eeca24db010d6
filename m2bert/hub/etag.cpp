#include "m2bert/hub/etag.h"

#include <algorithm>

#include "m2bert/error.h"
#include "m2bert/io/utf8.h"

namespace m2bert::hub {
namespace {

constexpr size_t kMaxEtag = 128;

bool is_word(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_'; }

bool can_name_a_file(std::string_view etag) {
  const bool plain = std::all_of(etag.begin(), etag.end(), [](char c) { return is_word(c) || c == '-' || c == '.'; });
  return !etag.empty() && etag.size() <= kMaxEtag && plain && is_word(etag.front()) && !etag.ends_with(".incomplete");
}

bool is_hex(const std::string& text, size_t digits) {
  return text.size() == digits && text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

}  // namespace

std::string parse_etag(std::string_view header, const std::string& file) {
  std::string_view etag = header;
  if (etag.starts_with("W/")) etag.remove_prefix(2);
  if (etag.size() >= 2 && etag.front() == '"' && etag.back() == '"') etag = etag.substr(1, etag.size() - 2);
  require(can_name_a_file(etag), io::printable(file), ": the server's ETag '", io::printable(header),
          "' is not one that can name a file; nothing was downloaded");
  return std::string(etag);
}

std::optional<io::Digest> digest_of_etag(const std::string& etag, uint64_t size) {
  if (is_hex(etag, 64)) return io::Digest(io::Digest::Kind::sha256);
  if (!is_hex(etag, 40)) return std::nullopt;
  io::Digest digest(io::Digest::Kind::sha1);
  digest.update("blob " + std::to_string(size) + std::string(1, '\0'));
  return digest;
}

}  // namespace m2bert::hub
