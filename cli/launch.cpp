#include "cli/launch.h"

#include <arpa/inet.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <memory>
#include <mutex>
#include <streambuf>
#include <thread>

#include "m2bert/error.h"
#include "m2bert/io/file.h"
#include "m2bert/io/json.h"
#include "m2bert/mx.h"
#include "m2bert/threads.h"

#ifdef __linux__
#include <sys/prctl.h>
#endif

namespace m2bert::cli {
namespace {

constexpr const char* kLaunched = "M2BERT_LOCAL_PROCESSES";

// Free ports on the loopback interface.
std::vector<int> free_ports(int count) {
  std::vector<int> sockets, ports;
  for (int i = 0; i < count; ++i) {
    const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    const bool bound = fd >= 0 && ::bind(fd, reinterpret_cast<sockaddr*>(&address), size) == 0 &&
                       ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) == 0;
    require(bound, "--launch: no free port: ", std::strerror(errno));
    sockets.push_back(fd);
    ports.push_back(ntohs(address.sin_port));
  }
  for (const int fd : sockets) ::close(fd);
  return ports;
}

// The hostfile of the ring, removed at the end.
class Hostfile {
 public:
  explicit Hostfile(const std::vector<int>& ports) {
    std::string name = (std::filesystem::temp_directory_path() / "m2bert-hosts-XXXXXX").string();
    const int fd = ::mkstemp(name.data());
    require(fd >= 0, "--launch: cannot make ", name, ": ", std::strerror(errno));
    ::close(fd);
    path_ = name;
    io::Tree hosts = io::Tree::list();
    for (const int port : ports) hosts.push_back(io::Tree::list({io::Tree("127.0.0.1:" + std::to_string(port))}));
    io::write_file(path_, io::to_json(hosts) + "\n");
  }
  ~Hostfile() { ::unlink(path_.c_str()); }
  Hostfile(const Hostfile&) = delete;
  Hostfile& operator=(const Hostfile&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

// The environment variables of a process.
std::vector<std::pair<std::string, std::string>> environment_of(int rank, int count, const Hostfile& hosts, int port) {
  std::vector<std::pair<std::string, std::string>> all = {
      {kLaunched, std::to_string(count)},      {"MLX_RANK", std::to_string(rank)}, {"MLX_WORLD_SIZE", std::to_string(count)},
      {"MLX_HOSTFILE", hosts.path().string()}, {"NCCL_HOST_IP", "127.0.0.1"},      {"NCCL_PORT", std::to_string(port)}};
  if (!std::getenv("CUDA_VISIBLE_DEVICES")) all.emplace_back("CUDA_VISIBLE_DEVICES", std::to_string(rank));
  return all;
}

// An unnamed temporary file.
class Scratch {
 public:
  Scratch() : file_(std::tmpfile()) { require(file_ != nullptr, "--launch: no temporary file: ", std::strerror(errno)); }
  ~Scratch() { std::fclose(file_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  int fd() const { return ::fileno(file_); }
  std::string content() const {
    std::string text(1 << 16, '\0');
    const ssize_t n = ::pread(fd(), text.data(), text.size(), 0);
    text.resize(n > 0 ? size_t(n) : 0);
    return text;
  }

 private:
  std::FILE* file_;
};

// error_output: -1 for this program's own.
pid_t start(const std::vector<std::string>& arguments, const std::vector<std::pair<std::string, std::string>>& environment,
            int error_output) {
  const pid_t parent = ::getpid(), child = ::fork();
  require(child >= 0, "--launch: cannot start a process: ", std::strerror(errno));
  if (child > 0) return child;
  ::setpgid(0, 0);  // the launcher passes Ctrl-C on, once
#ifdef __linux__
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);  // if the launcher is killed, the run saves and stops
  if (::getppid() != parent) ::_exit(kProcessLost);
#else
  (void)parent;
#endif
  if (error_output >= 0) ::dup2(error_output, STDERR_FILENO);
  for (const auto& [name, value] : environment) ::setenv(name.c_str(), value.c_str(), 1);
  std::vector<char*> argv{const_cast<char*>("m2bert")};
  for (const auto& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
#ifdef __linux__
  ::execv("/proc/self/exe", argv.data());
#else
  ::execvp("m2bert", argv.data());  // found through PATH
#endif
  ::_exit(127);
}

volatile sig_atomic_t signal_to_pass = 0;

void remember_signal(int signal) { signal_to_pass = signal; }

void send(const std::vector<pid_t>& running, int signal) {
  for (const pid_t child : running) {
    if (child > 0) ::kill(child, signal);
  }
}

// The processes of a run and how they ended.
class Crew {
 public:
  Crew(std::vector<pid_t> pids) : pids_(std::move(pids)) {}

  // Waits for all processes. After the first failure the others are asked to stop, and killed if they do not.
  int wait() {
    using Clock = std::chrono::steady_clock;
    std::optional<Clock::time_point> deadline;
    while (std::ranges::any_of(pids_, [](pid_t pid) { return pid > 0; })) {
      if (const int signal = signal_to_pass) {
        signal_to_pass = 0;
        send(pids_, signal);
      }
      int status = 0;
      const pid_t pid = ::waitpid(-1, &status, WNOHANG);
      if (pid > 0) {
        ended(pid, status);
      } else {
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
      }
      if (code_ == 0 || stopping_) continue;
      if (!deadline) deadline = Clock::now() + std::chrono::seconds(20);
      if (Clock::now() > *deadline) {
        send(pids_, SIGKILL);
        stopping_ = true;
      }
    }
    return code_;
  }
  // The message about the end of the run; empty if a process has printed it.
  const std::string& problem() const { return problem_; }
  // The process that failed first; -1 for none, or if rank 0 has reported the failure itself.
  int culprit() const { return first_spoke_ ? -1 : culprit_; }

 private:
  void ended(pid_t pid, int status) {
    const auto at = std::ranges::find(pids_, pid);
    if (at == pids_.end()) return;
    *at = 0;
    const int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    first_spoke_ = first_spoke_ || (at == pids_.begin() && code == 1);
    if (code == 0 || (code_ != 0 && code_ != kProcessLost)) return;
    const bool first = code_ == 0;
    code_ = code;
    culprit_ = int(at - pids_.begin());
    if (WIFSIGNALED(status)) {
      problem_ = "process " + std::to_string(culprit_) + " of the run was ended by signal " + std::to_string(WTERMSIG(status));
      code_ = 1;
    }
    const bool was_asked_to_stop = WIFEXITED(status) && code >= 128;  // it has informed the others
    if (first && !was_asked_to_stop) send(pids_, SIGTERM);
  }

  std::vector<pid_t> pids_;
  std::string problem_;
  int code_ = 0, culprit_ = -1;
  bool stopping_ = false, first_spoke_ = false;
};

}  // namespace

int launch(int count, const std::vector<std::string>& arguments, const Globals& globals) {
  auto ports = free_ports(count + 1);
  const int nccl_port = ports.back();
  ports.pop_back();
  const Hostfile hosts(ports);
  std::vector<std::string> all = arguments;
  if (globals.threads == 0) all.insert(all.end(), {"--threads", std::to_string(std::max(1, available_cpus() / count))});
  ::signal(SIGINT, remember_signal);
  ::signal(SIGTERM, remember_signal);
  // Rank 0 prints for all; the output of another process is shown if that process failed first.
  std::vector<std::unique_ptr<Scratch>> said;
  std::vector<pid_t> pids;
  for (int rank = 0; rank < count; ++rank) {
    said.push_back(std::make_unique<Scratch>());
    pids.push_back(start(all, environment_of(rank, count, hosts, nccl_port), rank == 0 ? -1 : said.back()->fd()));
  }
  Crew crew(std::move(pids));
  const int code = crew.wait();
  require(crew.problem().empty(), crew.problem(),
          "; the run stopped. The same command with autoresume=true resumes from its last checkpoint");
  if (crew.culprit() > 0) std::cerr << "process " << crew.culprit() << ": " << said[size_t(crew.culprit())]->content();
  return code;
}

bool is_launched() { return std::getenv(kLaunched) != nullptr; }

// Forwards whole lines, except those of the ring.
class WithoutRingMessages::Filter : public std::streambuf {
 public:
  Filter() : next_(std::cerr.rdbuf(this)) {}
  ~Filter() override {
    std::cerr.rdbuf(next_);
    const std::lock_guard lock(mutex_);
    pass_on();
  }

 protected:
  int overflow(int character) override {
    if (character == traits_type::eof()) return 0;
    const std::lock_guard lock(mutex_);
    line_ += static_cast<char>(character);
    if (character == '\n') pass_on();
    return character;
  }
  int sync() override { return next_->pubsync(); }

 private:
  void pass_on() {
    if (!line_.starts_with("[ring]") && !line_.starts_with("Too many send/recv errors"))
      next_->sputn(line_.data(), std::streamsize(line_.size()));
    next_->pubsync();
    line_.clear();
  }
  std::streambuf* next_;
  std::string line_;
  std::mutex mutex_;
};

WithoutRingMessages::WithoutRingMessages() : filter_(new Filter) {}
WithoutRingMessages::~WithoutRingMessages() { delete filter_; }

}  // namespace m2bert::cli
