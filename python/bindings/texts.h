#pragma once
// Texts from Python as windows of batches.
#include <nanobind/nanobind.h>

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "m2bert/infer/batches.h"
#include "m2bert/infer/read_ahead.h"
#include "python/bindings/runtime.h"

namespace m2bert::python {

namespace nb = nanobind;

// Reads str, or pairs of str, from a Python iterator. Python runs on the calling thread alone; a thread of its own tokenizes and batches
// ahead. The batches are those of Batcher::for_each_window.
class TextWindows {
 public:
  // pairs: the iterator yields (first, second).
  TextWindows(infer::Batcher batcher, nb::iterator texts, bool pairs = false);
  ~TextWindows();
  TextWindows(const TextWindows&) = delete;
  TextWindows& operator=(const TextWindows&) = delete;

  // The next window; nullopt at the end. Call it with the GIL. Throws what the iterator raises, and TypeError for what is no str.
  std::optional<infer::Window> next();

 private:
  using Item = std::pair<std::string, std::string>;

  // What waits to be batched. The threads share it, because a thread that is blocked outlives this object.
  struct Queue {
    std::mutex mutex;
    std::condition_variable changed;
    std::deque<Item> items;
    bool ended = false;

    void push(Item item);
    void end();
    bool pop(Item& item);
  };

  void read();
  Item item_of(nb::handle value) const;

  nb::iterator texts_;
  bool pairs_;
  size_t window_;          // texts that a window has at most
  uint64_t read_ = 0;      // texts that were read
  uint64_t returned_ = 0;  // texts of the windows that were returned
  bool ended_ = false;     // the iterator
  std::shared_ptr<Queue> queue_;
  std::unique_ptr<infer::ReadAhead<infer::Window>> ahead_;
};

// Calls `use` through compute() with each window, and the number of texts before it; after each, progress(texts_done) unless it is None.
using UseWindow = std::function<void(const infer::Window& window, uint64_t first, const Stop& stop)>;
void for_each_window(TextWindows& windows, const mx::Device& device, const nb::object& progress, const UseWindow& use);

// The UTF-8 of a str. UnicodeEncodeError for a lone surrogate; TypeError, which starts with `what`, unless it is a str.
std::string text_of(nb::handle value, const std::string& what);

}  // namespace m2bert::python
