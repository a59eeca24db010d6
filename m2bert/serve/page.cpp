#include "m2bert/serve/page.h"

#include <charconv>
#include <vector>

#include "m2bert/error.h"
#include "m2bert/io/digest.h"
#include "m2bert/serve/base64.h"

namespace m2bert::serve {
namespace {

// What stands between <tag> and </tag>, as browsers hash it.
std::string_view content_of(std::string_view html, const std::string& tag) {
  const std::string open = "<" + tag + ">", close = "</" + tag + ">";
  const size_t begin = html.find(open), end = html.find(close);
  require(begin != html.npos && end != html.npos && begin < end, "page.html has no ", open);
  return html.substr(begin + open.size(), end - begin - open.size());
}

// 'sha256-BASE64'
std::string source_of(std::string_view text) {
  io::Digest digest(io::Digest::Kind::sha256);
  digest.update(text);
  const std::string hex = digest.finish();
  std::vector<unsigned char> bytes(hex.size() / 2);
  for (size_t i = 0; i < bytes.size(); ++i) std::from_chars(hex.data() + 2 * i, hex.data() + 2 * i + 2, bytes[i], 16);
  return "'sha256-" + base64(std::span<const unsigned char>(bytes)) + "'";
}

}  // namespace

const std::string& page_policy() {
  static const std::string policy = "default-src 'none'; script-src " + source_of(content_of(page_html(), "script")) + "; style-src " +
                                    source_of(content_of(page_html(), "style")) +
                                    "; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
  return policy;
}

}  // namespace m2bert::serve
