#include "m2bert/infer/embedder.h"

#include <gtest/gtest.h>

#include <cmath>

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
        expect_close(result.vectors, i * 16, floats(model.embedding({ids, mask, std::nullopt}, embedder.pooling(), embedder.normalize())));
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

TEST(Embedder, NoTextsGiveNoVectors) { EXPECT_TRUE(embedder(tiny_models().m2)(std::vector<std::string>{}).vectors.empty()); }

TEST(Embedder, Errors) {
  EmbedOptions too_long;
  too_long.max_length = 33;
  EXPECT_PRED2(test::has, test::error_of([&] { embedder(tiny_models().m2, too_long); }), "33");
  const Embedder broken = embedder(tiny_models().broken);
  EXPECT_PRED2(test::has, test::error_of([&] { broken(some_texts()); }), "text 1 ");
}

}  // namespace
}  // namespace m2bert::infer
