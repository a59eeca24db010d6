#pragma once
// Tests that run in several processes, which this program starts of itself, joined by MLX's ring.
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <thread>

#include "m2bert/train/distributed.h"
#include "tests/support/scratch.h"

extern char** environ;

namespace m2bert::train {

constexpr const char* kFolder = "M2BERT_TEST_FOLDER";  // of the variable with the folder of run_in_processes()

// Ports that nobody uses, all of them different.
inline std::vector<int> free_ports(int count) {
  std::vector<int> sockets, ports;
  for (int i = 0; i < count; ++i) {
    sockets.push_back(::socket(AF_INET, SOCK_STREAM, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    EXPECT_EQ(::bind(sockets.back(), reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(::getsockname(sockets.back(), reinterpret_cast<sockaddr*>(&address), &size), 0);
    ports.push_back(ntohs(address.sin_port));
  }
  for (const int s : sockets) ::close(s);
  return ports;
}

// Runs the disabled tests of the filter in `count` processes at once. All of them must succeed within two minutes.
inline void run_in_processes(int count, const std::string& filter, const test::Scratch& scratch) {
  std::string hosts;
  for (const int port : free_ports(count)) hosts += (hosts.empty() ? "" : ", ") + ("[\"127.0.0.1:" + std::to_string(port) + "\"]");
  scratch.put("hosts.json", "[" + hosts + "]");
  ::setenv(kFolder, (scratch / "").c_str(), 1);
  ::setenv("MLX_HOSTFILE", (scratch / "hosts.json").c_str(), 1);
  ::setenv("OMP_NUM_THREADS", "1", 1);  // threads of several processes would wait for one another
  std::vector<pid_t> children;
  for (int rank = 0; rank < count; ++rank) {
    ::setenv("MLX_RANK", std::to_string(rank).c_str(), 1);
    std::vector<std::string> words{"test_train", "--gtest_also_run_disabled_tests", "--gtest_filter=" + filter};
    std::vector<char*> arguments;
    for (auto& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    ASSERT_EQ(::posix_spawn(&children.emplace_back(), "/proc/self/exe", nullptr, nullptr, arguments.data(), environ), 0);
  }
  for (const char* name : {kFolder, "MLX_HOSTFILE", "OMP_NUM_THREADS", "MLX_RANK"}) ::unsetenv(name);
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::minutes(2);
  for (int rank = 0; rank < count; ++rank) {
    int status = -1;
    while (::waitpid(children[size_t(rank)], &status, WNOHANG) == 0) {
      if (std::chrono::steady_clock::now() > deadline) {
        ADD_FAILURE() << "process " << rank << " does not end";
        ::kill(children[size_t(rank)], SIGKILL);
        ::waitpid(children[size_t(rank)], &status, 0);
        break;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    EXPECT_EQ(status, 0) << "process " << rank;
  }
}

// For the tests in those processes: all of them, joined once, and the folder.
inline const Processes& joined() {
  static const auto* processes = [] {
    ::signal(SIGPIPE, SIG_IGN);  // as in the program: the connection to a process that is gone
    return new Processes(join_processes(20));
  }();
  return *processes;
}
inline std::filesystem::path shared_folder() { return std::getenv(kFolder); }

}  // namespace m2bert::train
