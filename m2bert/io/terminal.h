#pragma once
// The line at the bottom of a terminal that is redrawn; log lines go above it.
#include <string>

namespace m2bert::io {

bool stderr_is_terminal();
int terminal_width();
// Shows text as the bottom line of stderr ("" removes it). Only for terminals. Thread-safe with log_line.
void set_bottom_line(const std::string& text);
// Writes one line of plain text to stderr above the bottom line.
void print_line(const std::string& text);

}  // namespace m2bert::io
