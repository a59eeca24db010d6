// Small cases computed by the PyTorch model in tests/parity: values and gradients.
#include "golden.h"
#include "m2bert/checkpoint/match.h"
#include "m2bert/checkpoint/weights.h"
#include "m2bert/io/yaml.h"
#include "m2bert/models/model.h"
#include "m2bert/tasks/masked_lm.h"

namespace m2bert {
namespace {

using models::Head;
using models::Model;

class GoldenCase : public ::testing::TestWithParam<golden::fs::path> {};

TEST_P(GoldenCase, ForwardAndGradients) {
  const auto& folder = GetParam();
  auto tree = io::read_yaml(folder / "config.yaml");
  const auto head_name = tree.at("head").string();
  const Head head = head_name == "mlm" ? Head::masked_lm : head_name == "classification" ? Head::classification : Head::embedding;
  Model model(models::Config::from_tree(tree), head);
  checkpoint::match(model, checkpoint::load_weights(folder / "model.safetensors"));
  const auto inputs = golden::load_tensors(folder / "inputs.safetensors"), expected = golden::load_tensors(folder / "expected.safetensors");
  const golden::Tolerances tolerances(folder / "tolerances.json");

  auto ids = inputs.at("input_ids");
  models::Inputs batch{ids, inputs.contains("attention_mask") ? inputs.at("attention_mask") : mx::ones_like(ids), std::nullopt};
  if (inputs.contains("token_type_ids")) batch.token_type_ids = inputs.at("token_type_ids");
  auto embedding = [&] { return model.embedding(batch, model.default_pooling(), model.config().use_normalized_embeddings); };
  auto loss = [&] {
    nn::Pass pass;
    if (head == Head::masked_lm) return tasks::masked_lm_loss(model, batch, inputs.at("labels"), pass);
    if (head == Head::classification) return model.classification_loss(model.class_logits(batch, pass), inputs.at("labels"));
    return mx::sum(embedding() * inputs.at("cotangent"));
  };

  nn::Pass pass;
  const auto params = nn::parameters(model);
  const auto result = nn::value_and_grad(params, loss);
  std::map<std::string, mx::array> ours{{"loss", mx::reshape(result.value, {1})}};
  for (size_t i = 0; i < params.size(); ++i) ours.emplace("grad." + params[i].name, result.grads[i]);
  ours.emplace("sequence_output", model.hidden_states(batch));
  if (head == Head::masked_lm) ours.emplace("logits", model.masked_lm_logits(ours.at("sequence_output"), pass));
  if (head == Head::classification) ours.emplace("logits", model.class_logits(batch, pass));
  if (head == Head::embedding) ours.emplace("embedding", embedding());

  for (const auto& [name, golden] : expected) {
    if (name == "logits_labels_path" || name == "pooled_output") continue;  // parts of tensors that are compared here
    ASSERT_TRUE(ours.contains(name)) << name;
    tolerances.expect(name, ours.at(name), golden);
  }
  for (const auto& [name, mine] : ours) {  // PyTorch has no gradient for unused parameters (the pooler with use_cls_token)
    if (!name.starts_with("grad.") || expected.contains(name)) continue;
    EXPECT_EQ(mx::max(mx::abs(mine)).item<float>(), 0) << name;
  }
}

std::vector<golden::fs::path> cases() {
  std::vector<golden::fs::path> folders;
  for (const auto& entry : golden::fs::directory_iterator(golden::source_dir() / "tests/golden/models")) {
    if (entry.is_directory()) folders.push_back(entry.path());
  }
  std::ranges::sort(folders);
  return folders;
}

INSTANTIATE_TEST_SUITE_P(All, GoldenCase, ::testing::ValuesIn(cases()), [](const auto& info) {
  auto name = info.param.filename().string();
  std::ranges::replace(name, '-', '_');
  return name;
});

}  // namespace
}  // namespace m2bert
