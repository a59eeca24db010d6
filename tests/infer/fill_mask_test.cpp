#include "m2bert/infer/fill_mask.h"

#include <gtest/gtest.h>

#include "tests/infer/one_text.h"
#include "tests/support/scratch.h"
#include "tests/support/tiny_models.h"

namespace m2bert::infer {
namespace {

using test::error_of;
using test::has;
using test::tiny_models;
using Texts = std::vector<std::string>;

FillMask fill_mask() { return {models::load_pretrained(tiny_models().masked_lm), {}}; }

TEST(FillMask, GuessesAreTheLikeliestTokensOfTheModel) {
  const Texts texts{"monarch [MASK]", "the [MASK] river [MASK] green tree"};
  const auto results = fill_mask()(texts, 3);
  const auto pretrained = models::load_pretrained(tiny_models().masked_lm);
  ASSERT_EQ(results.size(), 2u);
  EXPECT_EQ(results[0].size(), 1u);
  EXPECT_EQ(results[1].size(), 2u);
  for (size_t i = 0; i < texts.size(); ++i) {
    const auto [ids, mask] = one_text(pretrained, texts[i]);
    nn::Pass pass;
    const auto hidden = pretrained.model->hidden_states({ids, mask, std::nullopt}, pass);
    for (const FilledMask& filled : results[i]) {
      EXPECT_EQ(mx::take(mx::flatten(ids), filled.position).item<int32_t>(), pretrained.tokenizer.mask_id());
      const auto row = mx::reshape(mx::take(hidden, filled.position, 1), {1, -1});
      const auto p = floats(mx::softmax(pretrained.model->masked_lm_logits(row, pass), -1));
      ASSERT_EQ(filled.guesses.size(), 3u);
      float least = 1;
      for (const Guess& guess : filled.guesses) {
        EXPECT_NEAR(guess.probability, p.at(static_cast<size_t>(guess.id)), 1e-5f);
        EXPECT_LE(guess.probability, least);
        EXPECT_EQ(guess.token, pretrained.tokenizer.token(guess.id));
        least = guess.probability;
      }
      EXPECT_LE(std::count_if(p.begin(), p.end(), [&](float other) { return other > least + 1e-5f; }), 2);
    }
  }
}

TEST(FillMask, GivesEveryTokenWhereMoreAreWanted) {
  const auto guesses = fill_mask()(Texts{"[MASK]"}, 1000).at(0).at(0).guesses;
  EXPECT_LE(guesses.size(), 88u);
  EXPECT_GE(guesses.size(), 70u);
}

TEST(FillMask, ATextWithoutMaskGetsNothingAndChangesNothing) {
  const FillMask fill = fill_mask();
  const auto results = fill(Texts{"a tree", "a [MASK]", "", "the [MASK] river"}, 3), alone = fill(Texts{"a [MASK]"}, 3);
  ASSERT_EQ(results.size(), 4u);
  EXPECT_TRUE(results[0].empty() && results[2].empty());
  ASSERT_EQ(results[1].size(), 1u);
  EXPECT_EQ(results[3].size(), 1u);
  EXPECT_EQ(results[1][0].guesses[0].id, alone[0][0].guesses[0].id);
  EXPECT_NEAR(results[1][0].guesses[0].probability, alone[0][0].guesses[0].probability, 1e-6f);
  EXPECT_TRUE(fill(Texts{"a tree"}, 3).at(0).empty());
}

TEST(FillMask, Errors) {
  const FillMask fill = fill_mask();
  EXPECT_PRED2(has, error_of([&] { fill(Texts{"[MASK]"}, 0); }), "top_k");
  EXPECT_PRED2(has, error_of([] { FillMask(models::load_pretrained(tiny_models().m2), {}); }), "masked-LM head");
}

}  // namespace
}  // namespace m2bert::infer
