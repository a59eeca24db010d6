#include "cli/child_process.h"

#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <sstream>

#include "m2bert/error.h"
#include "m2bert/io/interrupt.h"
#include "m2bert/threads.h"

#ifdef __linux__
#include <sys/prctl.h>
#endif

namespace m2bert::cli {
namespace {

void die_with(pid_t parent, int signal) {
#ifdef __linux__
  ::prctl(PR_SET_PDEATHSIG, signal);
  if (::getppid() != parent) ::_exit(1);  // it is dead already
#else
  (void)parent, (void)signal;
#endif
}

void redirect(int descriptor, int stream) {
  if (descriptor >= 0) ::dup2(descriptor, stream);
}

[[noreturn]] void become_program(const std::vector<std::string>& arguments) {
  std::vector<char*> argv{const_cast<char*>("m2bert")};
  for (const auto& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
#ifdef __linux__
  ::execv(program_file().c_str(), argv.data());
  ::execv("/proc/self/exe", argv.data());  // where the file was renamed since
#else
  ::execvp("m2bert", argv.data());  // found through PATH
#endif
  std::cerr << "error: cannot start this program again: " << std::strerror(errno) << std::endl;
  ::_exit(1);
}

}  // namespace

pid_t start_child(const std::vector<std::string>& arguments, const ChildOptions& options, const BlockedSignals& signals) {
  const pid_t parent = ::getpid(), child = ::fork();
  require(child >= 0, "cannot start a process: ", std::strerror(errno));
  if (child > 0) return child;
  for (const int signal : {SIGINT, SIGTERM, SIGHUP})
    if (!io::is_ignored(signal)) ::signal(signal, SIG_DFL);
  ::setpgid(0, 0);
  die_with(parent, options.signal_if_orphaned);
  signals.unblock();
  redirect(options.input, STDIN_FILENO);
  redirect(options.output, STDOUT_FILENO);
  redirect(options.error, STDERR_FILENO);
  for (const auto& [name, value] : options.environment) ::setenv(name.c_str(), value.c_str(), 1);
  become_program(arguments);
}

std::vector<std::string> visible_gpus() {
  std::vector<std::string> gpus;
  if (const char* given = std::getenv("CUDA_VISIBLE_DEVICES")) {
    std::istringstream names(given);
    for (std::string name; std::getline(names, name, ',') && !name.empty() && name != "-1";) gpus.push_back(name);  // as CUDA reads it
    return gpus;
  }
  std::error_code none;
  for (const auto& device : std::filesystem::directory_iterator("/dev", none)) {  // in a container any of them may be absent
    const std::string name = device.path().filename().string();
    if (name.starts_with("nvidia") && name.size() > 6 && name.find_first_not_of("0123456789", 6) == std::string::npos)
      gpus.push_back(std::to_string(gpus.size()));
  }
  return gpus;
}

}  // namespace m2bert::cli
