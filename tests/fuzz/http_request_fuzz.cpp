// An HTTP request in one piece and in pieces of the size that the first byte says: the same request, or none.
#include <algorithm>
#include <cstdlib>
#include <string_view>

#include "m2bert/http/request_parser.h"

namespace {

using m2bert::http::RequestParser;
using State = RequestParser::State;

constexpr size_t kHeaderBytes = 1000, kBodyBytes = 5000;

bool is_running(const RequestParser& parser) { return parser.state() == State::header || parser.state() == State::body; }

// Returns how many bytes the request has.
size_t read_in_pieces(RequestParser& parser, std::string_view bytes, size_t piece) {
  size_t taken = 0;
  for (size_t end = 0; end < bytes.size() && is_running(parser);) {
    end = std::min(end + piece, bytes.size());
    for (State before = State::failed; is_running(parser) && parser.state() != before;) {
      before = parser.state();
      taken += parser.put(bytes.substr(taken, end - taken));
    }
  }
  return taken;
}

bool same(const m2bert::http::Request& a, const m2bert::http::Request& b) {
  const auto same_header = [](const auto& x, const auto& y) { return x.name == y.name && x.value == y.value; };
  return a.method == b.method && a.path == b.path && a.query == b.query && a.body == b.body &&
         std::ranges::equal(a.headers, b.headers, same_header);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, size_t size) {
  if (size < 1) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  RequestParser whole(kHeaderBytes, kBodyBytes), split(kHeaderBytes, kBodyBytes);
  const size_t taken = read_in_pieces(whole, bytes, bytes.size());
  const size_t taken_split = read_in_pieces(split, bytes, data[0] % 64 + size_t{1});
  if ((whole.state() == State::done) != (split.state() == State::done)) std::abort();
  if (whole.state() == State::done && (taken != taken_split || !same(*whole.request(), *split.request()))) std::abort();
  if (whole.request()->body.size() > kBodyBytes || split.request()->body.size() > kBodyBytes) std::abort();
  if (whole.state() == State::failed && (whole.status() < 400 || whole.message().empty())) std::abort();
  return 0;
}
