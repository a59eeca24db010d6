#pragma once
// The thread that computes with MLX for Python, and signals.
#include <nanobind/nanobind.h>

#include <functional>
#include <optional>
#include <string>
#include <utility>

#include "m2bert/mx.h"

namespace m2bert::python {

// true: somebody pressed Ctrl-C, and the work should end soon; its result is thrown away.
using Stop = std::function<bool()>;

// "cpu" or "gpu"; nullopt: MLX's default device, or the processor if that is a GPU that is not there. Error: another name, or no GPU.
mx::Device device_named(const std::optional<std::string>& name);

// Runs the work on the one thread of this process that computes, and waits for it without the GIL; call it with the GIL. MLX's default
// streams and OpenMP's pools belong to threads, so all models share one. device: where the work runs. Rethrows what the work throws. Ctrl-C
// raises KeyboardInterrupt once the work has ended. A call from a callback of the work runs within it, on its device. RuntimeError in a
// process that was forked after the first use.
void compute(const mx::Device& device, const std::function<void(const Stop& stop)>& work);

// The same for work that has a result.
template <class Work>
auto computed(const mx::Device& device, Work&& work) {
  std::optional<decltype(work(std::declval<const Stop&>()))> result;
  compute(device, [&](const Stop& stop) { result.emplace(work(stop)); });
  return *std::move(result);
}

// Releases the GIL for its lifetime. When Python ends, a daemon thread that is in it stays there: taking the GIL would end that thread in
// the middle of C++ code.
class WithoutGil {
 public:
  WithoutGil() : released_(std::in_place) {}
  ~WithoutGil();
  WithoutGil(const WithoutGil&) = delete;
  WithoutGil& operator=(const WithoutGil&) = delete;

 private:
  std::optional<nanobind::gil_scoped_release> released_;
};

// Runs Python's handlers of signals, takes the GIL for it, and throws what they raise.
void check_signals();

}  // namespace m2bert::python
