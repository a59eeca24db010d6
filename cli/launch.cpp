#include "cli/launch.h"

#include <arpa/inet.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <memory>
#include <mutex>
#include <set>
#include <streambuf>
#include <thread>

#include "cli/blocked_signals.h"
#include "cli/child_process.h"
#include "cli/temporary_file.h"
#include "m2bert/error.h"
#include "m2bert/io/file.h"
#include "m2bert/io/interrupt.h"
#include "m2bert/io/json.h"
#include "m2bert/mx.h"
#include "m2bert/threads.h"
#include "m2bert/train/processes.h"

namespace m2bert::cli {
namespace {

constexpr const char* kLaunched = "M2BERT_LOCAL_PROCESSES";
constexpr int kPassedSignals[] = {SIGINT, SIGTERM, SIGHUP};

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
    const auto [fd, name] = make_temporary_file("m2bert-launch-", "--launch");
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
  const auto gpus = visible_gpus();
  if (!gpus.empty()) all.emplace_back("CUDA_VISIBLE_DEVICES", gpus[size_t(rank) % gpus.size()]);
  else if (!std::getenv("CUDA_VISIBLE_DEVICES")) all.emplace_back("CUDA_VISIBLE_DEVICES", std::to_string(rank));
  return all;
}

// An unnamed temporary file.
class Scratch {
 public:
  Scratch() {
    const auto [fd, name] = make_temporary_file("m2bert-launch-", "--launch");
    ::unlink(name.c_str());
    fd_ = fd;
  }
  ~Scratch() { ::close(fd_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  int fd() const { return fd_; }
  std::string content() const {
    std::string text(1 << 16, '\0');
    const ssize_t n = ::pread(fd_, text.data(), text.size(), 0);
    text.resize(n > 0 ? size_t(n) : 0);
    return text;
  }

 private:
  int fd_;
};

// Sets a handler, but leaves a SIGHUP alone that nohup(1) has set to be ignored.
void set_handler(int signal, void (*handler)(int)) {
  if (signal != SIGHUP || !io::is_ignored(signal)) ::signal(signal, handler);
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

  // Waits for all processes. After the first failure the others are told, and killed if they do not stop.
  void wait() {
    while (std::ranges::any_of(pids_, [](pid_t pid) { return pid > 0; })) {
      if (const int signal = signal_to_pass) {
        signal_to_pass = 0;
        passed_ = signal;
        send(pids_, signal);
      }
      int status = 0;
      const pid_t pid = ::waitpid(-1, &status, WNOHANG);
      if (pid > 0) ended(pid, status);
      else std::this_thread::sleep_for(std::chrono::milliseconds(20));
      if (failed_at_) stop_others(Clock::now() - *failed_at_);
    }
  }
  // The exit code of the run.
  int code() const { return problem_.empty() ? code_ : 1; }
  // The message about the end of the run; empty if a process has printed it.
  const std::string& problem() const { return problem_; }
  // The process whose error output says why the run failed; -1 for none, or if rank 0, whose output is visible, failed with an error
  // itself.
  int culprit() const { return first_spoke_ ? -1 : culprit_; }

 private:
  using Clock = std::chrono::steady_clock;

  void ended(pid_t pid, int status) {
    const auto at = std::ranges::find(pids_, pid);
    if (at == pids_.end()) return;
    *at = 0;
    const int rank = int(at - pids_.begin());
    const int signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    const bool killed = signal != 0 && signal != passed_ && signal != train::kProcessLostSignal;
    const int code = signal == 0 ? WEXITSTATUS(status) : killed ? 1 : signal == passed_ ? 128 + signal : kProcessLost;
    if (code == 0) return;
    first_spoke_ = first_spoke_ || (rank == 0 && WIFEXITED(status) && code == 1);
    if (!failed_at_) failed_at_ = Clock::now();
    if (code_ != 0 && (code_ != kProcessLost || killing_)) return;  // the first cause counts
    code_ = code;
    if (killed) {
      problem_ = "process " + std::to_string(rank) + " of the run was ended by signal " + std::to_string(signal);
    } else if (code == 1) {
      culprit_ = rank;
    }
  }

  // The others need a moment where they end by themselves: a process that was asked to stop has informed them, and an error that all have
  // is best reported by rank 0. Rank 0 also saves the run, which may take long; once it has ended, the others have nothing left to do.
  void stop_others(Clock::duration since) {
    using std::chrono::seconds;
    if (!told_ && (!problem_.empty() || since > seconds(2))) {
      send(pids_, train::kProcessLostSignal);
      send(pids_, SIGCONT);  // one that was stopped ends, and rank 0 saves
      told_ = true;
    }
    const bool saved = pids_.front() == 0;
    if (since > seconds(saved ? 5 : 20)) {
      killing_ = true;
      send({pids_.begin() + 1, pids_.end()}, SIGKILL);
    }
    if (since > seconds(600)) send(pids_, SIGKILL);
  }

  std::vector<pid_t> pids_;
  std::string problem_;
  int code_ = 0, culprit_ = -1, passed_ = 0;
  std::optional<Clock::time_point> failed_at_;
  bool first_spoke_ = false, told_ = false, killing_ = false;
};

// The words that give the global options.
std::vector<std::string> global_words(const Globals& globals) {
  std::vector<std::string> words;
  if (globals.json) words.emplace_back("--json");
  if (globals.quiet) words.emplace_back("--quiet");
  if (!globals.device.empty()) words.insert(words.end(), {"--device", globals.device});
  if (globals.threads > 0) words.insert(words.end(), {"--threads", std::to_string(globals.threads)});
  return words;
}

// An option's values, each behind the option's name. One that begins with a dash is joined to it, so that it is not read as an option.
void append_values(std::vector<std::string>& words, const CLI::Option& option) {
  for (const std::string& value : option.results()) {
    const bool joined = !option.get_positional() && value.starts_with("-");
    if (joined) words.push_back(option.get_name() + "=" + value);
    if (!joined && !option.get_positional()) words.push_back(option.get_name());
    if (!joined) words.push_back(value);
  }
}

}  // namespace

int launch(int count, const std::vector<std::string>& arguments, const Globals& globals, const std::string& advice) {
  for (const int signal : kPassedSignals) set_handler(signal, remember_signal);
  auto ports = free_ports(count + 1);
  const int nccl_port = ports.back();
  ports.pop_back();
  const Hostfile hosts(ports);
  std::vector<std::string> all = arguments;
  const std::vector<std::string> global = global_words(globals);
  all.insert(all.end(), global.begin(), global.end());
  if (globals.threads == 0 && !std::getenv("OMP_NUM_THREADS"))
    all.insert(all.end(), {"--threads", std::to_string(std::max(1, available_cpus() / count))});
  // Rank 0 prints for all; the output of another process is shown if that process failed first.
  std::vector<std::unique_ptr<Scratch>> said;
  std::vector<pid_t> pids;
  {
    const BlockedSignals signals(kPassedSignals);
    for (int rank = 0; rank < count; ++rank) {
      said.push_back(std::make_unique<Scratch>());
      // If the launcher is killed, the run saves and stops.
      const ChildOptions child{environment_of(rank, count, hosts, nccl_port), -1, -1, rank == 0 ? -1 : said.back()->fd(), SIGTERM};
      pids.push_back(start_child(all, child, signals));
    }
  }
  Crew crew(std::move(pids));
  crew.wait();
  require(crew.problem().empty(), crew.problem(), "; the run stopped. ", advice);
  require(crew.code() != kProcessLost, "the processes of the run have lost each other; the run stopped. ", advice);
  if (crew.culprit() > 0) std::cerr << "process " << crew.culprit() << ": " << said[size_t(crew.culprit())]->content();
  return crew.code();
}

std::vector<std::string> words_of(const CLI::App& app) {
  std::vector<std::string> words;
  for (const CLI::App* level = &app; level->get_parent(); level = level->get_parent()) words.insert(words.begin(), level->get_name());
  for (const CLI::Option* option : app.get_options()) {
    static const std::set<std::string> ours = {"overrides", "--allow-unknown", "--launch", "--hostfile", "--rank", "--help"};
    if (option->count() == 0 || ours.contains(option->get_name())) continue;
    const bool has_value = option->get_positional() || option->get_items_expected_max() > 0;
    if (!has_value) words.push_back(option->get_name());
    else append_values(words, *option);
  }
  return words;
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
