// A packed model gives a text the same bits alone, in any batch, and with any number of threads.
#include <gtest/gtest.h>

#include <random>

#include "m2bert/models/cast.h"
#include "m2bert/models/model.h"
#include "m2bert/nn/pass.h"
#include "m2bert/ops/cpu_features.h"
#include "m2bert/threads.h"
#include "tests/ops/cpu_kernels.h"
#include "tests/support/tiny_config.h"

namespace m2bert::models {
namespace {

constexpr int kMaxLength = 100;

struct Case {
  const char* model;
  const char* dtype;
};

Config config_of(const std::string& model) {
  Config c = model == "bert" ? test::tiny_bert_config() : test::tiny_m2_config(kMaxLength);
  c.max_position_embeddings = kMaxLength;
  c.hidden_size = 128;
  c.intermediate_size = 256;
  c.num_attention_heads = 4;
  if (model == "alibi") c.monarch_mixer_sequence_mixing = false;
  c.mask_padding = model == "masked_mixer";
  c.hyena_filter_order = 16;
  return c;
}

// Token t of text i.
int id_of(int i, int t) { return 5 + (i * 31 + t * 17 + i * t % 7) % 80; }

class BatchIndependence : public ::testing::TestWithParam<Case> {
 protected:
  BatchIndependence() : model_(config_of(GetParam().model), Head::classification) {
    model_.init(3, true);
    for (int i = 0; i < 36; ++i) lengths_.push_back(1 + (i * 37) % kMaxLength);
  }
  ~BatchIndependence() override { set_threads(0); }

  // Where the CPU has no GEMM of the dtype, the weights are rounded to it.
  void SetUp() override {
    if (!testing_ops::has_cpu_kernels()) GTEST_SKIP() << "a CPU kernel";
    const std::string dtype = GetParam().dtype;
    if (dtype != "float32") cast_weights(model_, dtype == "int8" ? mx::int8 : mx::bfloat16);
    model_.pack();
  }

  Inputs inputs(const std::vector<int>& texts, int L) const {
    std::vector<int32_t> ids, mask;
    for (int i : texts) {
      for (int t = 0; t < L; ++t) {
        ids.push_back(t < lengths_[size_t(i)] ? id_of(i, t) : 0);
        mask.push_back(t < lengths_[size_t(i)]);
      }
    }
    const mx::Shape shape{int(texts.size()), L};
    return {mx::array(ids.data(), shape, mx::int32), mx::array(mask.data(), shape, mx::int32), std::nullopt};
  }

  int longest(const std::vector<int>& texts) const {
    int most = 0;
    for (int i : texts) most = std::max(most, lengths_[size_t(i)]);
    return most;
  }

  // The vectors of all poolings and the class logits, side by side, [B, ...].
  mx::array vectors(const std::vector<int>& texts, int L) const {
    const auto in = inputs(texts, L);
    nn::Pass pass = nn::Pass::without_padding();
    const auto hidden = model_.hidden_states(in, pass);
    std::vector<mx::array> all;
    for (const char* name : {"pooler", "cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"})
      all.push_back(l2_normalize(model_.pool(hidden, in.attention_mask, pooling_named(name))));
    all.push_back(mx::astype(model_.class_logits(in, pass), mx::float32));  // from the first state alone
    auto y = mx::concatenate(all, 1);
    y.eval();
    return y;
  }

  // Compares batches of random texts with the same texts alone. length_of: what a batch is padded to.
  void compare(
      const std::function<int(const std::vector<int>& batch)>& length_of,
      const std::function<bool(int text)>& takes = [](int) { return true; }) {
    std::vector<int> texts;
    for (int i = 0; i < int(lengths_.size()); ++i) {
      if (takes(i)) texts.push_back(i);
    }
    set_threads(0);
    std::map<int, mx::array> alone;
    for (int i : texts) alone.emplace(i, vectors({i}, length_of({i})));
    set_threads(1);
    model_.pack();  // filters are cached again
    std::mt19937 random(5);
    for (int trial = 0; trial < 9; ++trial) {
      set_threads(trial % 3);
      std::ranges::shuffle(texts, random);
      const size_t count = std::min(texts.size(), size_t(trial < 3 ? 2 + trial : 2 + random() % 35));
      const std::vector<int> batch(texts.begin(), texts.begin() + std::ptrdiff_t(count));
      const auto found = vectors(batch, length_of(batch));
      for (size_t b = 0; b < count; ++b) {
        const auto& expected = alone.at(batch[b]);
        const auto row = mx::slice(found, {int(b), 0}, {int(b) + 1, found.shape(1)});
        ASSERT_TRUE(mx::array_equal(row, expected).item<bool>())
            << "text " << batch[b] << " of " << lengths_[size_t(batch[b])] << " tokens, row " << b << " of " << count << ": up to "
            << mx::max(mx::abs(row - expected)).item<float>();
      }
    }
  }

  bool padding_is_part() const { return !model_.config().padding_is_masked(); }

  Model model_;
  std::vector<int> lengths_;
};

TEST_P(BatchIndependence, AtTheMaximumLength) {
  compare([](const auto&) { return kMaxLength; });
}

TEST_P(BatchIndependence, AtALengthThatDependsOnTheText) {
  for (int bucket : {8, 32, 48}) {
    compare([&](const auto&) { return bucket; }, [&](int i) { return lengths_[size_t(i)] <= bucket && lengths_[size_t(i)] > bucket / 4; });
  }
}

TEST_P(BatchIndependence, AtTheLengthOfTheLongestOfTheBatch) {
  if (padding_is_part()) GTEST_SKIP() << "padding that is masked";
  compare([&](const auto& batch) { return longest(batch); });
}

// Texts alone are as long as the batch; others of the batch are shorter.
TEST_P(BatchIndependence, WithoutPaddingAlone) {
  if (padding_is_part()) GTEST_SKIP() << "padding that is masked";
  const auto full = [&](int i) { return lengths_[size_t(i)] > 60; };
  compare([&](const auto& batch) { return longest(batch); }, full);
}

INSTANTIATE_TEST_SUITE_P(Models, BatchIndependence,
                         ::testing::Values(Case{"mixer", "float32"}, Case{"mixer", "bfloat16"}, Case{"mixer", "int8"},
                                           Case{"masked_mixer", "float32"}, Case{"masked_mixer", "bfloat16"}, Case{"masked_mixer", "int8"},
                                           Case{"alibi", "float32"}, Case{"alibi", "bfloat16"}, Case{"alibi", "int8"},
                                           Case{"bert", "float32"}, Case{"bert", "bfloat16"}, Case{"bert", "int8"}),
                         [](const auto& info) { return std::string(info.param.model) + "_" + info.param.dtype; });

// Filters of more than 16 MiB are cached only from the second batch of their length on (packed::FilterCache). Whether they are must not
// show, nor which others are.
class LongFilters : public ::testing::TestWithParam<bool> {
 protected:
  static constexpr int kLength = 16384, kWidth = 64, kTokens = 9000;

  static std::unique_ptr<Model> model() {
    Config c = test::tiny_m2_config(kLength);
    c.hidden_size = kWidth;
    c.intermediate_size = 2 * kWidth;
    c.num_hidden_layers = 1;
    c.mask_padding = GetParam();
    auto model = std::make_unique<Model>(c, Head::none);
    model->init(3, true);
    model->pack();
    return model;
  }

  static mx::array states(const Model& model, const std::vector<int>& lengths, int row) {
    const int L = *std::ranges::max_element(lengths), B = int(lengths.size());
    const auto rows = mx::reshape(mx::array(lengths.data(), {B}, mx::int32), {B, 1});
    const auto mask = mx::astype(mx::less(mx::arange(L), rows), mx::int32);
    const auto ids = mx::remainder(mx::arange(L) * mx::array(17) + rows, mx::array(80)) * mask;
    nn::Pass pass = nn::Pass::without_padding();
    auto y = mx::slice(model.hidden_states({ids, mask, std::nullopt}, pass), {row, 0, 0}, {row + 1, lengths[size_t(row)], kWidth});
    y.eval();
    return y;
  }
};

TEST_P(LongFilters, HaveTheSameBitsWhateverIsCached) {
  if (!testing_ops::has_cpu_kernels()) GTEST_SKIP() << "a CPU kernel";
  const auto first = model();
  const auto expected = states(*first, {kTokens}, 0);  // filters that are not stored
  for (int i = 0; i < 2; ++i) EXPECT_TRUE(mx::array_equal(states(*first, {kTokens}, 0), expected).item<bool>()) << i;  // stored, cached
  if (!GetParam()) return;
  const auto short_one = states(*model(), {300}, 0);  // of other texts, cached at once
  const auto other = model();
  for (int i = 0; i < 3; ++i) {
    const std::vector<int> batch{300, kTokens, 5000, 5};
    EXPECT_TRUE(mx::array_equal(states(*other, batch, 1), expected).item<bool>()) << i;
    EXPECT_TRUE(mx::array_equal(states(*other, batch, 0), short_one).item<bool>()) << i;
    EXPECT_TRUE(mx::array_equal(states(*other, {5000}, 0), states(*other, batch, 2)).item<bool>()) << i;
    EXPECT_TRUE(mx::array_equal(states(*first, {300}, 0), short_one).item<bool>()) << i;
  }
}

INSTANTIATE_TEST_SUITE_P(MaskPadding, LongFilters, ::testing::Bool());

}  // namespace
}  // namespace m2bert::models
