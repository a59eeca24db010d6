#include "m2bert/infer/embedder.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "tests/infer/one_text.h"
#include "tests/support/scratch.h"
#include "tests/support/tiny_models.h"

namespace m2bert::infer {
namespace {

using test::sentence;
using test::tiny_models;

std::vector<std::string> some_texts() { return {sentence(1, 3), "", sentence(2, 12), sentence(3, 1), sentence(4, 100), sentence(5, 7)}; }

Embedder embedder(const std::string& folder, const EmbedOptions& options = {}) { return {models::load_pretrained(folder), options}; }

TEST(Embedder, VectorsAreTheModelsOwn) {
  for (const std::string& folder : {tiny_models().m2, tiny_models().attention}) {
    for (const int batch_size : {1, 4}) {
      EmbedOptions options;
      options.batch_size = batch_size;
      const Embedder embedder{models::load_pretrained(folder), options};
      const auto texts = some_texts();
      const Embeddings result = embedder(texts);
      EXPECT_EQ(result.dim, 16);
      ASSERT_EQ(result.vectors.size(), texts.size() * 16);
      for (size_t i = 0; i < texts.size(); ++i) {
        SCOPED_TRACE(folder + ", text " + std::to_string(i));
        const auto [ids, mask] = one_text(embedder.pretrained(), texts[i]);
        const auto& model = *embedder.pretrained().model;
        expect_close(result.vectors, i * 16,
                     floats(model.embedding({ids, mask, std::nullopt}, embedder.pooling().front(), embedder.normalize())));
      }
    }
  }
}

TEST(Embedder, SaysHowLongTextsAreAndWhichAreTruncated) {
  EmbedOptions options;
  options.max_length = 10;
  const Embeddings result = embedder(tiny_models().m2, options)(some_texts());
  EXPECT_EQ(result.tokens, (std::vector<int32_t>{5, 2, 10, 3, 10, 9}));
  EXPECT_EQ(result.truncated, (std::vector<uint8_t>{0, 0, 1, 0, 1, 0}));
}

TEST(Embedder, Normalizes) {
  EmbedOptions options;
  options.normalize = true;
  const Embeddings result = embedder(tiny_models().attention, options)(some_texts());
  for (size_t i = 0; i < some_texts().size(); ++i) {
    double squares = 0;
    for (size_t k = 0; k < 16; ++k) squares += std::pow(result.vectors[i * 16 + k], 2);
    EXPECT_NEAR(squares, 1, 1e-5);
  }
}

TEST(Embedder, TakesTheFirstDimensions) {
  const std::vector<float> whole = embedder(tiny_models().attention)(some_texts()).vectors;
  for (const bool normalize : {false, true}) {
    EmbedOptions options;
    options.dimensions = 5;
    options.normalize = normalize;
    const Embeddings result = embedder(tiny_models().attention, options)(some_texts());
    ASSERT_EQ(result.dim, 5);
    for (size_t i = 0; i < some_texts().size(); ++i) {
      std::vector<float> expected(whole.begin() + static_cast<std::ptrdiff_t>(i * 16),
                                  whole.begin() + static_cast<std::ptrdiff_t>(i * 16 + 5));
      double squares = 0;
      for (const float value : expected) squares += double(value) * value;
      if (normalize)
        for (float& value : expected) value = static_cast<float>(value / std::sqrt(squares));
      expect_close(result.vectors, i * 5, expected);
    }
  }
  EmbedOptions options;
  options.dimensions = 17;
  EXPECT_PRED2(test::has, test::error_of([&] { embedder(tiny_models().attention, options); }),
               "17 dimensions: the vectors of this model have 16");
}

TEST(Embedder, NoTextsGiveNoVectors) { EXPECT_TRUE(embedder(tiny_models().m2)(std::vector<std::string>{}).vectors.empty()); }

// A copy of the folder of Hugging Face's BERT with these files besides.
std::string folder_with(const test::Scratch& scratch, const std::vector<std::pair<std::string, std::string>>& files) {
  std::filesystem::copy(tiny_models().attention, scratch.folder(), std::filesystem::copy_options::recursive);
  for (const auto& [name, text] : files) {
    std::filesystem::create_directories((scratch / name).parent_path());
    scratch.put(name, text);
  }
  return scratch.folder().string();
}

const std::pair<std::string, std::string> modules_file = {
    "modules.json",
    R"([{"path":"","type":"sentence_transformers.models.Transformer"},{"path":"1_Pooling","type":"sentence_transformers.models.Pooling"}])"};

std::vector<float> vectors_of(const std::string& folder, const EmbedOptions& options = {}) {
  return embedder(folder, options)(some_texts()).vectors;
}

TEST(Embedder, APlainHuggingFaceFolderIsPooledByTheMean) {
  EmbedOptions mean;
  mean.pooling = models::Poolings{models::Pooling::mean};
  testing::internal::CaptureStderr();
  const auto by_default = vectors_of(tiny_models().attention);
  EXPECT_PRED2(test::has, testing::internal::GetCapturedStderr(), "pooling is the mean");
  EXPECT_EQ(by_default, vectors_of(tiny_models().attention, mean));
}

TEST(Embedder, WarnsOfSettingsWithoutModules) {
  const test::Scratch scratch;
  testing::internal::CaptureStderr();
  EXPECT_EQ(embedder(folder_with(scratch, {{"sentence_bert_config.json", R"({"max_seq_length": 9})"}})).batcher().options().max_length, 64);
  EXPECT_PRED2(test::has, testing::internal::GetCapturedStderr(), "sentence_bert_config.json: ignored, because there is no modules.json");
}

TEST(Embedder, SaysThePoolingOfAModelWithoutAPooler) {
  testing::internal::CaptureStderr();
  embedder(tiny_models().masked_lm);
  EXPECT_PRED2(test::has, testing::internal::GetCapturedStderr(), "no pooler: pooling is cls");
  testing::internal::CaptureStderr();
  embedder(tiny_models().m2);
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
}

TEST(Embedder, TheLengthOfAFolder) {
  const auto length = [](const std::vector<std::pair<std::string, std::string>>& files, const EmbedOptions& options = {}) {
    const test::Scratch scratch;
    return embedder(folder_with(scratch, files), options).batcher().options().max_length;
  };
  const std::pair<std::string, std::string> tokenizer = {"tokenizer_config.json", R"({"model_max_length": 12})"};
  EXPECT_EQ(length({}), 64);
  EXPECT_EQ(length({tokenizer}), 12);
  EXPECT_EQ(length({{"tokenizer_config.json", R"({"model_max_length": 1e30})"}}), 64);
  const std::pair<std::string, std::string> pooling = {"1_Pooling/config.json", R"({"pooling_mode":"mean"})"};
  EXPECT_EQ(length({tokenizer, modules_file, pooling}), 12);
  EXPECT_EQ(length({tokenizer, modules_file, pooling, {"sentence_bert_config.json", R"({"max_seq_length": 20})"}}), 20);
  EXPECT_EQ(length({tokenizer, modules_file, pooling, {"sentence_bert_config.json", R"({"max_seq_length": 200})"}}), 64);
  EmbedOptions longer;
  longer.max_length = 40;
  testing::internal::CaptureStderr();
  EXPECT_EQ(length({tokenizer}, longer), 40);
  EXPECT_PRED2(test::has, testing::internal::GetCapturedStderr(), "maximum length 40: the model is set to 12 tokens, and can take 64");
  longer.max_length = 65;
  EXPECT_PRED2(test::has, test::error_of([&] { length({tokenizer}, longer); }), "at most 64");
}

TEST(Embedder, PoolingsAreConcatenated) {
  const test::Scratch scratch;
  const std::string folder = folder_with(scratch, {modules_file, {"1_Pooling/config.json", R"({"pooling_mode":["mean","cls"]})"}});
  const auto both = vectors_of(folder);
  EmbedOptions one;
  for (const auto& [pooling, column] : {std::pair(models::Pooling::mean, size_t{0}), {models::Pooling::cls, size_t{16}}}) {
    one.pooling = models::Poolings{pooling};
    const auto part = vectors_of(folder, one);
    // Where only the first states are read, a GPU multiplies matrices of other shapes.
    const float tolerance = mx::default_device() == mx::Device(mx::Device::gpu) ? 1e-5f : 0;
    for (size_t i = 0; i < part.size(); ++i) EXPECT_NEAR(both[i / 16 * 32 + column + i % 16], part[i], tolerance);
  }
}

TEST(Embedder, AnUnknownPoolingNeedsAnother) {
  const test::Scratch scratch;
  const std::string folder = folder_with(scratch, {modules_file, {"1_Pooling/config.json", R"({"pooling_mode":"median"})"}});
  EXPECT_PRED2(test::has, test::error_of([&] { embedder(folder); }), "no pooling 'median'; choose one with --pooling");
  EmbedOptions mean;
  mean.pooling = models::Poolings{models::Pooling::mean};
  EXPECT_EQ(vectors_of(folder, mean), vectors_of(tiny_models().attention, mean));
}

TEST(Embedder, DoLowerCaseChangesTheCaseAndKeepsAccents) {
  const test::Scratch cased, lowered;
  const std::pair<std::string, std::string> tokenizer = {"tokenizer_config.json", R"({"do_lower_case": false})"},
                                            pooling = {"1_Pooling/config.json", R"({"pooling_mode":"mean"})"};
  const Embedder as_is = embedder(folder_with(cased, {tokenizer, modules_file, pooling}));
  const Embedder lower =
      embedder(folder_with(lowered, {tokenizer, modules_file, pooling, {"sentence_bert_config.json", R"({"do_lower_case": true})"}}));
  const auto vector = [](const Embedder& with, const char* text) { return with(std::vector<std::string>{text}).vectors; };
  EXPECT_EQ(vector(lower, "Monarch RIVER"), vector(as_is, "monarch river"));
  EXPECT_NE(vector(as_is, "Monarch RIVER"), vector(as_is, "monarch river"));
  EXPECT_EQ(vector(lower, "m\u00f3narch"), vector(as_is, "m\u00f3narch"));
  EXPECT_NE(vector(lower, "m\u00f3narch"), vector(lower, "monarch"));
}

TEST(Embedder, TruncatesVectors) {
  const test::Scratch scratch;
  const std::string folder = folder_with(scratch, {modules_file,
                                                   {"1_Pooling/config.json", R"({"pooling_mode":"cls"})"},
                                                   {"config_sentence_transformers.json", R"({"truncate_dim": 5})"}});
  EXPECT_EQ(embedder(folder).dim(), 5);
  EmbedOptions cls;
  cls.pooling = models::Poolings{models::Pooling::cls};
  const auto whole = vectors_of(tiny_models().attention, cls), part = vectors_of(folder);
  for (size_t i = 0; i < part.size(); ++i) EXPECT_EQ(part[i], whole[i / 5 * 16 + i % 5]);
}

TEST(Embedder, LeavesThePromptOutOfThePooling) {
  const test::Scratch scratch;
  const auto pooling = [](const char* include) {
    return std::pair<std::string, std::string>("1_Pooling/config.json",
                                               std::string(R"({"pooling_mode":"cls","include_prompt":)") + include + "}");
  };
  const std::string folder = folder_with(scratch, {modules_file, pooling("false")});
  EmbedOptions options;
  options.prompt = "monarch butterfly: ";
  const Embedder without = embedder(folder, options);
  scratch.put("1_Pooling/config.json", pooling("true").second);
  const Embedder with = embedder(folder, options);
  const std::vector<std::string> texts = {sentence(1, 6)};
  EXPECT_NE(without(texts).vectors, with(texts).vectors);
  EXPECT_EQ(without(texts, {}, "").vectors, with(texts, {}, "").vectors);
}

TEST(Embedder, Errors) {
  EmbedOptions too_long;
  too_long.max_length = 33;
  EXPECT_PRED2(test::has, test::error_of([&] { embedder(tiny_models().m2, too_long); }), "33");
  const Embedder broken = embedder(tiny_models().broken);
  EXPECT_PRED2(test::has, test::error_of([&] { broken(some_texts()); }), "text 1 ");
}

}  // namespace
}  // namespace m2bert::infer
