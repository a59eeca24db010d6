#include "m2bert/ops/padding.h"

#include "bench/operations/registry.h"

namespace m2bert::bench {
namespace {

Function unpad(const Inputs& inputs) {
  return [u = ops::unpadding(inputs["mask"])](const Inputs& in) { return ops::unpad_input(in["x"], u); };
}

Function pad(const Inputs& inputs) {
  const auto& mask = inputs["mask"];
  return [u = ops::unpadding(mask), batch = mask.shape(0), length = mask.shape(1)](const Inputs& in) {
    return ops::pad_input(in["rows"], u, batch, length);
  };
}

}  // namespace

void add_padding(Registry& registry) {
  registry.add_with_setup("unpad_input", unpad);
  registry.add_with_setup("pad_input", pad);
  registry.add("index_first_axis", [](const Inputs& in) { return ops::index_first_axis(in["x"], in["indices"]); });
  registry.add("index_put_first_axis",
               [](const Inputs& in) { return ops::index_put_first_axis(in["rows"], in["indices"], static_cast<int>(in["mask"].size())); });
}

}  // namespace m2bert::bench
