// The cosine between the vectors of a model in bfloat16, float16 or int8 and in float32.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "m2bert/checkpoint/convert.h"
#include "m2bert/checkpoint/quantize.h"
#include "m2bert/checkpoint/safetensors.h"
#include "m2bert/checkpoint/weights.h"
#include "m2bert/error.h"
#include "m2bert/io/json.h"
#include "m2bert/models/cast.h"
#include "m2bert/models/pretrained.h"
#include "m2bert/ops/cpu_features.h"
#include "m2bert/ops/quantized.h"
#include "tests/support/scratch.h"
#include "tests/support/tiny_config.h"
#include "tests/support/weights_of.h"

namespace m2bert::models {
namespace {

namespace fs = std::filesystem;

// Wide enough for the kernels of inference, and for rounding errors to average out as in a real model.
Config wide(Config config) {
  config.hidden_size = 128;
  config.num_hidden_layers = 3;
  config.num_attention_heads = 4;
  return config;
}

Config mixer_config() {
  Config c = wide(test::tiny_m2_config(48));
  c.vocab_size = 30528;
  c.intermediate_size = 256;
  c.hyena_filter_order = 64;
  return c;
}

Config masked_config() {
  Config c = mixer_config();
  c.mask_padding = true;
  return c;
}

Config attention_config() {
  Config c = wide(test::tiny_bert_config());
  c.vocab_size = 30522;
  c.intermediate_size = 512;
  return c;
}

class Precision : public ::testing::TestWithParam<const char*> {
 protected:
  Precision() {
    const std::string kind = GetParam();
    const Config config = kind == "mixer" ? mixer_config() : kind == "masked_mixer" ? masked_config() : attention_config();
    Model model(config, Head::embedding);
    model.init(3, true);
    fs::create_directories(scratch_ / "model");
    checkpoint::save_safetensors(scratch_ / "model" / "model.safetensors", test::weights_of(model));
    std::ofstream(scratch_ / "model" / "config.json") << io::to_json(config.to_tree());
  }

  // Vectors of eight sequences, some of them padded.
  static mx::array vectors(const Pretrained& p) {
    const int L = 48;
    auto ids = mx::random::randint(1000, 30000, {8, L}, mx::int32, mx::random::key(5));
    auto lengths = mx::reshape(mx::array({48, 48, 40, 33, 20, 12, 5, 2}), {8, 1});
    auto mask = mx::astype(mx::less(mx::arange(L), lengths), mx::int32);
    return mx::astype(p.model->embedding({ids * mask, mask, std::nullopt}, Pooling::pooler, true), mx::float32);
  }

  Pretrained load(const std::string& folder, std::optional<mx::Dtype> dtype = std::nullopt) const {
    return load_pretrained(scratch_ / folder, {.dtype = dtype});
  }

  static float least_cosine(const mx::array& a, const mx::array& b) { return mx::min(mx::sum(a * b, 1)).item<float>(); }

  test::Scratch scratch_;
};

TEST_P(Precision, Bfloat16StaysNearFloat32) {
  const auto p = load("model", mx::bfloat16);
  EXPECT_EQ(p.dtype, mx::bfloat16);
  EXPECT_EQ(p.computes_in_float32, mx::default_device() == mx::Device::cpu && !ops::supports_bfloat16_gemm());
  EXPECT_GT(least_cosine(vectors(p), vectors(load("model"))), 0.9995f);
}

TEST_P(Precision, Float16StaysNearFloat32) {
  EXPECT_GT(least_cosine(vectors(load("model", mx::float16)), vectors(load("model"))), 0.9999f);
}

TEST_P(Precision, Int8StaysNearFloat32) {
  EXPECT_EQ(load("model", mx::int8).computes_in_float32, mx::default_device() == mx::Device::cpu && !ops::supports_int8_gemm());
  EXPECT_GT(least_cosine(vectors(load("model", mx::int8)), vectors(load("model"))), 0.999f);
}

TEST_P(Precision, AnInt8FileIsTheModelMadeInt8) {
  checkpoint::convert(scratch_ / "model", scratch_ / "small", {.dtype = mx::int8});
  const auto from_file = load("small");
  EXPECT_EQ(from_file.dtype, mx::int8);
  EXPECT_TRUE(mx::array_equal(vectors(from_file), vectors(load("model", mx::int8))).item<bool>());
  // Back in float32: the rounded weights, with exact arithmetic.
  const auto wide = load("small", mx::float32);
  EXPECT_EQ(wide.dtype, mx::float32);
  EXPECT_GT(least_cosine(vectors(wide), vectors(load("model"))), 0.9995f);
  const double share =
      double(fs::file_size(scratch_ / "small" / "model.safetensors")) / double(fs::file_size(scratch_ / "model" / "model.safetensors"));
  EXPECT_LT(share, 0.33);  // the filters' layers are a larger share of a small model
}

// Files in which every matrix is int8, also the filters' last ones.
TEST_P(Precision, AFileWithMoreInt8WeightsLoads) {
  fs::create_directories(scratch_ / "old");
  fs::copy_file(scratch_ / "model" / "config.json", scratch_ / "old" / "config.json");
  checkpoint::TensorMap weights;
  for (const auto& [name, a] : checkpoint::load_weights(scratch_ / "model")) {
    const bool filter = name.find(".filter_fn") != std::string::npos;
    const bool int8 =
        name.ends_with(".weight") && a.ndim() >= 2 && !name.ends_with("short_filter.weight") && (!filter || name.ends_with(".6.weight"));
    const ops::Weight weight = int8 ? ops::quantize_weight(a) : ops::Weight(a);
    weights.emplace_back(name, weight.values);
    if (int8) weights.emplace_back(name + "_scale", *weight.scale);
  }
  checkpoint::save_safetensors(scratch_ / "old" / "model.safetensors", weights);
  const auto old = load("old");
  EXPECT_EQ(old.dtype, mx::int8);
  EXPECT_GT(least_cosine(vectors(old), vectors(load("model"))), 0.999f);
  EXPECT_GT(least_cosine(vectors(load("old", mx::float32)), vectors(load("model"))), 0.999f);
  for (const auto& m : nn::matrices(*old.model)) {
    const bool filter = m.name.find(".filter_fn") != std::string::npos;
    EXPECT_TRUE(!filter || m.weight->dtype() == mx::float32) << m.name;
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, Precision, ::testing::Values("mixer", "masked_mixer", "attention"));

// Of a processor with both GEMMs, whose numbers the plain weights give on any.
class NarrowMaskedMixer : public ::testing::TestWithParam<const char*> {};

TEST_P(NarrowMaskedMixer, StaysNearFloat32HoweverItIsPadded) {
  const bool int8 = GetParam() == std::string("int8");
  Model exact(masked_config(), Head::embedding), narrow(masked_config(), Head::embedding);
  exact.init(3, true), narrow.init(3, true);
  cast_weights(narrow, int8 ? mx::int8 : mx::bfloat16, {.bfloat16 = true, .int8 = true});
  const auto lengths = mx::reshape(mx::array({40, 17, 4, 1}), {4, 1});
  auto vectors = [&](Model& m, int L) {
    const auto mask = mx::astype(mx::less(mx::arange(L), lengths), mx::int32);
    const auto ids = mx::remainder(mx::arange(L) * mx::array(7919) + lengths, mx::array(30000)) * mask;
    return mx::astype(m.embedding({ids, mask, std::nullopt}, Pooling::pooler, true), mx::float32);
  };
  const auto expected = vectors(exact, 40), found = vectors(narrow, 40);
  EXPECT_GT(mx::min(mx::sum(expected * found, 1)).item<float>(), int8 ? 0.999f : 0.9995f);
  EXPECT_GT(mx::max(mx::abs(expected - found)).item<float>(), 1e-6f);
  EXPECT_GT(mx::min(mx::sum(vectors(narrow, 48) * found, 1)).item<float>(), 0.99999f);
}

INSTANTIATE_TEST_SUITE_P(Dtypes, NarrowMaskedMixer, ::testing::Values("bfloat16", "int8"),
                         [](const auto& info) { return std::string(info.param); });

// The matrices of a mixer that are not int8 are bfloat16: a processor that lacks one of the two computes all in float32.
TEST(CastWeights, Int8MixersNeedBothGemms) {
  for (const NarrowGemms gemms : {NarrowGemms{false, false}, {false, true}, {true, false}}) {
    Model model(mixer_config(), Head::embedding);
    model.init(3);
    EXPECT_TRUE(cast_weights(model, mx::int8, gemms));
    for (const auto& m : nn::matrices(model)) EXPECT_EQ(m.weight->dtype(), mx::float32) << m.name;
  }
  Model model(mixer_config(), Head::embedding);
  model.init(3);
  EXPECT_FALSE(cast_weights(model, mx::int8, {true, true}));
}

// Rounding errors add up over the layers, most of all with upstream's initial weights, which are almost the same in every layer. The
// figures are those of a processor with bfloat16 and int8 GEMMs.
class DeepPrecision : public ::testing::TestWithParam<int> {
 protected:
  static Config config() {
    Config c = mixer_config();
    c.num_hidden_layers = 12;
    c.vocab_size = 1000;
    c.max_position_embeddings = *(c.long_conv_l_max = GetParam());
    return c;
  }

  // The largest 1 - cosine between vectors in this dtype and in float32.
  static float distance(mx::Dtype dtype) {
    Model exact(config(), Head::embedding), narrow(config(), Head::embedding);
    exact.init(3), narrow.init(3);
    cast_weights(narrow, dtype, {.bfloat16 = true, .int8 = true});
    const int L = 64;
    const auto mask = mx::astype(mx::less(mx::arange(L), mx::reshape(mx::array({40, 4}), {2, 1})), mx::int32);
    const Inputs inputs{mx::random::randint(0, 1000, {2, L}, mx::int32, mx::random::key(5)) * mask, mask, std::nullopt};
    auto vectors = [&](Model& m) { return mx::astype(m.embedding(inputs, Pooling::pooler, true), mx::float32); };
    return 1 - mx::min(mx::sum(vectors(exact) * vectors(narrow), 1)).item<float>();
  }
};

TEST_P(DeepPrecision, Int8IsWithinThreeTimesBfloat16) {
  const float bfloat16 = distance(mx::bfloat16), int8 = distance(mx::int8);
  RecordProperty("bfloat16", std::to_string(bfloat16));
  RecordProperty("int8", std::to_string(int8));
  EXPECT_GT(bfloat16, 1e-6f);
  EXPECT_LT(int8, 3 * bfloat16);
}

INSTANTIATE_TEST_SUITE_P(Positions, DeepPrecision, ::testing::Values(128, 2048));

}  // namespace
}  // namespace m2bert::models
