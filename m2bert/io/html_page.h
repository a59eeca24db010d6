#pragma once
// Self-contained HTML pages: no scripts, no network.
#include <filesystem>
#include <string>
#include <string_view>

namespace m2bert::io {

// Escapes text for HTML and SVG.
std::string html_text(std::string_view text);

struct HtmlPage {
  std::string generator;  // the command that writes it, "m2bert report"; by this is_page_of recognises a page
  std::string title;      // plain text
  std::string body;       // HTML
  std::string style;      // CSS, after that of all pages
};

std::string html_page(const HtmlPage& page);

// Whether a file is a page of this generator.
bool is_page_of(const std::filesystem::path& file, std::string_view generator);

}  // namespace m2bert::io
