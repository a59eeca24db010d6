#include "m2bert/infer/classifier.h"

#include <gtest/gtest.h>

#include "tests/infer/one_text.h"
#include "tests/support/scratch.h"
#include "tests/support/tiny_models.h"

namespace m2bert::infer {
namespace {

using test::sentence;
using test::tiny_models;

const std::vector<std::string> texts{sentence(1, 4), sentence(2, 20), ""};

// The scores of the model in `folder` are `scores_of` its logits.
void expect_scores(const std::string& folder, ClassTask task, mx::array (*scores_of)(const mx::array& logits)) {
  const Classifier classifier(models::load_pretrained(folder), {});
  const auto pretrained = models::load_pretrained(folder);
  EXPECT_EQ(classifier.task(), task);
  const Classes result = classifier(texts);
  const auto labels = static_cast<size_t>(result.labels);
  ASSERT_EQ(labels, classifier.labels().size());
  ASSERT_EQ(result.scores.size(), texts.size() * labels);
  for (size_t i = 0; i < texts.size(); ++i) {
    const auto [ids, mask] = one_text(pretrained, texts[i]);
    nn::Pass pass;
    expect_close(result.scores, i * labels, floats(scores_of(pretrained.model->class_logits({ids, mask, std::nullopt}, pass))));
  }
}

TEST(Classifier, OneLabel) {
  expect_scores(tiny_models().classifier, ClassTask::single_label, [](const mx::array& logits) { return mx::softmax(logits, -1); });
}

TEST(Classifier, AnyLabels) {
  expect_scores(tiny_models().multi_label, ClassTask::multi_label, [](const mx::array& logits) { return mx::sigmoid(logits); });
}

TEST(Classifier, Values) {
  expect_scores(tiny_models().regression, ClassTask::regression, [](const mx::array& logits) { return logits; });
}

TEST(Classifier, PairsHaveTokenTypes) {
  const std::vector<std::string> seconds{sentence(3, 5), "", sentence(4, 2)};
  for (const std::string& folder : {tiny_models().classifier, tiny_models().regression}) {
    const Classifier classifier(models::load_pretrained(folder), {});
    const Classes result = classifier(texts, seconds);
    const auto pretrained = models::load_pretrained(folder);
    for (size_t i = 0; i < texts.size(); ++i) {
      tokenize::EncodeOptions how;
      how.max_length = static_cast<size_t>(pretrained.max_length);
      tokenize::Encoding pair = pretrained.tokenizer.encode_pair(texts[i], seconds[i], how);
      if (!pretrained.dynamic_padding) tokenize::pad(pair, how.max_length, pretrained.tokenizer.pad_id());
      const mx::Shape shape{1, static_cast<int>(pair.ids.size())};
      const std::vector<int32_t> mask(pair.attention_mask.begin(), pair.attention_mask.end());
      const models::Inputs inputs{mx::array(pair.ids.begin(), shape), mx::array(mask.begin(), shape),
                                  mx::array(pair.type_ids.begin(), shape)};
      nn::Pass pass;
      const mx::array logits = pretrained.model->class_logits(inputs, pass);
      expect_close(result.scores, i * static_cast<size_t>(result.labels),
                   floats(classifier.task() == ClassTask::regression ? logits : mx::softmax(logits, -1)));
    }
  }
  const Classifier classifier(models::load_pretrained(tiny_models().classifier), {});
  EXPECT_THROW(classifier(texts, std::span(seconds).first(2)), Error);
}

TEST(Classifier, NamesItsLabels) {
  EXPECT_EQ(Classifier(models::load_pretrained(tiny_models().classifier), {}).labels(), (std::vector<std::string>{"bad", "fair", "good"}));
  EXPECT_EQ(Classifier(models::load_pretrained(tiny_models().regression), {}).labels(), (std::vector<std::string>{"LABEL_0"}));
}

TEST(Classifier, RefusesAModelWithoutTheHead) {
  EXPECT_PRED2(test::has, test::error_of([] { Classifier(models::load_pretrained(tiny_models().m2), {}); }), "classification head");
}

}  // namespace
}  // namespace m2bert::infer
