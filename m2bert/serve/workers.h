#pragma once
// Threads that read requests, tokenize texts and write responses, so that neither the sockets nor the engine wait for them.
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace m2bert::serve {

class Workers {
 public:
  explicit Workers(int threads);
  ~Workers();  // runs what was posted, then ends
  Workers(const Workers&) = delete;
  Workers& operator=(const Workers&) = delete;

  // job must not throw.
  void post(std::function<void()> job);
  int size() const { return static_cast<int>(threads_.size()); }

 private:
  void work();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> jobs_;
  bool stop_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace m2bert::serve
