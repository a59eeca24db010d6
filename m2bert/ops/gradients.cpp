#include "m2bert/ops/gradients.h"

#include <cmath>

#include "m2bert/error.h"
#include "m2bert/ops/backend/cpu/in_place.h"
#include "m2bert/ops/backend/backend.h"
#include "m2bert/ops/backend/cpu/simd/optimizer_simd.h"
#include "m2bert/threads.h"

namespace m2bert::ops {

namespace {

void check(const std::vector<mx::array*>& y, const std::vector<mx::array>& x) {
  require(y.size() == x.size(), "[axpby] y has ", y.size(), " arrays, x ", x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    require(y[i]->shape() == x[i].shape(), "[axpby] y has shape ", y[i]->shape(), ", x ", x[i].shape());
  }
}

std::vector<mx::array*> pointers(std::vector<mx::array>& arrays) {
  std::vector<mx::array*> all;
  for (auto& a : arrays) all.push_back(&a);
  return all;
}

}  // namespace

double global_norm(const std::vector<mx::array>& arrays, mx::StreamOrDevice s) {
  if (!cpu::cpu_kernels(s)) return global_norm_fallback(arrays, s);
  double sum = 0;
#ifdef M2BERT_CPU_KERNELS
  auto plain = arrays;
  cpu::require_plain("global_norm", pointers(plain));
  std::vector<cpu::ConstSpan> spans;
  for (const auto& a : plain) spans.push_back({a.data<float>(), int64_t(a.size())});
  cpu::run_on(cpu::stream_of(s), [&] { sum = cpu::sum_of_squares(spans, threads()); });
#endif
  return std::sqrt(sum);
}

double global_norm_fallback(const std::vector<mx::array>& arrays, mx::StreamOrDevice s) {
  std::vector<mx::array> sums;
  for (const auto& a : arrays) sums.push_back(mx::sum(mx::square(a, s), s));
  mx::eval(sums);
  double total = 0;
  for (auto& sum : sums) total += sum.item<float>();
  return std::sqrt(total);
}

void axpby(const std::vector<mx::array*>& y, const std::vector<mx::array>& x, double a, double b, mx::StreamOrDevice s) {
  if (!cpu::cpu_kernels(s)) return mix_into_fallback(y, x, a, b, s);
#ifdef M2BERT_CPU_KERNELS
  check(y, x);
  auto plain = x;
  cpu::require_plain("axpby", y);
  cpu::require_plain("axpby", pointers(plain));
  std::vector<cpu::Rewrite> writes;
  std::vector<cpu::AxpbySpan> spans;
  for (size_t i = 0; i < y.size(); ++i) {
    const auto& write = writes.emplace_back(*y[i]);
    spans.push_back({write.from(), plain[i].data<float>(), write.to(), int64_t(y[i]->size())});
  }
  cpu::run_on(cpu::stream_of(s), [&] { cpu::axpby_spans(spans, float(a), float(b), threads()); });
  for (auto& write : writes) write.done();
#endif
}

void mix_into_fallback(const std::vector<mx::array*>& y, const std::vector<mx::array>& x, double a, double b, mx::StreamOrDevice s) {
  check(y, x);
  std::vector<mx::array> made;
  for (size_t i = 0; i < y.size(); ++i) {
    *y[i] = mx::add(mx::multiply(mx::array(float(a)), *y[i], s), mx::multiply(mx::array(float(b)), x[i], s), s);
    made.push_back(*y[i]);
  }
  mx::eval(made);
}

}  // namespace m2bert::ops
