#include "m2bert/ops/backend/cpu/in_place.h"

#include <mlx/backend/cpu/encoder.h>

#include <optional>

#include "m2bert/allocate.h"
#include "m2bert/error.h"
#include "m2bert/ops/backend/cpu/thread_pool.h"

namespace m2bert::ops::cpu {

void require_plain(const char* op, std::vector<mx::array*> arrays) {
  std::vector<mx::array> now;
  for (auto* a : arrays) {
    require(a->dtype() == mx::float32, "[", op, "] an array has dtype ", a->dtype(), ", wants float32");
    now.push_back(*a);
  }
  mx::eval(now);
  now.clear();
  for (auto* a : arrays) {
    if (a->flags().row_contiguous && a->data_size() == a->size()) continue;
    *a = mx::contiguous(*a);
    a->eval();
  }
}

Rewrite::Rewrite(mx::array& array) : array_(&array), from_(array.data<float>()) {
  if (array.is_donatable()) {
    to_ = array.data<float>();
    return;
  }
  fresh_ = mx::array(allocate(array.nbytes()), array.shape(), mx::float32);
  to_ = fresh_->data<float>();
}

void Rewrite::done() {
  if (fresh_) *array_ = *fresh_;
}

void run_on(mx::Stream s, std::function<void()> task) {
  mx::cpu::get_command_encoder(s).dispatch([task = std::move(task)] {
    enter_pool();
    task();
  });
  mx::synchronize(s);
}

}  // namespace m2bert::ops::cpu
