#include "tests/cli/program.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include "m2bert/io/json.h"
#include "tests/support/scratch.h"

namespace m2bert::test {
namespace {

void open_as(const std::string& file, int flags, int as) {
  const int fd = ::open(file.c_str(), flags, 0666);
  if (fd < 0 || ::dup2(fd, as) < 0) ::_exit(126);
  ::close(fd);
}

[[noreturn]] void become_program(const std::vector<std::string>& arguments, const HowToRun& how, const Scratch& scratch) {
  const std::string input = how.input_file.empty() ? (scratch / "in").string() : how.input_file;
  open_as(input, O_RDONLY, 0);
  open_as(how.output_file.empty() ? (scratch / "out").string() : how.output_file, O_WRONLY | O_CREAT | O_TRUNC, 1);
  open_as((scratch / "err").string(), O_WRONLY | O_CREAT | O_TRUNC, 2);
  if (how.closed_pipe) {
    int ends[2];
    if (::pipe(ends) != 0) ::_exit(126);
    ::dup2(ends[1], 1);
    ::dup2(ends[1], 2);
    ::close(ends[0]);
    ::close(ends[1]);
  }
  if (how.largest_file) {
    const rlimit limit{*how.largest_file, *how.largest_file};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  if (how.most_memory) {
    const rlimit limit{*how.most_memory, *how.most_memory};
    ::setrlimit(RLIMIT_AS, &limit);
  }
  if (how.closed_streams) {
    for (const int stream : {0, 1, 2}) ::close(stream);
  }
  for (const int signal : {SIGHUP, SIGPIPE}) ::signal(signal, SIG_DFL);  // nohup(1) and some CI runners ignore them
  if (how.ignored) ::signal(*how.ignored, SIG_IGN);
  for (const auto& name : how.without) ::unsetenv(name.c_str());
  if (how.user && ::setuid(*how.user) != 0) ::_exit(125);
  for (const auto& [name, value] : how.environment) ::setenv(name.c_str(), value.c_str(), 1);
  std::vector<char*> argv{const_cast<char*>(how.program.c_str())};
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  ::execv(how.program.c_str(), argv.data());
  ::_exit(127);
}

}  // namespace

std::string content(const std::string& file) {
  std::ifstream in(file, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

namespace {
bool ended(pid_t child) {
  siginfo_t info{};
  return ::waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == child;
}
// Polls until the program ends.
size_t most_threads(pid_t child) {
  size_t most = 0;
  while (!ended(child)) {
    std::error_code gone;
    std::filesystem::directory_iterator tasks("/proc/" + std::to_string(child) + "/task", gone);
    size_t count = 0;
    for (; !gone && tasks != std::filesystem::directory_iterator(); tasks.increment(gone)) ++count;
    most = std::max(most, count);
    std::this_thread::sleep_for(std::chrono::microseconds(300));
  }
  return most;
}
}  // namespace

bool Running::has_ended() const { return ended(pid); }

Outcome run(const std::vector<std::string>& arguments, const HowToRun& how) {
  const Scratch scratch;
  scratch.put("in", how.input);
  const pid_t child = ::fork();
  if (child == 0) become_program(arguments, how, scratch);
  if (how.meanwhile) {
    const std::string out = how.output_file.empty() ? (scratch / "out").string() : how.output_file;
    how.meanwhile({child, out, (scratch / "err").string()});
  }
  if (how.signal_after) {
    std::this_thread::sleep_for(std::chrono::duration<double>(*how.signal_after));
    ::kill(child, how.signal);
  }
  if (how.signal_when) {
    while (!ended(child) && !how.signal_when()) std::this_thread::sleep_for(std::chrono::microseconds(200));
    ::kill(child, how.signal);  // its pid is not reused before it is waited for
  }
  const size_t threads = how.count_threads ? most_threads(child) : 0;
  int status = 0;
  rusage usage{};
  ::wait4(child, &status, 0, &usage);
  Outcome outcome;
  outcome.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  outcome.out = content((scratch / "out").string());
  outcome.err = content((scratch / "err").string());
  outcome.peak_kb = usage.ru_maxrss;
  outcome.peak_threads = threads;
  return outcome;
}

std::vector<io::Tree> json_lines(const std::string& out) {
  std::vector<io::Tree> lines;
  std::istringstream in(out);
  for (std::string line; std::getline(in, line);) {
    try {
      lines.push_back(io::parse_json(line, "stdout"));
    } catch (const Error& e) {
      ADD_FAILURE() << e.what() << " in: " << line.substr(0, 200);
    }
  }
  return lines;
}

}  // namespace m2bert::test
