#include "m2bert/io/inner_path.h"

#include <algorithm>

#include "m2bert/io/utf8.h"

namespace m2bert::io {
namespace {

constexpr size_t kMaxName = 1024, kMaxPart = 255;

}  // namespace

std::string why_unsafe(std::string_view name) {
  if (name.empty()) return "is empty";
  if (name.size() > kMaxName) return "is too long";
  if (name.front() == '/') return "is an absolute path";
  if (find_invalid_utf8(name)) return "is not UTF-8";
  const auto bad = [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f || c == '\\'; };
  if (std::any_of(name.begin(), name.end(), bad)) return "has a backslash or control characters";
  for (size_t start = 0; start <= name.size();) {
    const size_t end = std::min(name.find('/', start), name.size());
    const std::string_view part = name.substr(start, end - start);
    if (part.empty() || part == "." || part == "..") return "leads out of its folder";
    if (part.size() > kMaxPart) return "is too long";
    start = end + 1;
  }
  return "";
}

}  // namespace m2bert::io
