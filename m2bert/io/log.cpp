#include "m2bert/io/log.h"

#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/base_sink.h>
#include <spdlog/spdlog.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <mutex>

#include "m2bert/io/terminal.h"

namespace m2bert::io {
namespace {

std::mutex screen;  // the terminal: log lines and the bottom line
std::string bottom;
std::atomic<bool> quiet_now{false};

void write_stderr(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stderr);
  std::fflush(stderr);
}

class StderrSink : public spdlog::sinks::base_sink<std::mutex> {
 protected:
  void sink_it_(const spdlog::details::log_msg& message) override {
    const char* mark = message.level >= spdlog::level::err ? "error: " : message.level == spdlog::level::warn ? "warning: " : "";
    print_line(mark + std::string(message.payload.data(), message.payload.size()));
  }
  void flush_() override {}
};

spdlog::logger& logger() {
  static auto* log = [] {
    auto* made = new spdlog::logger("m2bert", std::make_shared<StderrSink>());  // never destroyed: used until the program ends
    made->set_level(spdlog::level::info);
    return made;
  }();
  return *log;
}

spdlog::level::level_enum to_spdlog(LogLevel level) {
  switch (level) {
    case LogLevel::debug: return spdlog::level::debug;
    case LogLevel::info: return spdlog::level::info;
    case LogLevel::warning: return spdlog::level::warn;
    case LogLevel::error: return spdlog::level::err;
    case LogLevel::off: return spdlog::level::off;
  }
  return spdlog::level::info;
}

}  // namespace

void set_log_level(LogLevel level) { logger().set_level(to_spdlog(level)); }

LogLevel log_level() {
  switch (logger().level()) {
    case spdlog::level::trace:
    case spdlog::level::debug: return LogLevel::debug;
    case spdlog::level::info: return LogLevel::info;
    case spdlog::level::warn: return LogLevel::warning;
    case spdlog::level::err: return LogLevel::error;
    default: return LogLevel::off;
  }
}

void set_quiet(bool quiet) {
  quiet_now = quiet;
  set_log_level(quiet ? LogLevel::warning : LogLevel::info);
}

bool quiet() { return quiet_now; }

void log_line(LogLevel level, const std::string& message) { logger().log(to_spdlog(level), spdlog::string_view_t(message)); }

bool stderr_is_terminal() {
  static const bool terminal = ::isatty(STDERR_FILENO) == 1;
  return terminal;
}

int terminal_width() {
  winsize size{};
  return ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

void set_bottom_line(const std::string& text) {
  std::lock_guard lock(screen);
  if (text.empty() && bottom.empty()) return;
  bottom = text;
  write_stderr("\r" + text + "\x1b[K");
}

void print_line(const std::string& text) {
  std::lock_guard lock(screen);
  write_stderr(bottom.empty() ? text + "\n" : "\r\x1b[K" + text + "\n" + bottom);
}

}  // namespace m2bert::io
