#include "m2bert/checkpoint/quantize.h"

#include <gtest/gtest.h>

#include <limits>
#include <map>
#include <string>

#include "m2bert/error.h"
#include "m2bert/ops/quantized.h"

namespace m2bert::checkpoint {
namespace {

TEST(Quantize, ChoosesDtypesByName) {
  const auto matrix = mx::zeros({4, 16}), blocks = mx::zeros({2, 4, 16}), vector = mx::zeros({4});
  auto in_mixer = [&](const std::string& name, const mx::array& a) { return int8_checkpoint_dtype(name, a, true); };
  auto in_attention = [&](const std::string& name, const mx::array& a) { return int8_checkpoint_dtype(name, a, false); };
  const std::string mlp = "bert.encoder.layer.0.mlp.", mixer = "bert.encoder.layer.0.attention.";
  for (const std::string& name :
       {std::string("bert.embeddings.word_embeddings.weight"), std::string("cls.predictions.decoder.weight"), mixer + "in_linear.weight"})
    EXPECT_EQ(in_mixer(name, matrix), mx::int8) << name;
  for (const std::string& name : {std::string("bert.embeddings.token_type_embeddings.weight"), std::string("bert.pooler.dense.weight"),
                                  std::string("classifier.weight"), mixer + "out_linear.weight", mlp + "wo.weight"}) {
    EXPECT_EQ(in_mixer(name, matrix), mx::bfloat16) << name;
    EXPECT_EQ(in_attention(name, matrix), mx::int8) << name;
  }
  EXPECT_EQ(in_mixer(mlp + "gated_layers.weight", blocks), mx::bfloat16);
  EXPECT_EQ(in_attention(mlp + "gated_layers.weight", blocks), mx::int8);
  for (const std::string& name :
       {mixer + "filter_fn.implicit_filter.2.weight", mixer + "filter_fn.implicit_filter.6.weight",
        mixer + "filter_fn2.implicit_filter_rev.6.weight", mixer + "filter_fn.pos_emb.z", mixer + "short_filter.weight", mlp + "wo.bias"})
    EXPECT_EQ(in_mixer(name, matrix), std::nullopt) << name;
  EXPECT_EQ(in_attention("bert.embeddings.LayerNorm.weight", vector), std::nullopt);
}

std::map<std::string, mx::array> by_name(const TensorMap& tensors) { return {tensors.begin(), tensors.end()}; }

TEST(Quantize, RoundTrip) {
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

TEST(Quantize, AMonarchMixerIsPartlyBfloat16) {
  const auto w = mx::random::normal({8, 32}, mx::float32, 0, 1, mx::random::key(1));
  const auto named = by_name(quantize({{"a.filter_fn.implicit_filter.6.weight", w + mx::array(1.0f)},
                                       {"a.in_linear.weight", w},
                                       {"a.out_linear.weight", w * mx::array(2.0f)}}));
  EXPECT_EQ(named.size(), 4u);
  EXPECT_EQ(named.at("a.in_linear.weight").dtype(), mx::int8);
  EXPECT_TRUE(named.contains("a.in_linear.weight_scale"));
  EXPECT_EQ(named.at("a.out_linear.weight").dtype(), mx::bfloat16);
  EXPECT_TRUE(mx::array_equal(named.at("a.filter_fn.implicit_filter.6.weight"), w + mx::array(1.0f)).item<bool>());
}

TEST(Quantize, NamesScalesThatDoNotFit) {
  const auto w = mx::zeros({4, 16}, mx::int8), ones = mx::ones({4});
  EXPECT_NO_THROW(check_scales({{"a.weight", w}, {"a.weight_scale", ones}, {"ids", w}, {"b.weight", mx::zeros({4, 16})}}, "f"));
  struct Case {
    TensorMap tensors;
    const char* says;
  };
  const float nan = std::numeric_limits<float>::quiet_NaN(), infinite = std::numeric_limits<float>::infinity();
  const Case cases[] = {
      {{{"a.weight", w}, {"a.weight_scale", mx::ones({3})}}, "f: 'a.weight' is"},
      {{{"a.weight", w}, {"a.weight_scale", mx::ones({4, 1})}}, "f: 'a.weight' is"},
      {{{"a.weight", w}, {"a.weight_scale", mx::ones({4}, mx::int32)}}, "f: 'a.weight' is"},
      {{{"a.weight", mx::zeros({4, 16})}, {"a.weight_scale", ones}}, "f: 'a.weight' is"},
      {{{"a.weight", mx::zeros({4}, mx::int8)}, {"a.weight_scale", ones}}, "f: 'a.weight' is"},
      {{{"a.weight", mx::zeros({4, 0}, mx::int8)}, {"a.weight_scale", ones}}, "f: 'a.weight' is"},
      {{{"a.weight_scale", ones}}, "f: 'a.weight_scale' is the scale of a weight that is missing"},
      {{{"a.weight", w}}, "f: 'a.weight' is int8 and has no scales: 'a.weight_scale'"},
      {{{"a.weight", w}, {"a.weight_scale", mx::array({1.0f, nan, 1.0f, 1.0f})}}, "f: 'a.weight_scale' has a scale that is not finite"},
      {{{"a.weight", w}, {"a.weight_scale", mx::array({1.0f, 1.0f, infinite, 1.0f})}}, "f: 'a.weight_scale' has a scale"},
  };
  for (const Case& c : cases) {
    try {
      check_scales(c.tensors, "f");
      ADD_FAILURE() << "nothing said, wanted: " << c.says;
    } catch (const Error& e) {
      EXPECT_EQ(std::string(e.what()).find(c.says), 0u) << e.what();
    }
  }
}

}  // namespace
}  // namespace m2bert::checkpoint
