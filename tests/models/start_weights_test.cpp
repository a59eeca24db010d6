#include "m2bert/models/start_weights.h"

#include <gtest/gtest.h>

#include "tests/support/scratch.h"
#include "tests/support/tiny_config.h"
#include "tests/support/weights_of.h"

namespace m2bert::models {
namespace {

using test::error_of;
using test::has;
using test::tiny_m2_config;
using test::weights_of;
using Names = std::vector<std::string>;

// The arrays of `model` whose values are those of `other`, by the part of the model to which they belong.
struct Origin {
  size_t encoder_same = 0, encoder_other = 0, head_same = 0, head_other = 0;
};
Origin compare(Model& model, const checkpoint::TensorMap& other) {
  Origin origin;
  for (const auto& a : nn::parameters(model)) {
    const bool head = a.name.starts_with("cls.") || a.name.starts_with("classifier.") || a.name.starts_with("bert.pooler.");
    bool same = false;
    for (const auto& [name, value] : other) same = same || (name == a.name && mx::array_equal(value, *a.array).item<bool>());
    ++(head ? same ? origin.head_same : origin.head_other : same ? origin.encoder_same : origin.encoder_other);
  }
  return origin;
}

struct Case {
  Head from, to;
  Names fresh;
};

class StartFrom : public ::testing::TestWithParam<Case> {};

TEST_P(StartFrom, TakesTheEncoderAndTheHeadThatIsThere) {
  const auto& [from, to, fresh] = GetParam();
  Model source(tiny_m2_config(8), from), model(tiny_m2_config(8), to);
  source.init(1);
  model.init(2);
  const auto weights = weights_of(source), before = weights_of(model);
  const auto report = start_from(model, weights, "x.pt");
  EXPECT_EQ(report.fresh, fresh);
  const auto now = compare(model, weights);
  EXPECT_EQ(now.encoder_other, 0U);
  EXPECT_GT(now.encoder_same, 10U);
  if (fresh.empty()) {
    EXPECT_EQ(now.head_other, 0U);
  }
  if (from == Head::masked_lm && to == Head::classification) {
    EXPECT_EQ(now.head_same, 0U);
  }
  for (const auto& [name, value] : before) {  // a new head keeps its initial values
    if (fresh.size() != 1 || !name.starts_with("cls.predictions.transform")) continue;
    for (const auto& a : nn::parameters(model)) {
      if (a.name != name) continue;
      EXPECT_TRUE(mx::array_equal(value, *a.array).item<bool>()) << name;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Heads, StartFrom,
    ::testing::Values(Case{Head::embedding, Head::masked_lm, {"masked-LM head"}}, Case{Head::none, Head::masked_lm, {"masked-LM head"}},
                      Case{Head::classification, Head::masked_lm, {"masked-LM head"}}, Case{Head::masked_lm, Head::masked_lm, {}},
                      Case{Head::masked_lm, Head::classification, {"classifier", "pooler"}},
                      Case{Head::embedding, Head::classification, {"classifier"}}, Case{Head::masked_lm, Head::embedding, {"pooler"}}));

TEST(StartFrom, AnEncoderOrAHeadThatIsIncompleteIsAnError) {
  Model source(tiny_m2_config(8), Head::masked_lm), model(tiny_m2_config(8), Head::masked_lm);
  source.init(1);
  model.init(2);
  for (const char* missing : {"cls.predictions.transform.dense.weight", "bert.embeddings.word_embeddings.weight"}) {
    auto weights = weights_of(source);
    const auto removed = std::erase_if(weights, [&](const auto& w) {
      return w.first == missing || (std::string(missing).starts_with("bert.") && w.first == "cls.predictions.decoder.weight");
    });
    EXPECT_GT(removed, 0U);
    const auto message = error_of([&] { start_from(model, weights, "x.pt"); });
    EXPECT_PRED2(has, message, "x.pt: the weights do not fit the model");
    EXPECT_PRED2(has, message, missing);
    EXPECT_EQ(message.find("--"), std::string::npos) << message;
  }
}

TEST(StartFrom, AClassifierForOtherLabelsIsReplaced) {
  auto config = tiny_m2_config(8);
  config.num_labels = 2;
  Model source(config, Head::classification);
  source.init(1);
  const auto start = [&](const Names& labels, const Names& of_file) {
    config.num_labels = int(labels.size());
    config.labels = labels;
    Model model(config, Head::classification);
    model.init(2);
    return start_from(model, weights_of(source), "x.pt", of_file).fresh;
  };
  const Names replaced{"classifier"};
  EXPECT_EQ(start({"a", "b"}, {"a", "b"}), Names{});
  EXPECT_EQ(start({"a", "b"}, {}), Names{});
  EXPECT_EQ(start({"a", "b"}, {"b", "a"}), replaced);
  EXPECT_EQ(start({"a", "b", "c"}, {"a", "b"}), replaced);
  EXPECT_EQ(start({"a", "b", "c"}, {}), replaced);
}

}  // namespace
}  // namespace m2bert::models
