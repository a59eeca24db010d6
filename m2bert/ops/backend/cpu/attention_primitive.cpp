#include <mlx/primitives.h>

#include "m2bert/error.h"
#include "m2bert/ops/backend/cpu/cpu_backend.h"
#include "m2bert/ops/backend/cpu/encode.h"
#include "m2bert/ops/backend/cpu/float_primitive.h"
#include "m2bert/ops/backend/cpu/named_inputs.h"
#include "m2bert/ops/backend/cpu/simd/attention_host.h"
#include "m2bert/ops/dropout_mask.h"
#include "m2bert/threads.h"

namespace m2bert::ops {

namespace cpu {
namespace {

// bias, key_bias and dropout_key are optional; only the gradient has the last four.
enum class AttentionInput { q, k, v, bias, key_bias, dropout_key, y, maxima, sums, dy };
using In = AttentionInput;

// The layout of the inputs. The kernel works with either order of heads and rows.
AttentionPlan plan_of(const StreamingInputs& in, const StreamingAttention& attention) {
  AttentionPlan plan{};
  const auto &q = in.q, &k = in.k;
  plan.d = q.shape(-1), plan.dv = in.v.shape(-1);
  plan.queries = int64_t(q.size()) / std::max(1, plan.d), plan.keys = int64_t(k.size()) / std::max(1, plan.d);
  plan.heads = q.shape(1);
  if (attention.offsets) {
    plan.q_row = plan.k_row = plan.heads;
    plan.q_head = plan.k_head = 1;
    const auto& at = *attention.offsets;
    for (size_t b = 0; b + 1 < at.q.size(); ++b) {
      plan.sequences.push_back(
          {int64_t(at.q[b]) * plan.heads, int64_t(at.k[b]) * plan.heads, 0, at.q[b + 1] - at.q[b], at.k[b + 1] - at.k[b]});
    }
  } else {
    plan.q_row = plan.k_row = 1;
    plan.q_head = q.shape(2), plan.k_head = k.shape(2);
    for (int64_t b = 0; b < q.shape(0); ++b) {
      plan.sequences.push_back({b * plan.heads * plan.q_head, b * plan.heads * plan.k_head, 0, q.shape(2), k.shape(2)});
    }
  }
  plan.y_row = plan.q_row, plan.y_head = plan.q_head;
  for (auto& sequence : plan.sequences) sequence.y_first = sequence.q_first;
  if (in.bias) {
    int64_t step = 1;
    for (int axis = 3; axis >= 0; --axis) {
      plan.bias_steps[axis] = in.bias->shape(axis) == 1 ? 0 : step;
      step *= in.bias->shape(axis);
    }
  }
  if (in.key_bias) plan.key_bias_step = in.key_bias->shape(1);
  plan.slopes = attention.alibi_slopes;
  plan.scale = attention.scale;
  plan.causal = attention.causal;
  plan.dropout.threshold = dropout_threshold(attention.dropout);
  plan.dropout.scale = 1 / (1 - attention.dropout);
  return plan;
}

// The same for q, k and v side by side, qkv [nnz, 3, heads, d]: vectors of one head are three times as far apart as those of y.
AttentionPlan plan_of_qkv(const mx::array& qkv, const StreamingAttention& attention) {
  const auto y = mx::zeros({qkv.shape(0), qkv.shape(2), qkv.shape(3)});
  auto plan = plan_of({y, y, y, {}, {}, {}}, attention);
  plan.q_row = plan.k_row = 3 * plan.heads;
  for (auto& sequence : plan.sequences) sequence.q_first = sequence.k_first = 3 * sequence.y_first;
  return plan;
}

NamedInputs<In> named(const StreamingInputs& in, mx::Stream s) {
  NamedInputs<In> inputs;
  auto add = [&](In name, const std::optional<mx::array>& a) {
    if (a) inputs.add(name, contiguous(*a, s));
  };
  add(In::q, in.q);
  add(In::k, in.k);
  add(In::v, in.v);
  add(In::bias, in.bias);
  add(In::key_bias, in.key_bias);
  add(In::dropout_key, in.dropout_key);
  return inputs;
}

class AttentionPrimitive : public mx::Primitive {
 public:
  AttentionPrimitive(mx::Stream s, AttentionPlan plan, const Positions<In>& inputs)
      : Primitive(s), plan_(std::move(plan)), inputs_(inputs) {}
  bool is_equivalent(const Primitive&) const override { return false; }
  void eval_gpu(const std::vector<mx::array>&, std::vector<mx::array>&) override {
    fail("[scaled_dot_product_attention] this kernel runs on the CPU only");
  }

 protected:
  AttentionInputs pointers(const std::vector<mx::array>& in) const {
    auto at = [&](In name) { return inputs_.data<float>(in, name); };
    return {at(In::q), at(In::k), at(In::v), at(In::bias), at(In::key_bias)};
  }
  // The plan with the two words of the dropout key, read when the task runs.
  static AttentionPlan keyed(AttentionPlan plan, const uint32_t* key) {
    if (key) plan.dropout.key[0] = key[0], plan.dropout.key[1] = key[1];
    return plan;
  }

  AttentionPlan plan_;
  Positions<In> inputs_;
};

class Attention : public AttentionPrimitive {
 public:
  using AttentionPrimitive::AttentionPrimitive;
  const char* name() const override { return "Attention"; }
  void eval_cpu(const std::vector<mx::array>& in, std::vector<mx::array>& out) override {
    auto& encoder = encode(stream(), in, out);
    encoder.dispatch([plan = plan_, pointers = pointers(in), key = inputs_.data<uint32_t>(in, In::dropout_key), y = out[0].data<float>(),
                      rows = SoftmaxStats{out[1].data<float>(), out[2].data<float>()}] {
      enter_pool();
      attention_forward(keyed(plan, key), pointers, y, rows, threads());
    });
  }
};

// Input: qkv. Output: y.
class AttentionQkv : public mx::Primitive {
 public:
  AttentionQkv(mx::Stream s, AttentionPlan plan) : Primitive(s), plan_(std::move(plan)) {}
  const char* name() const override { return "AttentionQkv"; }
  bool is_equivalent(const Primitive&) const override { return false; }
  void eval_gpu(const std::vector<mx::array>&, std::vector<mx::array>&) override {
    fail("[attention_varlen_qkv] this kernel runs on the CPU only");
  }
  std::vector<mx::array> vjp(const std::vector<mx::array>&, const std::vector<mx::array>&, const std::vector<int>&,
                             const std::vector<mx::array>&) override {
    fail("[attention_varlen_qkv] has no gradient; attention_varlen has one");
  }
  void eval_cpu(const std::vector<mx::array>& in, std::vector<mx::array>& out) override {
    auto& encoder = encode(stream(), in, out);
    encoder.dispatch([plan = plan_, qkv = in[0].data<float>(), y = out[0].data<float>()] {
      const int64_t width = int64_t(plan.heads) * plan.d;
      enter_pool();
      attention_forward(plan, {qkv, qkv + width, qkv + 2 * width, nullptr, nullptr}, y, {}, threads());
    });
  }

 private:
  AttentionPlan plan_;
};

class AttentionGradient : public AttentionPrimitive {
 public:
  using AttentionPrimitive::AttentionPrimitive;
  const char* name() const override { return "AttentionGradient"; }
  void eval_cpu(const std::vector<mx::array>& in, std::vector<mx::array>& out) override {
    auto& encoder = encode(stream(), in, out);
    auto floats = [&](In name) { return const_cast<float*>(inputs_.data<float>(in, name)); };
    encoder.dispatch([plan = plan_, pointers = pointers(in), key = inputs_.data<uint32_t>(in, In::dropout_key), y = floats(In::y),
                      rows = SoftmaxStats{floats(In::maxima), floats(In::sums)}, dy = floats(In::dy), dq = out[0].data<float>(),
                      dk = out[1].data<float>(), dv = out[2].data<float>()] {
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
}  // namespace cpu

// The results are y, of q's shape but with dv columns, and the softmax's maxima and sums, of q's shape without the columns.
std::vector<mx::array> CpuBackend::attention_forward(const StreamingInputs& in, const StreamingAttention& attention, mx::Stream s) const {
  const auto plan = cpu::plan_of(in, attention);
  auto shape = in.q.shape();
  auto rows = mx::Shape(shape.begin(), shape.end() - 1);
  shape.back() = plan.dv;
  const auto inputs = cpu::named(in, s);
  return mx::array::make_arrays({shape, rows, rows}, {mx::float32, mx::float32, mx::float32},
                                std::make_shared<cpu::Attention>(s, plan, inputs.positions), inputs.arrays);
}

Backend::Array CpuBackend::attention_qkv(const mx::array& qkv, const StreamingAttention& attention, mx::Stream s) const {
  return mx::array({qkv.shape(0), qkv.shape(2), qkv.shape(3)}, mx::float32,
                   std::make_shared<cpu::AttentionQkv>(s, cpu::plan_of_qkv(qkv, attention)), {cpu::contiguous(qkv, s)});
}

std::vector<mx::array> CpuBackend::attention_backward(const StreamingInputs& in, const StreamingAttention& attention,
                                                      const std::vector<mx::array>& results, const mx::array& dy, mx::Stream s) const {
  using cpu::In;
  auto inputs = cpu::named(in, s);
  inputs.add(In::y, results[0]);
  inputs.add(In::maxima, results[1]);
  inputs.add(In::sums, results[2]);
  inputs.add(In::dy, cpu::contiguous(dy, s));
  return mx::array::make_arrays({in.q.shape(), in.k.shape(), in.v.shape()}, {mx::float32, mx::float32, mx::float32},
                                std::make_shared<cpu::AttentionGradient>(s, cpu::plan_of(in, attention), inputs.positions), inputs.arrays);
}

}  // namespace m2bert::ops
