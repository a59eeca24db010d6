#include "m2bert/io/html_page.h"

#include <fstream>

namespace m2bert::io {
namespace {

constexpr const char* kStyle = R"(
:root { color-scheme: light dark; --line: #8884; --text: #222; }
@media (prefers-color-scheme: dark) { :root { --text: #ddd; } }
body { font: 15px system-ui, sans-serif; color: var(--text); margin: 2em auto; max-width: 1400px; padding: 0 1em; }
table { border-collapse: collapse; margin: 1em 0; }
th, td { text-align: left; padding: .25em 1em .25em 0; border-bottom: 1px solid var(--line); }
)";

std::string start_of(std::string_view generator) {
  return "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"generator\" content=\"" + html_text(generator) +
         "\">";
}

}  // namespace

std::string html_text(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&quot;"; break;
      case '\'': out += "&#39;"; break;
      default: out += c;
    }
  }
  return out;
}

std::string html_page(const HtmlPage& page) {
  return start_of(page.generator) + "<meta name=\"viewport\" content=\"width=device-width\"><title>" + html_text(page.title) +
         "</title><style>" + kStyle + page.style + "</style></head><body>\n" + page.body + "</body></html>\n";
}

bool is_page_of(const std::filesystem::path& file, std::string_view generator) {
  std::error_code none;
  if (!std::filesystem::is_regular_file(file, none)) return false;  // a pipe would wait for somebody to write into it
  const std::string wanted = start_of(generator);
  std::ifstream in(file, std::ios::binary);
  std::string start(wanted.size(), '\0');
  return in.read(start.data(), std::streamsize(start.size())) && start == wanted;
}

}  // namespace m2bert::io
