#include <mlx/primitives.h>

#include <algorithm>

#include "m2bert/error.h"
#include "m2bert/ops/backend/cpu/cpu_backend.h"
#include "m2bert/ops/backend/cpu/encode.h"
#include "m2bert/ops/backend/cpu/float_primitive.h"
#include "m2bert/ops/backend/cpu/simd/embedding_host.h"
#include "m2bert/ops/backend/cpu/simd/twiddles.h"
#include "m2bert/threads.h"

namespace m2bert::ops {

namespace cpu {
namespace {

// The positions of a table's arrays among the inputs.
struct TablePosition {
  size_t values, index, scale;  // scale: for int8 tables
  bool operator==(const TablePosition&) const = default;
};

// Inputs: the norm's weight and bias, then the arrays of each table.
class EmbeddingNorm : public mx::Primitive {
 public:
  EmbeddingNorm(mx::Stream s, std::vector<TablePosition> tables, float eps) : Primitive(s), tables_(std::move(tables)), eps_(eps) {}
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
    fail("[embedding_norm] this kernel runs on the CPU only");
  }
  std::vector<mx::array> vjp(const std::vector<mx::array>&, const std::vector<mx::array>&, const std::vector<int>&,
                             const std::vector<mx::array>&) override {
    fail("[embedding_norm] has no gradient; embedding_norm_fallback has one");
  }

 private:
  template <class T>
  void run(mx::cpu::CommandEncoder& encoder, const std::vector<mx::array>& in, mx::array& out) const {
    EmbeddingInputs source;
    for (const auto& at : tables_) {
      const mx::array& values = in[at.values];
      const HostDtype dtype = values.dtype() == mx::float32    ? HostDtype::float32
                              : values.dtype() == mx::bfloat16 ? HostDtype::bfloat16
                                                               : HostDtype::int8;
      source.tables.push_back(
          {values.data<char>(), dtype, dtype == HostDtype::int8 ? in[at.scale].data<float>() : nullptr, values.shape(0)});
      source.index.push_back(in[at.index].data<int32_t>());
    }
    source.norm = {in[0].data<float>(), in[1].data<float>(), eps_};
    source.columns = out.shape(-1);
    encoder.dispatch([source, rows = int64_t(out.size()) / out.shape(-1), y = out.data<T>()] {
      enter_pool();
      embed_rows(source, rows, y, threads());
    });
  }

  std::vector<TablePosition> tables_;
  float eps_;
};

bool supports_table(const Weight& table) {
  const auto dtype = table.values.dtype();
  if (table.values.shape(1) % kChannelBlock != 0) return false;
  return table.scale ? dtype == mx::int8 : is_float32_or_bfloat16(dtype);
}

}  // namespace
}  // namespace cpu

Backend::Array CpuBackend::embedding_norm(const std::vector<EmbeddingRows>& rows, const NormWeights& norm, mx::Dtype dtype,
                                          mx::Stream s) const {
  if (!std::ranges::all_of(rows, [](const auto& r) { return cpu::supports_table(r.table); })) return {};
  std::vector<mx::array> indices;  // of one shape
  for (const auto& r : rows) indices.push_back(mx::astype(r.index, mx::int32, s));
  if (indices.size() > 1) indices = mx::broadcast_arrays(indices, s);

  std::vector<mx::array> inputs{cpu::float32_contiguous(norm.weight, s), cpu::float32_contiguous(norm.bias, s)};
  std::vector<cpu::TablePosition> positions;
  for (size_t t = 0; t < rows.size(); ++t) {
    const auto& table = rows[t].table;
    positions.push_back({inputs.size(), inputs.size() + 1, table.scale ? inputs.size() + 2 : 0});
    inputs.push_back(cpu::contiguous(table.values, s));
    inputs.push_back(cpu::contiguous(indices[t], s));
    if (table.scale) inputs.push_back(cpu::float32_contiguous(*table.scale, s));
  }
  auto shape = indices[0].shape();
  shape.push_back(rows[0].table.values.shape(1));
  return mx::array(shape, dtype, std::make_shared<cpu::EmbeddingNorm>(s, positions, norm.eps), std::move(inputs));
}

}  // namespace m2bert::ops
