#include "m2bert/train/retrieval_objective_keys.h"

#include "m2bert/error.h"
#include "m2bert/train/recipe_keys.h"

namespace m2bert::train {

namespace {

using tasks::RetrievalLoss;
using Keys = std::vector<std::string>;

Keys keys_of(RetrievalLoss loss) {
  Keys keys{"name", "matryoshka_dimensions", "matryoshka_weights"};
  auto add = [&](const Keys& more) { keys.insert(keys.end(), more.begin(), more.end()); };
  if (loss != RetrievalLoss::vector_distillation) add({"teacher_weight", "teacher_distance"});
  switch (loss) {
    case RetrievalLoss::multiple_negatives_ranking:
      add({"scale", "symmetric", "query_to_query", "passage_to_passage", "false_negatives"});
      break;
    case RetrievalLoss::contrastive: add({"margin", "distance", "size_average"}); break;
    case RetrievalLoss::online_contrastive:
    case RetrievalLoss::triplet: add({"margin", "distance"}); break;
    case RetrievalLoss::orthogonal_projection: add({"negative_weight"}); break;
    case RetrievalLoss::cosine_similarity: break;
    case RetrievalLoss::mega_batch_margin: add({"positive_margin", "negative_margin"}); break;
    case RetrievalLoss::margin_mse: add({"similarity"}); break;
    case RetrievalLoss::kl_distillation: add({"similarity", "temperature"}); break;
    case RetrievalLoss::vector_distillation: add({"distance"}); break;
  }
  return keys;
}

float above_zero(const io::Tree& tree, const char* key, float fallback) {
  const float value = tree.get<float>(key, fallback);
  if (!(value > 0)) tree.at(key).wants("a number above 0");
  return value;
}

// The value of a key that names one of two things.
template <class T>
T one_of(const io::Tree& tree, const char* key, T fallback, const char* first, T if_first, const char* second, T if_second) {
  const io::Tree* value = given(tree, key);
  if (!value) return fallback;
  if (value->is_string() && value->string() == first) return if_first;
  if (value->is_string() && value->string() == second) return if_second;
  value->wants(std::string(first) + " or " + second);
}

nn::VectorDistance vector_distance(const io::Tree& tree, const char* key) {
  using enum nn::VectorDistance;
  return one_of(tree, key, mse, "mse", mse, "cosine", cosine);
}

void read_ranking(const io::Tree& tree, nn::RankingOptions& ranking) {
  ranking.scale = above_zero(tree, "scale", ranking.scale);
  ranking.symmetric = tree.get("symmetric", false);
  ranking.query_to_query = tree.get("query_to_query", false);
  ranking.passage_to_passage = tree.get("passage_to_passage", false);
  const io::Tree* drop = given(tree, "false_negatives");
  if (!drop) return;
  if (!drop->is_map()) drop->wants("a map of margin and kind");
  refuse_other_keys(*drop, {"margin", "kind"}, "false_negatives");
  using enum nn::FalseNegatives::Margin;
  ranking.drop = nn::FalseNegatives{one_of(*drop, "kind", absolute, "absolute", absolute, "relative", relative), drop->get("margin", 0.0f)};
}

void read_matryoshka(const io::Tree& tree, nn::Matryoshka& matryoshka) {
  matryoshka.dimensions = tree.get("matryoshka_dimensions", std::vector<int>{});
  matryoshka.weights = tree.get("matryoshka_weights", std::vector<float>{});
  for (const int d : matryoshka.dimensions)
    if (d < 1) tree.at("matryoshka_dimensions").wants("dimensions of at least 1");
  if (!matryoshka.weights.empty() && matryoshka.weights.size() != matryoshka.dimensions.size())
    tree.at("matryoshka_weights").wants("a weight for each of matryoshka_dimensions");
}

}  // namespace

tasks::RetrievalObjective read_objective(const io::Tree& loss) {
  const io::Tree& name = loss.is_map() ? loss.at("name") : loss;
  tasks::RetrievalObjective o;
  try {
    o.loss = tasks::retrieval_loss_named(name.string());
  } catch (const Error& error) {
    fail(name.where(), error.what());
  }
  if (!loss.is_map()) return o;
  refuse_other_keys(loss, keys_of(o.loss), tasks::name_of(o.loss));
  read_ranking(loss, o.ranking);
  read_matryoshka(loss, o.matryoshka);
  o.margin = loss.get("margin", o.margin);
  o.average = loss.get("size_average", true);
  o.positive_margin = loss.get("positive_margin", o.positive_margin);
  o.negative_margin = loss.get("negative_margin", o.negative_margin);
  o.negative_weight = loss.get("negative_weight", o.negative_weight);
  o.temperature = above_zero(loss, "temperature", o.temperature);
  o.teacher_weight = loss.get("teacher_weight", 0.0f);
  if (o.teacher_weight < 0) loss.at("teacher_weight").wants("a number of at least 0");
  o.similarity = one_of(loss, "similarity", nn::ScoreKind::dot, "dot", nn::ScoreKind::dot, "cosine", nn::ScoreKind::cosine);
  if (o.loss == RetrievalLoss::vector_distillation) o.vector_distance = vector_distance(loss, "distance");
  else o.vector_distance = vector_distance(loss, "teacher_distance");
  if (loss.find("distance") && o.loss != RetrievalLoss::vector_distillation)
    o.distance = one_of(loss, "distance", nn::Distance::cosine, "cosine", nn::Distance::cosine, "euclidean", nn::Distance::euclidean);
  return o;
}

}  // namespace m2bert::train
