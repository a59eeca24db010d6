#include "m2bert/models/model.h"

#include <algorithm>

#include "m2bert/error.h"
#include "m2bert/nn/loss.h"

namespace m2bert::models {

namespace {

std::unique_ptr<PoolerBase> make_pooler(const Config& c, Head head) {
  if (head == Head::none) return nullptr;
  if (c.family == Family::m2 && c.attention_pooling) return std::make_unique<AttentionPooler>(c);
  if (head == Head::masked_lm) return nullptr;
  return std::make_unique<Pooler>(c);
}

constexpr int kClsId = 101;  // what upstream plants

// Without the positions on the right that are padding in every row; at least one position is left.
Inputs without_common_padding(Inputs in) {
  const int L = in.input_ids.shape(1);
  in.host_mask = in.mask_values();
  if (in.host_mask->empty()) return in;
  int longest = 1;
  for (size_t i = 0; i < in.host_mask->size(); ++i) {
    if ((*in.host_mask)[i]) longest = std::max(longest, int(i % size_t(L)) + 1);
  }
  return longest < L ? in.cut(longest) : in;
}

}  // namespace

Model::Model(const Config& config, Head head)
    : config_(config), head_(head), embeddings_(config), encoder_(config), pooler_(make_pooler(config, head)) {
  if (head == Head::classification) classifier_.emplace(config.hidden_size, config.num_labels);
  if (head == Head::masked_lm) {
    cls_.emplace(config);
    cls_->tie(embeddings_.word_embeddings);
  }
}

void Model::init(uint64_t seed, bool independent) {
  unpack();
  nn::KeySequence keys(seed);
  const float range = float(config_.initializer_range);
  embeddings_.init(range, keys);
  encoder_.init(range, independent, keys);
  if (pooler_) pooler_->init(range, keys);
  if (classifier_) classifier_->init_normal(range, keys);
  if (cls_) cls_->init(range, keys);
}

mx::array Model::planted(const Inputs& inputs) const {
  const auto& ids = inputs.input_ids;
  const auto on = config_.mask_padding ? mx::logical_and(planting_stride(ids.shape(1)), mx::not_equal(inputs.attention_mask, mx::array(0)))
                                       : planted_positions(ids.shape(0), ids.shape(1));
  auto not_first = mx::greater(mx::arange(0, ids.shape(1), 1, mx::int32), mx::array(0));
  return mx::where(mx::logical_and(on, not_first), mx::array(kClsId, ids.dtype()), ids);
}

// Checks the inputs; with mask_padding, cuts common padding; plants tokens.
Inputs Model::encoder_inputs(const Inputs& inputs) const {
  const auto& ids = inputs.input_ids;
  require(ids.ndim() == 2, "[Model] input_ids has shape ", ids.shape(), ", wants [B, L]");
  require(inputs.attention_mask.shape() == ids.shape(), "[Model] attention_mask has shape ", inputs.attention_mask.shape(), ", input_ids ",
          ids.shape());
  require(!inputs.token_type_ids || inputs.token_type_ids->shape() == ids.shape(), "[Model] token_type_ids and input_ids differ in shape");
  auto now = config_.mask_padding ? without_common_padding(inputs) : inputs;
  if (config_.sequence_token_planting && head_ != Head::masked_lm) now.input_ids = planted(now);
  return now;
}

// Of a packed model whose states depend on the tokens alone, if the device repeats the pass.
std::optional<mx::array> Model::recorded_states(const Inputs& inputs, const nn::Pass& pass) const {
  if (!recorded_ || !pass.allows_packed() || pass.after_layer) return std::nullopt;
  return (*recorded_)(inputs, [&](const Inputs& in) {
    nn::Pass own;
    own.launches_early = false;
    return encoder_(embeddings_(in, own), in, own);
  });
}

mx::array Model::hidden_states(const Inputs& inputs, nn::Pass& pass) const {
  const auto now = encoder_inputs(inputs);
  if (const auto states = recorded_states(now, pass)) return *states;
  auto x = pass.hook("embeddings", embeddings_(now, pass));
  auto states = encoder_(x, now, pass);
  const int padding = inputs.input_ids.shape(1) - states.shape(1);
  if (padding > 0) states = mx::pad(states, std::vector<int>{1}, mx::Shape{0}, mx::Shape{padding}, mx::array(0, states.dtype()));
  return pass.hook("sequence_output", states);
}

mx::array Model::hidden_states(const Inputs& inputs) const {
  nn::Pass pass;
  return hidden_states(inputs, pass);
}

bool Model::reads_first_state(Pooling pooling, int skipped) const {
  if (pooling == Pooling::pooler) return !config_.pool_all && !config_.sequence_token_planting && !config_.attention_pooling;
  return pooling == Pooling::cls && skipped == 0;
}

mx::array Model::states_for(const Poolings& poolings, const Inputs& inputs, nn::Pass& pass, int skipped) const {
  const bool first = std::ranges::all_of(poolings, [&](Pooling pooling) { return reads_first_state(pooling, skipped); });
  if (!first || pass.has_hook()) return hidden_states(inputs, pass);
  const auto now = encoder_inputs(inputs);
  if (const auto states = recorded_states(now, pass)) return mx::slice(*states, {0, 0, 0}, {states->shape(0), 1, states->shape(2)});
  return mx::expand_dims(encoder_.first(embeddings_(now, pass), now, pass), 1);
}

mx::array Model::pool(const mx::array& hidden, const mx::array& mask, Pooling pooling, int skipped) const {
  if (pooling != Pooling::pooler) return pool_states(hidden, mask, pooling, skipped);
  require(pooler_ != nullptr, "[Model] this model has no pooler; choose another pooling: cls, mean or max");
  return (*pooler_)(hidden, mask);
}

mx::array Model::embedding(const Inputs& inputs, Pooling pooling, bool normalize) const {
  auto pass = nn::Pass::without_padding();
  auto vectors = pool(states_for({pooling}, inputs, pass), inputs.attention_mask, pooling);
  return normalize ? l2_normalize(vectors) : vectors;
}

mx::array Model::masked_lm_logits(const mx::array& rows, nn::Pass& pass) const {
  require(cls_.has_value(), "[Model] this model has no masked-LM head");
  return (*cls_)(rows, pass);
}

mx::array Model::classify(const mx::array& vectors) const {
  return packed_classifier_ ? (*packed_classifier_)(vectors) : (*classifier_)(vectors);
}

mx::array Model::class_logits(const Inputs& inputs, nn::Pass& pass) const {
  require(classifier_.has_value(), "[Model] this model has no classifier");
  auto hidden = states_for({config_.use_cls_token ? Pooling::cls : Pooling::pooler}, inputs, pass);
  if (config_.use_cls_token) return classify(pool(hidden, inputs.attention_mask, Pooling::cls));  // no pooler, no dropout
  auto pooled = pass.hook("pooled_output", pool(hidden, inputs.attention_mask, Pooling::pooler));
  return classify(pass.dropout(pooled, float(config_.classifier_dropout.value_or(config_.hidden_dropout_prob))));
}

mx::array Model::classification_loss(const mx::array& logits, const mx::array& labels) const {
  auto problem = config_.problem_type;
  if (!problem) {
    const bool integer = mx::issubdtype(labels.dtype(), mx::integer);
    problem = config_.num_labels == 1 ? "regression" : integer ? "single_label_classification" : "multi_label_classification";
  }
  if (*problem == "regression") {
    if (config_.num_labels == 1) return nn::mse(mx::reshape(logits, {-1}), mx::reshape(labels, {-1}));
    return nn::mse(logits, labels);
  }
  if (*problem == "single_label_classification") return nn::cross_entropy(logits, mx::reshape(labels, {-1}));
  return nn::bce_with_logits(logits, labels);
}

// Everything except the heads, under the prefix "bert.".
class Model::Bert : public nn::Module {
 public:
  explicit Bert(Model& model) : model_(model) {}
  void visit(nn::Visitor& v) override {
    v("embeddings", model_.embeddings_);
    v("encoder", model_.encoder_);
    if (model_.pooler_) v("pooler", *model_.pooler_);
  }

 private:
  Model& model_;
};

void Model::pack() {
  unpack();
  packed_ = true;
  try {
    embeddings_.pack();
    encoder_.pack();
    if (pooler_) pooler_->pack();
    if (classifier_) packed_classifier_ = packed::pack_head({classifier_->matrix(), classifier_->bias});
    if (encoder_.reads_tokens_alone()) recorded_ = std::make_unique<packed::RecordedStates>();
  } catch (...) {  // never packed in part
    unpack();
    throw;
  }
}

void Model::unpack() {
  if (!packed_) return;
  embeddings_.unpack();
  encoder_.unpack();
  if (pooler_) pooler_->unpack();
  packed_classifier_.reset();
  recorded_.reset();
  packed_ = false;
}

void Model::visit(nn::Visitor& v) {
  unpack();  // the visitor may change weights
  Bert bert(*this);
  v("bert", bert);
  v("classifier", classifier_);
  v("cls", cls_);
}

}  // namespace m2bert::models
