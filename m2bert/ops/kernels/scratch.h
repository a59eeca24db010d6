#pragma once
#include <cstddef>
#include <cstdlib>
#include <memory>
#include <new>

namespace m2bert::ops::kernels {

// Memory of one thread for intermediate values; it grows and is kept from call to call. Values are undefined after a growth.
class Scratch {
 public:
  template <class T>
  T* of(size_t count) {
    const size_t bytes = (count * sizeof(T) + 63) / 64 * 64;
    if (bytes > size_) {
      at_.reset();
      size_ = 0;
      at_.reset(std::aligned_alloc(64, bytes));
      if (!at_) throw std::bad_alloc();
      size_ = bytes;
    }
    return static_cast<T*>(at_.get());
  }

 private:
  struct Free {
    void operator()(void* p) const { std::free(p); }
  };
  std::unique_ptr<void, Free> at_;
  size_t size_ = 0;
};

}  // namespace m2bert::ops::kernels
