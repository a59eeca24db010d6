#include "m2bert/train/processes.h"

#include <signal.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <numeric>
#include <ranges>
#include <thread>

#include "m2bert/io/interrupt.h"
#include "m2bert/ops/gradients.h"

namespace m2bert::train {

namespace {

using Clock = std::chrono::steady_clock;

// Smaller arrays are sent together: a message each would cost more than their bytes.
constexpr size_t kSmall = 1 << 16;

// Arrays that are summed together on a GPU: a launch copies one more into one. Launching a collective operation for each would take the
// host longer than the transfer takes the GPU.
constexpr size_t kBucket = 31;

// Seconds that a process which was asked to stop waits for the others.
constexpr double kPatience = 60;

std::atomic<bool> process_lost{false};

// Waits until all arrays are available. Pauses are short in proportion to the wait, as most waits are.
void wait_until_available(const nn::Arrays& arrays, double timeout) {
  const auto start = Clock::now();
  while (!std::ranges::all_of(arrays, [](const mx::array& a) { return a.is_available(); })) {
    if (process_lost) throw ProcessLost("another process of this run is gone");
    const double waited = std::chrono::duration<double>(Clock::now() - start).count();
    const double limit = io::interrupted() ? std::min(timeout, kPatience) : timeout;
    if (waited > limit) {
      std::ostringstream message;
      message << "waited " << limit << " s for another process of this run, which hangs, is unreachable or very slow (dist_timeout)";
      throw ProcessTimeout(message.str());
    }
    std::this_thread::sleep_for(std::chrono::duration<double>(std::clamp(waited / 16, 1e-5, 2e-4)));
  }
}

}  // namespace

const int kProcessLostSignal = SIGUSR1;

void handle_process_lost_signal() {
  ::signal(kProcessLostSignal, [](int) { process_lost = true; });
}

bool is_process_lost() { return process_lost; }

Processes::Processes(mx::distributed::Group group, double timeout) : group_(std::move(group)), timeout_(timeout) {
  const mx::Device device = mx::default_device();
  stream_ = device == mx::Device::cpu ? mx::new_stream(device) : mx::default_stream(device);
}

mx::array Processes::sum(const mx::array& a) const { return mx::distributed::all_sum(a, group_, *stream_); }

// Computes sums. Turns MLX's exception for a lost connection into ProcessLost.
void Processes::wait_for(const nn::Arrays& sums) const {
  try {
    mx::async_eval(sums);
    wait_until_available(sums, timeout_);
  } catch (const ProcessLost&) {
    throw;
  } catch (const std::exception& e) {
    throw ProcessLost(std::string("another process of this run is gone (") + e.what() + ")");
  }
}

void Processes::sum_arrays(nn::Arrays& arrays) const {
  if (size() == 1) return;
  std::vector<mx::array*> small;
  nn::Arrays values, sums;
  std::vector<mx::Shape> shapes;
  for (auto& a : arrays) {
    if (a.size() < kSmall && a.dtype() == mx::float32) {
      small.push_back(&a);
      values.push_back(a), shapes.push_back(a.shape());
    } else {
      sums.push_back(a = sum(a));
    }
  }
  if (!small.empty()) sums.push_back(sum(ops::flatten_together(values)));
  wait_for(sums);
  if (!small.empty()) {
    const auto parts = ops::unflatten(sums.back(), shapes);
    for (size_t i = 0; i < small.size(); ++i) *small[i] = parts[i];
  }
  mx::eval(arrays);
}

// In a graph of a GPU, operations that share no buffer run in any order, or at once. That of the sums must be the same for all processes,
// so a value of each one is among the values of the next.
std::vector<nn::Arrays> Processes::sum_lazily(nn::Arrays& arrays, std::optional<mx::array>& last) const {
  std::vector<nn::Arrays> stages;
  if (size() == 1) return stages;
  std::vector<mx::array*> bucket;
  auto sum_bucket = [&] {
    nn::Arrays values;
    std::vector<mx::Shape> shapes;
    for (const auto* a : bucket) values.push_back(*a), shapes.push_back(a->shape());
    stages.push_back(values);
    if (stages.size() > 1) stages.back().push_back(*last);
    if (last) values.push_back(mx::slice(*last, {0}, {1}));
    last = sum(ops::flatten_together(values));
    const auto sums = ops::unflatten(*last, shapes);
    for (size_t i = 0; i < bucket.size(); ++i) *bucket[i] = sums[i];
    bucket.clear();
  };
  for (auto& a : std::views::reverse(arrays)) {
    if (a.size() == 0) continue;
    bucket.push_back(&a);
    if (bucket.size() == kBucket) sum_bucket();
  }
  if (!bucket.empty()) sum_bucket();
  return stages;
}

std::vector<int64_t> Processes::sum_counts(const std::vector<int64_t>& values) const {
  if (size() == 1) return values;
  const auto total = sum(mx::array(values.data(), {int(values.size())}, mx::int64));
  wait_for({total});
  return {total.data<int64_t>(), total.data<int64_t>() + total.size()};
}

double Processes::sum_value(double value) const {
  if (size() == 1) return value;
  const auto total = sum(mx::array({float(value)}));
  wait_for({total});
  return total.data<float>()[0];
}

mx::array Processes::gather_rows(const mx::array& rows) const {
  if (size() == 1) return rows;
  const int n = rows.shape(0), before = n * rank(), after = n * (size() - 1 - rank());
  const auto total = sum(mx::pad(rows, {{before, after}, {0, 0}}));
  wait_for({total});
  return total;
}

template <class T>
std::vector<T> Processes::gather(const std::vector<T>& values) const {
  if (size() == 1) return values;
  std::vector<int64_t> sizes(size_t(size()), 0);
  sizes[size_t(rank())] = int64_t(values.size());
  sizes = sum_counts(sizes);
  std::vector<T> all(size_t(std::accumulate(sizes.begin(), sizes.end(), int64_t{0})), 0);
  if (all.empty()) return all;
  std::ranges::copy(values, all.begin() + std::accumulate(sizes.begin(), sizes.begin() + rank(), int64_t{0}));
  const auto total = sum(mx::array(all.data(), {int(all.size())}));
  wait_for({total});
  return {total.template data<T>(), total.template data<T>() + total.size()};
}

template std::vector<float> Processes::gather(const std::vector<float>& values) const;
template std::vector<int64_t> Processes::gather(const std::vector<int64_t>& values) const;

int64_t Processes::max(int64_t value) const {
  std::vector<int64_t> all(size_t(size()), 0);
  all[size_t(rank())] = value;
  return std::ranges::max(sum_counts(all));
}

void Processes::broadcast(const std::vector<mx::array*>& arrays) const {
  if (size() == 1) return;
  nn::Arrays all;
  for (auto* a : arrays) all.push_back(first() ? *a : mx::zeros_like(*a));
  sum_arrays(all);
  for (size_t i = 0; i < arrays.size(); ++i) *arrays[i] = all[i];
}

std::string Processes::broadcast(const std::string& text) const {
  if (size() == 1) return text;
  const auto length = sum_counts({first() ? int64_t(text.size()) : 0})[0];
  std::vector<int64_t> bytes(static_cast<size_t>(length));
  if (first()) std::copy(text.begin(), text.end(), bytes.begin());
  std::string copy;
  for (const int64_t byte : sum_counts(bytes)) copy += static_cast<char>(byte);
  return copy;
}

}  // namespace m2bert::train
