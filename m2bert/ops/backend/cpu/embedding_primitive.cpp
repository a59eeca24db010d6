#include "m2bert/ops/backend/cpu/embedding_primitive.h"

#include "m2bert/error.h"
#include "m2bert/ops/backend/backend.h"

#ifdef M2BERT_CPU_KERNELS
#include "m2bert/ops/backend/cpu/simd/embedding_host.h"
#include "m2bert/ops/backend/cpu/encode.h"
#include "m2bert/ops/backend/cpu/simd/twiddles.h"
#include "m2bert/ops/backend/cpu/float_primitive.h"
#include "m2bert/threads.h"

namespace m2bert::ops::cpu {

namespace {

// Inputs: the norm's weight and bias; then of each table values, index, and the scales where it is int8.
class EmbeddingNorm : public mx::Primitive {
 public:
  EmbeddingNorm(mx::Stream s, int tables, float eps) : Primitive(s), tables_(tables), eps_(eps) {}
  const char* name() const override { return "EmbeddingNorm"; }
  bool is_equivalent(const Primitive& other) const override {
    const auto& o = static_cast<const EmbeddingNorm&>(other);
    return o.tables_ == tables_ && o.eps_ == eps_;
  }
  void eval_cpu(const std::vector<mx::array>& in, std::vector<mx::array>& out) override {
    auto& encoder = encode(stream(), in, out[0]);
    out[0].dtype() == mx::float32 ? run<float>(encoder, in, out[0]) : run<uint16_t>(encoder, in, out[0]);
  }
  void eval_gpu(const std::vector<mx::array>&, std::vector<mx::array>&) override {
    fail("[embedding_norm] the kernel runs on the CPU alone");
  }

 private:
  template <class T>
  void run(mx::cpu::CommandEncoder& encoder, const std::vector<mx::array>& in, mx::array& out) const {
    EmbeddingInputs source;
    size_t next = 2;
    for (int t = 0; t < tables_; ++t) {
      const mx::array &values = in[next], &index = in[next + 1];
      const HostDtype dtype = values.dtype() == mx::float32    ? HostDtype::float32
                            : values.dtype() == mx::bfloat16 ? HostDtype::bfloat16
                                                             : HostDtype::int8;
      source.tables.push_back(
          {values.data<char>(), dtype, dtype == HostDtype::int8 ? in[next + 2].data<float>() : nullptr, values.shape(0)});
      source.index.push_back(index.data<int32_t>());
      next += dtype == HostDtype::int8 ? 3 : 2;
    }
    source.norm = {in[0].data<float>(), in[1].data<float>(), eps_};
    source.columns = out.shape(-1);
    encoder.dispatch([source, rows = int64_t(out.size()) / out.shape(-1), y = out.data<T>()] {
      enter_pool();
      embed_rows(source, rows, y, threads());
    });
  }

  int tables_;
  float eps_;
};

}  // namespace

bool embedding_takes(const Weight& table) {
  const auto dtype = table.values.dtype();
  if (table.values.shape(1) % kChannelBlock != 0) return false;
  return table.scale ? dtype == mx::int8 : float_kernel_takes(dtype);
}

mx::array embedding_norm(const std::vector<Weight>& tables, const std::vector<mx::array>& indices, const NormWeights& norm, mx::Dtype dtype,
                         mx::Stream s) {
  std::vector<mx::array> inputs{plain_float(norm.weight, s), plain_float(norm.bias, s)};
  for (size_t t = 0; t < tables.size(); ++t) {
    inputs.push_back(mx::contiguous(tables[t].values, false, s));
    inputs.push_back(mx::contiguous(indices[t], false, s));
    if (tables[t].scale) inputs.push_back(plain_float(*tables[t].scale, s));
  }
  auto shape = indices[0].shape();
  shape.push_back(tables[0].values.shape(1));
  return mx::array(shape, dtype, std::make_shared<EmbeddingNorm>(s, int(tables.size()), norm.eps), std::move(inputs));
}

}  // namespace m2bert::ops::cpu

#else

namespace m2bert::ops::cpu {

bool embedding_takes(const Weight&) { return false; }

mx::array embedding_norm(const std::vector<Weight>&, const std::vector<mx::array>&, const NormWeights&, mx::Dtype, mx::Stream) {
  fail("[embedding_norm] this build has no CPU kernels");
}

}  // namespace m2bert::ops::cpu
#endif
