#include <cmath>

#include "m2bert/error.h"
#include "m2bert/ops/backend/cpu/cpu_backend.h"
#include "m2bert/ops/backend/cpu/in_place.h"
#include "m2bert/ops/backend/cpu/simd/optimizer_simd.h"
#include "m2bert/threads.h"

namespace m2bert::ops {

namespace {

std::vector<mx::array*> pointers(std::vector<mx::array>& arrays) {
  std::vector<mx::array*> all;
  for (auto& a : arrays) all.push_back(&a);
  return all;
}

}  // namespace

bool CpuBackend::adamw_update(const std::vector<AdamWParameter>& parameters, const AdamWOptions& o, mx::Stream s) const {
  std::vector<mx::array*> all;
  for (const auto& p : parameters) all.insert(all.end(), {p.value, p.gradient, p.m, p.v});
  cpu::require_plain("adamw_update", all);
  std::vector<cpu::Rewrite> writes;
  std::vector<cpu::AdamWSpan> spans;
  for (const auto& p : parameters) {
    const cpu::Rewrite value(*p.value), m(*p.m), v(*p.v);
    const double step = p.learning_rate / bias_correction(o.beta1, o.step);
    spans.push_back({value.from(), m.from(), v.from(), p.gradient->data<float>(), value.to(), m.to(), v.to(), int64_t(p.value->size()),
                     float(step), float(1 - p.decay)});
    writes.insert(writes.end(), {value, m, v});
  }
  const cpu::AdamWConstants c{
      float(o.beta1),          float(o.beta2),         float(o.eps), float(1 / std::sqrt(bias_correction(o.beta2, o.step))),
      float(o.gradient_scale), float(o.gradient_limit)};
  cpu::run_on(s, [&] { cpu::adamw_spans(spans, c, threads()); });
  for (auto& write : writes) write.done();
  return true;
}

std::optional<double> CpuBackend::global_norm(const std::vector<mx::array>& arrays, mx::Stream s) const {
  auto plain = arrays;
  cpu::require_plain("global_norm", pointers(plain));
  std::vector<cpu::ConstSpan> spans;
  for (const auto& a : plain) spans.push_back({a.data<float>(), int64_t(a.size())});
  double sum = 0;
  cpu::run_on(s, [&] { sum = cpu::sum_of_squares(spans, threads()); });
  return std::sqrt(sum);
}

bool CpuBackend::axpby(const std::vector<mx::array*>& y, const std::vector<mx::array>& x, double a, double b, mx::Stream s) const {
  auto plain = x;
  cpu::require_plain("axpby", y);
  cpu::require_plain("axpby", pointers(plain));
  std::vector<cpu::Rewrite> writes;
  std::vector<cpu::AxpbySpan> spans;
  for (size_t i = 0; i < y.size(); ++i) {
    const auto& write = writes.emplace_back(*y[i]);
    spans.push_back({write.from(), plain[i].data<float>(), write.to(), int64_t(y[i]->size())});
  }
  cpu::run_on(s, [&] { cpu::axpby_spans(spans, float(a), float(b), threads()); });
  for (auto& write : writes) write.done();
  return true;
}

}  // namespace m2bert::ops
