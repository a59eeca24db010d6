// --dtype of the commands, and int8 files: how close the vectors are, and the errors of broken files.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <functional>
#include <limits>

#include "m2bert/checkpoint/safetensors.h"
#include "m2bert/checkpoint/weights.h"
#include "m2bert/io/json.h"
#include "tests/cli/program.h"
#include "tests/support/scratch.h"
#include "tests/support/tiny_models.h"

namespace m2bert::test {
namespace {

namespace fs = std::filesystem;

// Wide enough for the kernels of inference, and for rounding errors to average out as in a real model.
models::Config widened(models::Config config) {
  config.hidden_size = 128;
  config.intermediate_size = 256;
  return config;
}

class PrecisionOption : public ::testing::TestWithParam<const char*> {
 protected:
  PrecisionOption() { write_folder(model_, widened(is_mixer() ? tiny_m2_config() : tiny_bert_config()), models::Head::embedding); }

  static bool is_mixer() { return GetParam() == std::string("mixer"); }

  static Outcome embed(const std::string& model, std::vector<std::string> options = {}, HowToRun how = {}) {
    options.insert(options.begin(), {"embed", "--device", "cpu", "--normalize", "--model", model});
    for (size_t i = 0; i < 8; ++i) options.insert(options.end(), {"--text", sentence(i, 1 + 3 * i)});
    return run(options, how);
  }

  static std::vector<std::vector<double>> vectors(const Outcome& outcome) {
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    std::vector<std::vector<double>> all;
    for (const io::Tree& line : json_lines(outcome.out)) {
      all.emplace_back();
      for (const io::Tree& v : line.at("embedding").items()) all.back().push_back(v.number());
    }
    EXPECT_EQ(all.size(), 8u);
    return all;
  }

  static double least_cosine(const Outcome& a, const Outcome& b) {
    const auto x = vectors(a), y = vectors(b);
    double least = 2;
    for (size_t i = 0; i < std::min(x.size(), y.size()); ++i) {
      double cosine = 0;
      for (size_t j = 0; j < x[i].size(); ++j) cosine += x[i][j] * y[i].at(j);
      least = std::min(least, cosine);
    }
    return least;
  }

  std::string converted(const std::string& from, const char* name, const char* dtype) {
    const std::string to = (scratch_ / name).string();
    const Outcome outcome = run({"convert", from, to, "--dtype", dtype});
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    return to;
  }

  Scratch scratch_;
  std::string model_ = (scratch_ / "model").string();
};

uintmax_t weight_bytes(const std::string& folder) { return fs::file_size(folder + "/model.safetensors"); }

TEST_P(PrecisionOption, NarrowNumbersStayNear) {
  const Outcome exact = embed(model_);
  EXPECT_GT(least_cosine(exact, embed(model_, {"--dtype", "float32"})), 1 - 1e-6);
  EXPECT_GT(least_cosine(exact, embed(model_, {"--dtype", "bfloat16"})), 0.9995);
  EXPECT_GT(least_cosine(exact, embed(model_, {"--dtype", "float16"})), 0.9999);
  EXPECT_GT(least_cosine(exact, embed(model_, {"--dtype", "int8"})), 0.999);
}

TEST_P(PrecisionOption, TakesTheShortNamesOfRecipes) {
  EXPECT_EQ(embed(model_, {"--dtype", "fp32"}).out, embed(model_, {"--dtype", "float32"}).out);
  EXPECT_EQ(embed(model_, {"--dtype", "bf16"}).out, embed(model_, {"--dtype", "bfloat16"}).out);
  EXPECT_EQ(embed(model_, {"--dtype", "fp16"}).out, embed(model_, {"--dtype", "float16"}).out);
}

TEST_P(PrecisionOption, AnInt8FileIsSmallerAndLoads) {
  const std::string small = converted(model_, "small", "int8");
  // What stays float32, the filters and the norms, weighs more in a small model.
  EXPECT_LT(double(weight_bytes(small)), (is_mixer() ? 0.65 : 0.32) * double(weight_bytes(model_)));
  const Outcome from_file = embed(small);
  EXPECT_EQ(from_file.out, embed(model_, {"--dtype", "int8"}).out);
  EXPECT_EQ(from_file.out, embed(small, {"--dtype", "int8"}).out);
  for (const char* dtype : {"float32", "bfloat16", "float16"})
    EXPECT_GT(least_cosine(embed(small, {"--dtype", dtype}), embed(model_)), 0.999) << dtype;
  const Outcome shown = run({"inspect", small, "--summary"});
  EXPECT_TRUE(has(shown.out, " int8"));
  EXPECT_TRUE(has(run({"inspect", small}).out, "weight_scale"));
  EXPECT_TRUE(has(run({"bench", "forward", "--model", small, "--runs", "1", "--batch-size", "1"}).out, "int8"));
}

TEST_P(PrecisionOption, AnInt8FileConvertsOn) {
  const std::string small = converted(model_, "small", "int8"), again = converted(small, "again", "int8");
  EXPECT_EQ(content(again + "/model.safetensors"), content(small + "/model.safetensors"));
  const std::string wide = converted(small, "wide", "float32"), half = converted(small, "half", "bfloat16");
  EXPECT_EQ(weight_bytes(wide) / 1024, weight_bytes(model_) / 1024);
  EXPECT_EQ(embed(wide).out, embed(small, {"--dtype", "float32"}).out);
  EXPECT_LT(double(weight_bytes(half)), 0.6 * double(weight_bytes(model_)));
  EXPECT_FALSE(has(run({"inspect", wide, "--summary"}).out, "int8"));
  const std::string checkpoint = (scratch_ / "small.pt").string();
  const Outcome refused = run({"convert", small, checkpoint});
  EXPECT_EQ(refused.code, 1);
  EXPECT_TRUE(has(refused.err, "small.pt: int8 weights can only be written as safetensors"));
  EXPECT_FALSE(fs::exists(checkpoint));
  EXPECT_EQ(run({"convert", small, checkpoint, "--dtype", "float32"}).code, 0);
}

#ifdef __x86_64__
// A processor without AVX-512 has no bfloat16 GEMM, and oneDNN's int8 GEMM overflows there.
TEST_P(PrecisionOption, WithoutAvx512NarrowNumbersAreComputedInFloat32) {
  HowToRun avx2;
  avx2.environment = {{"ONEDNN_MAX_CPU_ISA", "AVX2"}, {"OPENBLAS_CORETYPE", "Haswell"}};
  const Outcome exact = embed(model_), there = embed(model_, {}, avx2);
  EXPECT_EQ(there.err, exact.err);
  EXPECT_GT(least_cosine(exact, there), 1 - 1e-6);
  for (const char* dtype : {"bfloat16", "int8"}) {
    const std::string notice = std::string("this processor computes ") + dtype + " in float32";
    const Outcome narrow = embed(model_, {"--dtype", dtype}, avx2);
    EXPECT_TRUE(has(narrow.err, notice));
    EXPECT_EQ(narrow.err.find(notice), narrow.err.rfind(notice)) << narrow.err;
    EXPECT_FALSE(has(embed(model_, {"--dtype", dtype, "--quiet"}, avx2).err, notice));
    const double cosine = least_cosine(exact, narrow);
    EXPECT_GT(cosine, 0.9995) << dtype;
    EXPECT_LT(cosine, 1 - 1e-8) << dtype << ": the weights are rounded";
  }
  const std::string small = converted(model_, "small", "int8");
  EXPECT_EQ(embed(small, {}, avx2).out, embed(model_, {"--dtype", "int8"}, avx2).out);
  EXPECT_TRUE(has(run({"--version"}, avx2).out, "kernels avx2\n"));
}
#endif

struct BrokenFile {
  const char* name;
  std::function<void(checkpoint::TensorMap&)> damage;
  const char* message;
};

// The tensor whose name has this ending, and its offset.
checkpoint::TensorMap::iterator tensor(checkpoint::TensorMap& weights, const std::string& ending) {
  const auto found = std::ranges::find_if(weights, [&](const auto& w) { return w.first.ends_with(ending); });
  EXPECT_NE(found, weights.end()) << ending;
  return found;
}

TEST_P(PrecisionOption, BrokenInt8FilesAreOneClearError) {
  const std::string small = converted(model_, "small", "int8"), file = small + "/model.safetensors";
  const auto good = checkpoint::load_weights(file);
  const std::string weight = "word_embeddings.weight", scale = "word_embeddings.weight_scale";
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const BrokenFile cases[] = {
      {"no scale", [&](auto& w) { w.erase(tensor(w, scale)); }, "'bert.embeddings.word_embeddings.weight' is int8 and has no scales"},
      {"short scale", [&](auto& w) { tensor(w, scale)->second = mx::ones({87}); }, "one float32 scale for each of its rows"},
      {"scale of other shape", [&](auto& w) { tensor(w, scale)->second = mx::ones({88, 128}); }, "one float32 scale for each"},
      {"scale of whole numbers", [&](auto& w) { tensor(w, scale)->second = mx::ones({88}, mx::int32); }, "one float32 scale for each"},
      {"scale NaN", [&](auto& w) { tensor(w, scale)->second = mx::full({88}, nan); }, "weight_scale' has a scale that is not finite"},
      {"scale without weight", [&](auto& w) { w.erase(tensor(w, weight)); }, "weight_scale' is the scale of a weight that is missing"},
      {"scale of floats", [&](auto& w) { tensor(w, weight)->second = mx::ones({88, 128}); }, "one float32 scale for each of its rows"},
      {"weight of other shape", [&](auto& w) { tensor(w, weight)->second = mx::ones({88, 64}, mx::int8); }, "word_embeddings.weight"},
  };
  for (const auto& c : cases) {
    checkpoint::TensorMap weights = good;
    c.damage(weights);
    fs::remove(file);
    checkpoint::save_safetensors(file, weights);
    for (const char* dtype : {"", "int8", "float32"}) {
      std::vector<std::string> options;
      if (*dtype != 0) options = {"--dtype", dtype};
      const Outcome outcome = embed(small, options);
      EXPECT_EQ(outcome.code, 1) << c.name << " " << dtype;
      EXPECT_EQ(outcome.out, "");
      EXPECT_TRUE(has(outcome.err, "error: " + small));
      EXPECT_TRUE(has(outcome.err, c.message));
      EXPECT_EQ(outcome.err.find("error: "), outcome.err.rfind("error: ")) << outcome.err;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, PrecisionOption, ::testing::Values("mixer", "attention"));

}  // namespace
}  // namespace m2bert::test
