#pragma once
#include <sys/mman.h>

#include <cstddef>
#include <cstdlib>
#include <memory>
#include <new>

namespace m2bert::ops::cpu {

// Memory for the intermediate values of one thread, usually a static thread_local: it grows and is never given back, so that later calls
// need no allocation. Not thread-safe. Throws std::bad_alloc.
class Scratch {
 public:
  // Memory for `count` values, aligned to 64 bytes. The values are undefined after it has grown.
  template <class T>
  T* of(size_t count) {
    const size_t wanted = count * sizeof(T), unit = wanted >= kHugePage / 2 ? kHugePage : 64, bytes = (wanted + unit - 1) / unit * unit;
    if (bytes > size_) {
      at_.reset();
      size_ = 0;
      at_.reset(allocate(bytes));
      if (!at_) throw std::bad_alloc();
      size_ = bytes;
    }
    return static_cast<T*>(at_.get());
  }

 private:
  static constexpr size_t kHugePage = size_t(2) << 20;

  // Large scratch memory uses huge pages where the system has them: the FFT walks it with long strides, a new page each step.
  static void* allocate(size_t bytes) {
    if (bytes % kHugePage != 0) return std::aligned_alloc(64, bytes);
    void* at = std::aligned_alloc(kHugePage, bytes);
#ifdef MADV_HUGEPAGE
    if (at) madvise(at, bytes, MADV_HUGEPAGE);
#endif
    return at;
  }

  struct Free {
    void operator()(void* p) const { std::free(p); }
  };
  std::unique_ptr<void, Free> at_;
  size_t size_ = 0;
};

}  // namespace m2bert::ops::cpu
