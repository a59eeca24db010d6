#include "m2bert/checkpoint/quantize.h"

#include <gtest/gtest.h>

#include <map>

#include "m2bert/error.h"
#include "m2bert/ops/quantized.h"

namespace m2bert::checkpoint {
namespace {

TEST(Quantize, TakesTheMatricesByName) {
  const auto matrix = mx::zeros({4, 16}), blocks = mx::zeros({2, 4, 16}), vector = mx::zeros({4});
  for (const char* name : {"bert.encoder.layer.0.mlp.wo.weight", "bert.embeddings.word_embeddings.weight",
                           "bert.encoder.layer.0.attention.filter_fn.implicit_filter.6.weight",
                           "bert.encoder.layer.0.attention.filter_fn2.implicit_filter_rev.6.weight"})
    EXPECT_TRUE(is_quantized(name, matrix)) << name;
  EXPECT_TRUE(is_quantized("bert.encoder.layer.0.mlp.gated_layers.weight", blocks));
  for (const char* name : {"bert.encoder.layer.0.attention.filter_fn.implicit_filter.2.weight", "bert.encoder.layer.0.mlp.wo.bias",
                           "bert.encoder.layer.0.attention.filter_fn.pos_emb.z", "bert.encoder.layer.0.attention.short_filter.weight"})
    EXPECT_FALSE(is_quantized(name, matrix)) << name;
  EXPECT_FALSE(is_quantized("bert.embeddings.LayerNorm.weight", vector));
}

std::map<std::string, mx::array> by_name(const TensorMap& tensors) { return {tensors.begin(), tensors.end()}; }

TEST(Quantize, ThereAndBack) {
  const auto w = mx::random::normal({8, 32}, mx::float32, 0, 1, mx::random::key(1));
  const TensorMap plain{{"a.weight", w}, {"a.bias", mx::ones({8})}, {"tied.weight", w}, {"ids.weight", mx::zeros({2, 2}, mx::int32)}};
  const auto q = quantize(plain);
  EXPECT_TRUE(is_quantized(q));
  EXPECT_FALSE(is_quantized(plain));
  const auto named = by_name(q);
  EXPECT_EQ(named.size(), 6u);
  EXPECT_EQ(named.at("a.weight").dtype(), mx::int8);
  EXPECT_EQ(named.at("a.weight_scale").shape(), (mx::Shape{8}));
  EXPECT_EQ(named.at("a.weight").id(), named.at("tied.weight").id());
  EXPECT_EQ(named.at("a.weight_scale").id(), named.at("tied.weight_scale").id());
  EXPECT_EQ(named.at("ids.weight").dtype(), mx::int32);
  const auto back = by_name(dequantize(q));
  EXPECT_EQ(back.size(), 4u);
  EXPECT_EQ(back.at("a.weight").id(), back.at("tied.weight").id());
  EXPECT_LT(mx::max(mx::abs(back.at("a.weight") - w)).item<float>(), 0.1f);
}

TEST(Quantize, NamesScalesThatDoNotFit) {
  const auto w = mx::zeros({4, 16}, mx::int8);
  EXPECT_THROW(dequantize({{"a.weight", w}, {"a.weight_scale", mx::ones({3})}}), Error);
  EXPECT_THROW(dequantize({{"a.weight", mx::zeros({4, 16})}, {"a.weight_scale", mx::ones({4})}}), Error);
  EXPECT_THROW(dequantize({{"a.weight_scale", mx::ones({4})}}), Error);
}

}  // namespace
}  // namespace m2bert::checkpoint
