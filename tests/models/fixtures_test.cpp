// Every tensor of upstream's fixtures (hooks, outputs, gradients), from each checkpoint format.
#include "golden.h"
#include "m2bert/checkpoint/match.h"
#include "m2bert/checkpoint/weights.h"
#include "m2bert/models/model.h"
#include "m2bert/models/pretrained.h"
#include "m2bert/tasks/masked_lm.h"

namespace m2bert {
namespace {

using golden::Tensors;
using models::Head;

struct Fixture {
  std::string folder, weights;
};

std::ostream& operator<<(std::ostream& out, const Fixture& f) { return out << f.folder << "/" << f.weights; }

class UpstreamFixture : public ::testing::TestWithParam<Fixture> {
 protected:
  void SetUp() override {
    folder_ = golden::shared_dir() / "fixtures" / GetParam().folder;
    if (!golden::fs::exists(folder_)) GTEST_SKIP() << "upstream's fixtures are not beside this checkout: " << folder_;
    inputs_ = golden::load_tensors(folder_ / "inputs.safetensors");
    expected_ = golden::load_tensors(folder_ / "outputs.safetensors");
    auto weights = checkpoint::load_weights(folder_ / GetParam().weights);
    auto config = models::read_config(folder_ / "config.yaml");
    head_ = models::head_of(weights);
    for (const auto& [name, w] : weights) {
      if (name == "classifier.weight") config.num_labels = w.shape(0);
    }
    model_ = std::make_unique<models::Model>(config, head_);
    checkpoint::match(*model_, weights, {.source = GetParam().weights});
  }

  models::Inputs batch() const {
    models::Inputs b{inputs_.at("input_ids"), inputs_.at("attention_mask"), std::nullopt};
    if (inputs_.contains("token_type_ids")) b.token_type_ids = inputs_.at("token_type_ids");
    return b;
  }

  mx::array embedding(nn::Pass& pass) const {
    auto b = batch();
    return model_->pool(model_->hidden_states(b, pass), b.attention_mask, model_->default_pooling());
  }

  mx::array loss(nn::Pass& pass) const {
    if (head_ == Head::masked_lm) return tasks::masked_lm_loss(*model_, batch(), inputs_.at("labels"), pass);
    if (inputs_.contains("cotangent")) return mx::sum(embedding(pass) * inputs_.at("cotangent"));
    return model_->classification_loss(model_->class_logits(batch(), pass), inputs_.at("labels"));
  }

  // What the model computes, with the fixtures' names and layouts.
  Tensors stages() const {
    Tensors found;
    nn::Pass pass;
    pass.on_hook = [&](const std::string& name, const mx::array& x) {
      found.insert_or_assign(name, x);
      return x;
    };
    auto b = batch();
    auto hidden = model_->hidden_states(b, pass);
    if (head_ == Head::masked_lm) {
      auto logits = model_->masked_lm_logits(hidden, pass);
      found.insert_or_assign("logits", logits);
      auto on = mx::greater(inputs_.at("labels"), mx::array(0));
      found.insert_or_assign("logits_labels_path", mx::where(mx::expand_dims(on, -1), logits, mx::array(0.0f)));
    } else if (inputs_.contains("cotangent")) {
      found.insert_or_assign("embedding", embedding(pass));
    } else {
      found.insert_or_assign("logits", model_->class_logits(b, pass));
    }
    return found;
  }

  // With labels, upstream runs its last attention layer only on [CLS] and the predicted tokens. Compare those rows.
  mx::array predicted_rows(const mx::array& rows) const {
    auto real = ops::unpadding(inputs_.at("attention_mask"));
    auto first = mx::equal(mx::arange(0, inputs_.at("labels").shape(1), 1, mx::int32), mx::array(0));
    auto wanted = mx::logical_or(mx::greater(inputs_.at("labels"), mx::array(0)), first);
    auto among_real = ops::unpad_input(mx::astype(mx::expand_dims(wanted, -1), mx::int32), real);
    return mx::take(rows, ops::unpadding(mx::reshape(among_real, {1, -1})).indices, 0);
  }

  golden::fs::path folder_;
  Tensors inputs_, expected_;
  Head head_ = Head::none;
  std::unique_ptr<models::Model> model_;
};

// "layer.0.k_full" and similar names combine two of our filters. Filters and convolutions are stored channels first.
std::optional<mx::array> in_fixture_layout(const std::string& name, const Tensors& found) {
  auto last = name.substr(name.rfind('.') + 1);
  auto layer = name.substr(0, name.size() - last.size());
  if (last == "k" || last == "k_rev" || last == "k2" || last == "k2_rev") {
    auto it = found.find(layer + "mixer." + last);
    if (it == found.end()) return std::nullopt;
    return mx::transpose(it->second);
  }
  if (last == "k_full" || last == "k2_full") {
    auto k = found.find(layer + "mixer." + last.substr(0, last.find('_'))), reverse = found.find(k == found.end() ? "" : k->first + "_rev");
    if (k == found.end() || reverse == found.end()) return std::nullopt;
    const int L = k->second.shape(0), d = k->second.shape(1);
    return mx::transpose(mx::concatenate({k->second, mx::slice(reverse->second, {L - 1, 0}, {-L - 1, d}, {-1, 1})}, 0));
  }
  auto it = found.find(name);
  if (it == found.end()) return std::nullopt;
  const bool channels_first = last == "short_conv" || last == "long_conv" || last == "residual_conv";
  return channels_first ? mx::transpose(it->second, {0, 2, 1}) : it->second;
}

TEST_P(UpstreamFixture, Forward) {
  const golden::Tolerances tolerances(folder_ / "tolerances.json");
  const auto found = stages();
  nn::Pass pass;
  for (const auto& [name, golden] : expected_) {
    if (name.starts_with("grad.") || name.starts_with("dgrad.")) continue;
    if (name == "loss") {
      tolerances.expect(name, mx::reshape(loss(pass), {1}), golden);
      continue;
    }
    auto ours = in_fixture_layout(name, found);
    ASSERT_TRUE(ours.has_value()) << "the model has no stage for " << name;
    tolerances.expect(name, *ours, golden);
  }
}

// Without hooks the fused kernels run.
TEST_P(UpstreamFixture, ForwardWithKernels) {
  const golden::Tolerances tolerances(folder_ / "tolerances.json");
  nn::Pass pass;
  if (auto it = expected_.find("sequence_output"); it != expected_.end())
    tolerances.expect(it->first, model_->hidden_states(batch(), pass), it->second);
  if (auto it = expected_.find("embedding"); it != expected_.end()) tolerances.expect(it->first, embedding(pass), it->second);
  if (auto it = expected_.find("logits"); it != expected_.end()) {
    auto logits = head_ == Head::masked_lm ? model_->masked_lm_logits(model_->hidden_states(batch(), pass), pass)
                                           : model_->class_logits(batch(), pass);
    tolerances.expect(it->first, logits, it->second);
  }
}

TEST_P(UpstreamFixture, Gradients) {
  const golden::Tolerances tolerances(folder_ / "tolerances.json");
  auto wanted = nn::parameters(*model_);
  const size_t count = wanted.size();
  // The gradient of an activation is that of zeros added to it.
  std::map<std::string, mx::array> deltas;
  const auto found = stages();
  for (const auto& [name, golden] : expected_) {
    if (name.starts_with("dgrad.")) deltas.emplace(name.substr(6), mx::zeros(found.at(name.substr(6)).shape()));
  }
  for (auto& [name, delta] : deltas) wanted.push_back({"dgrad." + name, &delta, nn::Role::parameter});
  nn::Pass pass;
  pass.on_hook = [&](const std::string& name, const mx::array& x) {
    auto it = deltas.find(name);
    return it == deltas.end() ? x : x + it->second;
  };
  auto result = nn::value_and_grad(wanted, [&] { return loss(pass); });

  Tensors ours;
  for (size_t i = 0; i < wanted.size(); ++i) ours.emplace(i < count ? "grad." + wanted[i].name : wanted[i].name, result.grads[i]);
  size_t compared = 0;
  for (const auto& [name, golden] : expected_) {
    if (!name.starts_with("grad.") && !name.starts_with("dgrad.")) continue;
    auto it = ours.find(name);
    ASSERT_NE(it, ours.end()) << "the model has no " << name;
    const bool subset = it->second.ndim() == 2 && it->second.shape(0) > golden.shape(0) && name.starts_with("dgrad.");
    tolerances.expect(name, subset ? predicted_rows(it->second) : it->second, golden);
    ++compared;
  }
  EXPECT_GT(compared, 30u);
}

INSTANTIATE_TEST_SUITE_P(All, UpstreamFixture,
                         ::testing::Values(Fixture{"tiny-mlm", "checkpoint.pt"}, Fixture{"tiny-attn", "checkpoint.pt"},
                                           Fixture{"tiny-attn-cls", "checkpoint.pt"}, Fixture{"tiny-glue-1", "checkpoint.pt"},
                                           Fixture{"tiny-glue-3", "checkpoint.pt"}, Fixture{"tiny-embed", "checkpoint.pt"},
                                           Fixture{"tiny-embed", "model.safetensors"}, Fixture{"tiny-embed", "flat.pt"},
                                           Fixture{"tiny-embed-additions", "checkpoint.pt"},
                                           Fixture{"tiny-embed-additions", "model.safetensors"}, Fixture{"tiny-embed-2k", "checkpoint.pt"},
                                           Fixture{"tiny-embed-2k", "model.safetensors"}),
                         [](const auto& info) {
                           auto name = info.param.folder + "_" + info.param.weights;
                           for (char& c : name) {
                             if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
                           }
                           return name;
                         });

}  // namespace
}  // namespace m2bert
