#include "m2bert/error.h"
#include "m2bert/ops/kernels/attention.h"

#ifdef M2BERT_CPU_KERNELS
#include <mlx/primitives.h>

#include "m2bert/ops/kernels/attention_simd.h"
#include "m2bert/ops/kernels/encode.h"
#include "m2bert/threads.h"

namespace m2bert::ops::kernels {

namespace {

// q, k, v, key_bias
class SelfAttention : public mx::UnaryPrimitive {
 public:
  SelfAttention(mx::Stream s, int heads, std::vector<float> slopes) : UnaryPrimitive(s), heads_(heads), slopes_(std::move(slopes)) {}
  const char* name() const override { return "SelfAttention"; }
  bool is_equivalent(const Primitive& other) const override {
    const auto& o = static_cast<const SelfAttention&>(other);
    return o.heads_ == heads_ && o.slopes_ == slopes_;
  }
  void eval_gpu(const std::vector<mx::array>&, mx::array&) override { fail("[self_attention] the kernel runs on the CPU alone"); }
  void eval_cpu(const std::vector<mx::array>& in, mx::array& out) override {
    auto& encoder = encode(stream(), in, out);
    if (out.dtype() == mx::float32) {
      dispatch<float>(encoder, in, out);
    } else {
      dispatch<uint16_t>(encoder, in, out);
    }
  }

 private:
  template <class T>
  void dispatch(mx::cpu::CommandEncoder& encoder, const std::vector<mx::array>& in, mx::array& out) const {
    encoder.dispatch([q = in[0].data<T>(), k = in[1].data<T>(), v = in[2].data<T>(), key_bias = in[3].data<float>(), slopes = slopes_,
                      B = out.shape(0), S = out.shape(1), d = out.shape(2) / heads_, heads = heads_, y = out.data<T>()] {
      self_attention_rows<T>(q, k, v, key_bias, slopes.empty() ? nullptr : slopes.data(), B, S, heads, d, y, threads());
    });
  }

  int heads_;
  std::vector<float> slopes_;
};

}  // namespace

mx::array self_attention(const mx::array& q, const mx::array& k, const mx::array& v, int heads, const mx::array& key_bias,
                         const std::vector<float>& slopes, mx::Stream s) {
  auto plain = [&](const mx::array& a) { return mx::contiguous(a, false, s); };
  return mx::array(q.shape(), q.dtype(), std::make_shared<SelfAttention>(s, heads, slopes),
                   {plain(q), plain(k), plain(v), plain(mx::astype(key_bias, mx::float32, s))});
}

}  // namespace m2bert::ops::kernels

#else

namespace m2bert::ops::kernels {

mx::array self_attention(const mx::array&, const mx::array&, const mx::array&, int, const mx::array&, const std::vector<float>&,
                         mx::Stream) {
  fail("[self_attention] this build has no CPU kernels");
}

}  // namespace m2bert::ops::kernels
#endif
