#pragma once
#include <sys/mman.h>

#include <cstddef>
#include <cstdlib>
#include <memory>
#include <new>

namespace m2bert::ops::cpu {

// Memory of one thread for intermediate values; it grows and is kept from call to call. Values are undefined after a growth.
class Scratch {
 public:
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

  // Much memory comes in huge pages where the system has them: transforms walk it with long strides, a page each step.
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
