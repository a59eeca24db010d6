#include "m2bert/data/mask_tokens.h"

#include <gtest/gtest.h>

#include "tests/support/scratch.h"

namespace m2bert::data {
namespace {

using test::error_of;
using test::has;
using Ids = std::vector<int32_t>;

const tokenize::WordPiece& tokenizer() {
  static const auto builtin = tokenize::WordPiece::builtin();
  return builtin;
}

std::pair<Ids, Ids> masked(const Ids& ids, Masking masking, double probability, Random random) {
  Ids changed = ids, labels(ids.size(), 7);
  TokenMasker(tokenizer(), masking, probability).mask(changed, labels, random);
  return {changed, labels};
}

TEST(TokenMasker, ByBertsRule) {
  const Ids ids(200000, 2000);
  const auto [changed, labels] = masked(ids, Masking::random, 0.15, Random{1});
  double chosen = 0, to_mask = 0, kept = 0;
  for (size_t i = 0; i < ids.size(); ++i) {
    ASSERT_TRUE(labels[i] == kNoLabel ? changed[i] == ids[i] : labels[i] == ids[i]);
    if (labels[i] == kNoLabel) continue;
    ++chosen;
    to_mask += changed[i] == tokenizer().mask_id() ? 1 : 0;
    kept += changed[i] == ids[i] ? 1 : 0;
  }
  EXPECT_NEAR(chosen / 200000, 0.15, 0.005);
  EXPECT_NEAR(to_mask / chosen, 0.8, 0.015);
  EXPECT_NEAR(kept / chosen, 0.1, 0.012);
}

TEST(TokenMasker, NeverSpecialTokens) {
  for (const Masking masking : {Masking::random, Masking::every})
    for (const char* token : {"[CLS]", "[SEP]", "[PAD]", "[UNK]", "[MASK]"}) {
      const Ids ids(50, tokenizer().id(token));
      const auto [changed, labels] = masked(ids, masking, 1, Random{1});
      EXPECT_EQ(changed, ids) << token;
      EXPECT_EQ(labels, Ids(50, kNoLabel)) << token;
    }
}

TEST(TokenMasker, ProbabilitiesOfZeroAndOne) {
  const Ids ids(100, 2000);
  EXPECT_EQ(masked(ids, Masking::random, 0, Random{1}).second, Ids(100, kNoLabel));
  EXPECT_EQ(masked(ids, Masking::random, 1, Random{1}).second, ids);
  EXPECT_EQ(masked(ids, Masking::every, 1, Random{1}).first, Ids(100, tokenizer().mask_id()));
}

TEST(TokenMasker, EveryKthPlace) {
  const auto [changed, labels] = masked({101, 2000, 2001, 2002, 2003, 2004, 102}, Masking::every, 0.25, Random{1});
  EXPECT_EQ(changed, (Ids{101, 103, 2001, 2002, 2003, 103, 102}));
  EXPECT_EQ(labels, (Ids{kNoLabel, 2000, kNoLabel, kNoLabel, kNoLabel, 2004, kNoLabel}));
}

TEST(TokenMasker, Problems) {
  EXPECT_TRUE(has(error_of([] { TokenMasker(tokenizer(), Masking::random, 1.5); }), "mlm_probability 1.5"));
  EXPECT_TRUE(has(error_of([] { TokenMasker(tokenizer(), Masking::random, -0.1); }), "mlm_probability"));
  EXPECT_TRUE(has(error_of([] { TokenMasker(tokenizer(), Masking::every, 0); }), "'every'"));
  const auto bare = tokenize::WordPiece::from_vocabulary("[PAD]\n[UNK]\n[CLS]\n[SEP]\na\n", "v");
  EXPECT_TRUE(has(error_of([&] { TokenMasker(bare, Masking::random, 0.1); }), "no [MASK]"));
}

}  // namespace
}  // namespace m2bert::data
