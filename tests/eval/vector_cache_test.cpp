#include "m2bert/eval/vector_cache.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "tests/support/scratch.h"
#include "tests/support/tiny_models.h"

namespace m2bert::eval {
namespace {

namespace fs = std::filesystem;
using test::error_of;
using test::has;
using test::Scratch;
using test::sentence;
using test::tiny_models;

infer::Embedder embedder(const std::string& folder, int batch_size = 4) {
  infer::EmbedOptions options;
  options.batch_size = batch_size;
  return {models::load_pretrained(folder), options};
}

std::vector<std::string> some_texts(size_t count) {
  std::vector<std::string> texts;
  for (size_t i = 0; i < count; ++i) texts.push_back(sentence(i, 1 + i % 7));
  return texts;
}

std::vector<fs::path> block_files(const fs::path& cache) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::recursive_directory_iterator(cache))
    if (entry.path().extension() == ".vectors") files.push_back(entry.path());
  std::ranges::sort(files);
  return files;
}

TEST(VectorCache, VectorsAreTheEmbeddersOwn) {
  const Scratch scratch;
  for (const std::string& folder : {tiny_models().m2, tiny_models().attention}) {
    const infer::Embedder model = embedder(folder);
    const auto texts = some_texts(30);
    const infer::Embeddings expected = model(texts);
    const CachedEmbedder without(model, {}), with(model, {{"model", folder}}, scratch / "cache");
    for (const CachedEmbedder* cached : {&without, &with, &with}) {  // the third reads what the second has kept
      const VectorBlock block = (*cached)(texts, "");
      EXPECT_EQ(block.rows, texts.size());
      EXPECT_EQ(block.vectors, expected.vectors);
      EXPECT_EQ(block.tokens, static_cast<uint64_t>(std::accumulate(expected.tokens.begin(), expected.tokens.end(), 0)));
    }
  }
}

TEST(VectorCache, BlocksDependOnTextsAndBatchingAlone) {
  BlockSize padded({.pad = infer::PadMode::max, .max_length = 1 << 15, .batch_size = 3});
  std::vector<bool> full;
  for (int i = 0; i < 6; ++i) full.push_back(padded.add("a"));
  EXPECT_EQ(full, (std::vector<bool>{false, false, true, false, false, true}));
  BlockSize small({.pad = infer::PadMode::longest, .max_length = 256, .batch_size = 32});
  size_t texts = 1;
  while (!small.add("a short text")) ++texts;
  EXPECT_EQ(texts, 512U);
}

// Only the missing blocks are computed: those that are there are believed.
TEST(VectorCache, ComputesOnlyWhatIsMissing) {
  const Scratch scratch;
  const infer::Embedder model = embedder(tiny_models().attention, 1), other = embedder(tiny_models().m2, 1);
  const auto texts = some_texts(1100);
  const io::Tree settings = {{"any", 1}};
  const VectorBlock first = CachedEmbedder(model, settings, scratch / "cache")(texts, "");
  const auto files = block_files(scratch / "cache");
  ASSERT_EQ(files.size(), 3U);
  fs::remove(files[1]);
  const VectorBlock second = CachedEmbedder(other, settings, scratch / "cache")(texts, "");  // another model, to tell them apart
  size_t same = 0;
  for (size_t row = 0; row < texts.size(); ++row)
    same += std::equal(first.vectors.begin() + row * 16, first.vectors.begin() + (row + 1) * 16, second.vectors.begin() + row * 16);
  EXPECT_GT(same, 0U);
  EXPECT_LT(same, texts.size());
  EXPECT_EQ(block_files(scratch / "cache"), files);
}

TEST(VectorCache, SettingsAndPromptsHaveTheirOwnFolders) {
  const Scratch scratch;
  const infer::Embedder model = embedder(tiny_models().attention);
  const auto texts = some_texts(5);
  const auto plain = CachedEmbedder(model, {{"pooling", "mean"}}, scratch / "cache")(texts, "").vectors;
  const auto prompted = CachedEmbedder(model, {{"pooling", "mean"}}, scratch / "cache")(texts, sentence(3, 2)).vectors;
  EXPECT_NE(plain, prompted);
  (void)CachedEmbedder(model, {{"pooling", "cls"}}, scratch / "cache")(texts, "");
  EXPECT_EQ(block_files(scratch / "cache").size(), 3U);
}

TEST(VectorCache, DamagedBlocksAreComputedAgain) {
  const Scratch scratch;
  const infer::Embedder model = embedder(tiny_models().attention);
  const auto texts = some_texts(9);
  const CachedEmbedder cached(model, {}, scratch / "cache");
  const auto expected = cached(texts, "").vectors;
  const fs::path file = block_files(scratch / "cache").front();
  const auto size = fs::file_size(file);
  for (const uintmax_t left : {uintmax_t{0}, uintmax_t{20}, size - 1}) {
    fs::resize_file(file, left);
    EXPECT_EQ(cached(texts, "").vectors, expected);
  }
  for (const int at : {3, 9, 30, 100}) {
    std::fstream open(file, std::ios::in | std::ios::out | std::ios::binary);
    open.seekp(at);
    open.put('\x7f');
    open.close();
    EXPECT_EQ(cached(texts, "").vectors, expected);
  }
  EXPECT_EQ(fs::file_size(file), size);
}

TEST(VectorCache, ErrorsNameTheFolderAndTheText) {
  const Scratch scratch;
  const infer::Embedder model = embedder(tiny_models().attention), broken = embedder(tiny_models().broken);
  const std::string file = scratch.put("file", "").string();
  EXPECT_PRED2(has, error_of([&] { (void)CachedEmbedder(model, {}, file)(some_texts(2), ""); }),
               "cache " + file + ": cannot make the folder");
  EXPECT_PRED2(has, error_of([&] { (void)CachedEmbedder(broken, {}, scratch / "cache")(some_texts(2), ""); }),
               "text 1 gets a vector with NaN");
  EXPECT_TRUE(block_files(scratch / "cache").empty());
}

}  // namespace
}  // namespace m2bert::eval
