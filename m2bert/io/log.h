#pragma once
// Log messages, on stderr. Results go to stdout, never through here.
#include <sstream>
#include <string>

namespace m2bert::io {

enum class LogLevel { debug, info, warning, error, off };

// The lowest level that is shown; info by default.
void set_log_level(LogLevel level);
LogLevel log_level();
void set_quiet(bool quiet);  // quiet: warnings and errors only, no progress bar
bool quiet();

// One line; a progress bar that is on the screen is redrawn below it. Thread-safe.
void log_line(LogLevel level, const std::string& message);

namespace detail {
template <class... Parts>
std::string joined(const Parts&... parts) {
  std::ostringstream out;
  (out << ... << parts);
  return out.str();
}
}  // namespace detail

// The parts are streamed one after another, as in fail().
template <class... Parts>
void debug(const Parts&... parts) {
  if (log_level() <= LogLevel::debug) log_line(LogLevel::debug, detail::joined(parts...));
}
template <class... Parts>
void info(const Parts&... parts) {
  if (log_level() <= LogLevel::info) log_line(LogLevel::info, detail::joined(parts...));
}
template <class... Parts>
void warn(const Parts&... parts) {
  if (log_level() <= LogLevel::warning) log_line(LogLevel::warning, detail::joined(parts...));
}

}  // namespace m2bert::io
