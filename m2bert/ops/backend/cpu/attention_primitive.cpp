#include "m2bert/error.h"
#include "m2bert/ops/backend/cpu/attention_primitive.h"

#ifdef M2BERT_CPU_KERNELS
#include <mlx/primitives.h>

#include "m2bert/ops/backend/cpu/encode.h"
#include "m2bert/ops/backend/backend.h"
#include "m2bert/threads.h"

namespace m2bert::ops::cpu {

namespace {

// Inputs of both primitives: q, k, v, then what there is of bias, key_bias and dropout_key.
struct Places {
  int bias = -1, key_bias = -1, dropout_key = -1, end = 3;
  explicit Places(const AttentionArrays& in) {
    if (in.bias) bias = end++;
    if (in.key_bias) key_bias = end++;
    if (in.dropout_key) dropout_key = end++;
  }
};

std::vector<mx::array> inputs_of(const AttentionArrays& in, mx::Stream s) {
  std::vector<mx::array> all{in.q, in.k, in.v};
  for (const auto* a : {&in.bias, &in.key_bias, &in.dropout_key}) {
    if (*a) all.push_back(**a);
  }
  for (auto& a : all) a = mx::contiguous(a, false, s);
  return all;
}

class AttentionPrimitive : public mx::Primitive {
 public:
  AttentionPrimitive(mx::Stream s, AttentionPlan plan, Places places) : Primitive(s), plan_(std::move(plan)), places_(places) {}
  bool is_equivalent(const Primitive&) const override { return false; }
  void eval_gpu(const std::vector<mx::array>&, std::vector<mx::array>&) override {
    fail("[scaled_dot_product_attention] the kernel runs on the CPU alone");
  }

 protected:
  AttentionInputs pointers(const std::vector<mx::array>& in) const {
    auto at = [&](int i) { return i < 0 ? nullptr : in[size_t(i)].data<float>(); };
    return {at(0), at(1), at(2), at(places_.bias), at(places_.key_bias)};
  }
  // The plan with the key's two words, which may have been computed just now.
  static AttentionPlan keyed(AttentionPlan plan, const uint32_t* key) {
    if (key) plan.dropout.key[0] = key[0], plan.dropout.key[1] = key[1];
    return plan;
  }
  const uint32_t* dropout_key(const std::vector<mx::array>& in) const {
    return places_.dropout_key < 0 ? nullptr : in[size_t(places_.dropout_key)].data<uint32_t>();
  }

  AttentionPlan plan_;
  Places places_;
};

class Attention : public AttentionPrimitive {
 public:
  using AttentionPrimitive::AttentionPrimitive;
  const char* name() const override { return "Attention"; }
  void eval_cpu(const std::vector<mx::array>& in, std::vector<mx::array>& out) override {
    auto& encoder = encode(stream(), in, out);
    encoder.dispatch([plan = plan_, pointers = pointers(in), key = dropout_key(in), y = out[0].data<float>(),
                      rows = SoftmaxStats{out[1].data<float>(), out[2].data<float>()}] {
      enter_pool();
      attention_forward(keyed(plan, key), pointers, y, rows, threads());
    });
  }
};

// Behind the common inputs: y, maxima, sums, dy.
class AttentionGradient : public AttentionPrimitive {
 public:
  using AttentionPrimitive::AttentionPrimitive;
  const char* name() const override { return "AttentionGradient"; }
  void eval_cpu(const std::vector<mx::array>& in, std::vector<mx::array>& out) override {
    auto& encoder = encode(stream(), in, out);
    auto more = [&](int i) { return const_cast<float*>(in[size_t(places_.end + i)].data<float>()); };
    encoder.dispatch([plan = plan_, pointers = pointers(in), key = dropout_key(in), y = more(0), rows = SoftmaxStats{more(1), more(2)},
                      dy = more(3), dq = out[0].data<float>(), dk = out[1].data<float>(), dv = out[2].data<float>()] {
      enter_pool();
      attention_backward(keyed(plan, key), pointers, y, rows, dy, dq, dk, dv, threads());
    });
  }
  std::vector<mx::array> vjp(const std::vector<mx::array>&, const std::vector<mx::array>&, const std::vector<int>&,
                             const std::vector<mx::array>&) override {
    fail("[scaled_dot_product_attention] has no second derivative; scaled_dot_product_attention_fallback has one");
  }
};

}  // namespace

std::vector<mx::array> attention_forward(const AttentionArrays& in, const AttentionPlan& plan, mx::Stream s) {
  auto shape = in.q.shape();
  auto rows = mx::Shape(shape.begin(), shape.end() - 1);
  shape.back() = plan.dv;
  return mx::array::make_arrays({shape, rows, rows}, {mx::float32, mx::float32, mx::float32},
                                std::make_shared<Attention>(s, plan, Places(in)), inputs_of(in, s));
}

std::vector<mx::array> attention_backward(const AttentionArrays& in, const AttentionPlan& plan, const std::vector<mx::array>& results,
                                          const mx::array& dy, mx::Stream s) {
  auto inputs = inputs_of(in, s);
  inputs.insert(inputs.end(), results.begin(), results.end());
  inputs.push_back(mx::contiguous(dy, false, s));
  return mx::array::make_arrays({in.q.shape(), in.k.shape(), in.v.shape()}, {mx::float32, mx::float32, mx::float32},
                                std::make_shared<AttentionGradient>(s, plan, Places(in)), inputs);
}

}  // namespace m2bert::ops::cpu

#else

namespace m2bert::ops::cpu {

std::vector<mx::array> attention_forward(const AttentionArrays&, const AttentionPlan&, mx::Stream) {
  fail("[scaled_dot_product_attention] this build has no CPU kernels");
}
std::vector<mx::array> attention_backward(const AttentionArrays&, const AttentionPlan&, const std::vector<mx::array>&, const mx::array&,
                                          mx::Stream) {
  fail("[scaled_dot_product_attention] this build has no CPU kernels");
}

}  // namespace m2bert::ops::cpu
#endif
