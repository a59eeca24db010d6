#include "m2bert/tasks/retrieval_objective.h"

#include <algorithm>

#include "m2bert/error.h"

namespace m2bert::tasks {

namespace {

struct NamedLoss {
  RetrievalLoss loss;
  const char* name;
};

constexpr NamedLoss kLosses[] = {
    {RetrievalLoss::multiple_negatives_ranking, "multiple_negatives_ranking_loss"},
    {RetrievalLoss::contrastive, "contrastive_loss"},
    {RetrievalLoss::online_contrastive, "online_contrastive_loss"},
    {RetrievalLoss::triplet, "triplet_loss"},
    {RetrievalLoss::orthogonal_projection, "orthogonal_projection_loss"},
    {RetrievalLoss::cosine_similarity, "cosine_similarity_loss"},
    {RetrievalLoss::mega_batch_margin, "mega_batch_margin_loss"},
    {RetrievalLoss::margin_mse, "margin_mse_loss"},
    {RetrievalLoss::kl_distillation, "kl_distillation_loss"},
    {RetrievalLoss::vector_distillation, "vector_distillation_loss"},
};

// Pairs of rows with one label each.
struct LabelledPairs {
  mx::array a, b, labels;
};

LabelledPairs labelled_pairs(const RetrievalEmbeddings& e) {
  if (e.labels) {
    require(e.columns.size() == 2, "[retrieval_loss] labels belong to pairs, got ", e.columns.size(), " columns");
    return {e.columns[0], e.columns[1], *e.labels};
  }
  const int n = e.columns[0].shape(0);
  std::vector<mx::array> a, b, labels;
  for (size_t i = 1; i < e.columns.size(); ++i) {
    a.push_back(e.columns[0]);
    b.push_back(e.columns[i]);
    labels.push_back(mx::full({n}, i == 1 ? 1.0f : 0.0f));
  }
  return {mx::concatenate(a, 0), mx::concatenate(b, 0), mx::concatenate(labels, 0)};
}

// Every negative with its query and positive.
mx::array triplets(const RetrievalObjective& o, const std::vector<mx::array>& columns) {
  std::vector<mx::array> queries, positives, negatives;
  for (size_t i = 2; i < columns.size(); ++i) {
    queries.push_back(columns[0]);
    positives.push_back(columns[1]);
    negatives.push_back(columns[i]);
  }
  return nn::triplet_loss(mx::concatenate(queries, 0), mx::concatenate(positives, 0), mx::concatenate(negatives, 0), o.margin, o.distance);
}

// All columns but the queries, one below the other.
mx::array passages_of(const std::vector<mx::array>& columns, const std::optional<mx::array>& extra) {
  std::vector<mx::array> parts(columns.begin() + 1, columns.end());
  if (extra) parts.push_back(*extra);
  return mx::concatenate(parts, 0);
}

mx::array ranking(const RetrievalObjective& o, const RetrievalEmbeddings& e) {
  const auto passages = passages_of(e.columns, e.extra);
  if (e.guide.empty()) return nn::multiple_negatives_ranking_loss(e.columns[0], passages, o.ranking, nullptr, e.excluded);
  const nn::Guide guide{e.guide[0], passages_of(e.guide, e.guide_extra)};
  return nn::multiple_negatives_ranking_loss(e.columns[0], passages, o.ranking, &guide, e.excluded);
}

mx::array distillation(const RetrievalObjective& o, const RetrievalEmbeddings& e) {
  require(e.teacher.size() == e.columns.size(), "[retrieval_loss] distillation needs a teacher's embeddings of every text");
  return nn::vector_distillation_loss(mx::concatenate(e.columns, 0), mx::concatenate(e.teacher, 0), o.vector_distance);
}

mx::array plain_loss(const RetrievalObjective& o, const RetrievalEmbeddings& e) {
  switch (o.loss) {
    case RetrievalLoss::multiple_negatives_ranking: return ranking(o, e);
    case RetrievalLoss::triplet: return triplets(o, e.columns);
    case RetrievalLoss::mega_batch_margin:
      return nn::mega_batch_margin_loss(e.columns[0], e.columns[1], o.positive_margin, o.negative_margin);
    case RetrievalLoss::margin_mse: return nn::margin_mse_loss(e.columns, *e.scores, o.similarity);
    case RetrievalLoss::kl_distillation: return nn::kl_distillation_loss(e.columns, *e.scores, o.temperature, o.similarity);
    case RetrievalLoss::vector_distillation: return distillation(o, e);
    default: break;
  }
  const auto pairs = labelled_pairs(e);
  switch (o.loss) {
    case RetrievalLoss::contrastive: return nn::contrastive_loss(pairs.a, pairs.b, pairs.labels, o.margin, o.distance, o.average);
    case RetrievalLoss::online_contrastive: return nn::online_contrastive_loss(pairs.a, pairs.b, pairs.labels, o.margin, o.distance);
    case RetrievalLoss::orthogonal_projection: return nn::orthogonal_projection_loss(pairs.a, pairs.b, pairs.labels, o.negative_weight);
    default: return nn::cosine_similarity_loss(pairs.a, pairs.b, pairs.labels);
  }
}

mx::array with_distillation(const RetrievalObjective& o, const RetrievalEmbeddings& e) {
  const auto loss = plain_loss(o, e);
  if (o.teacher_weight == 0 || o.loss == RetrievalLoss::vector_distillation) return loss;
  return loss + mx::array(o.teacher_weight, loss.dtype()) * distillation(o, e);
}

void check(const RetrievalObjective& o, const RetrievalEmbeddings& e) {
  const size_t columns = e.columns.size();
  require(columns >= 2, "[retrieval_loss] wants at least queries and passages, got ", columns, " columns");
  require(!needs_negatives(o.loss) || columns >= 3, "[retrieval_loss] ", name_of(o.loss), " needs negatives, got pairs");
  require(!takes_scores(o.loss) || e.scores, "[retrieval_loss] ", name_of(o.loss), " needs a teacher's scores");
  require(!e.labels || takes_labels(o.loss), "[retrieval_loss] ", name_of(o.loss), " takes no labels");
}

}  // namespace

RetrievalLoss retrieval_loss_named(const std::string& name) {
  std::string names;
  for (const auto& known : kLosses) {
    if (name == known.name) return known.loss;
    names += (names.empty() ? "" : ", ") + std::string(known.name);
  }
  fail("there is no loss \"", name, "\"; there are ", names);
}

const char* name_of(RetrievalLoss loss) { return std::ranges::find(kLosses, loss, &NamedLoss::loss)->name; }

bool takes_labels(RetrievalLoss loss) {
  return loss == RetrievalLoss::contrastive || loss == RetrievalLoss::online_contrastive || loss == RetrievalLoss::orthogonal_projection ||
         loss == RetrievalLoss::cosine_similarity;
}

bool takes_scores(RetrievalLoss loss) { return loss == RetrievalLoss::margin_mse || loss == RetrievalLoss::kl_distillation; }

bool needs_negatives(RetrievalLoss loss) { return loss == RetrievalLoss::triplet || takes_scores(loss); }

bool uses_batch_negatives(RetrievalLoss loss) {
  return loss == RetrievalLoss::multiple_negatives_ranking || loss == RetrievalLoss::mega_batch_margin;
}

mx::array retrieval_loss(const RetrievalObjective& objective, const RetrievalEmbeddings& embeddings) {
  check(objective, embeddings);
  if (objective.matryoshka.dimensions.empty()) return with_distillation(objective, embeddings);
  // Everything that is compared with the columns is cut with them; a guide keeps its own size.
  std::vector<mx::array> all = embeddings.columns;
  all.insert(all.end(), embeddings.teacher.begin(), embeddings.teacher.end());
  if (embeddings.extra) all.push_back(*embeddings.extra);
  return nn::matryoshka_loss(all, objective.matryoshka, [&](const std::vector<mx::array>& cut) {
    RetrievalEmbeddings e = embeddings;
    const auto teacher = cut.begin() + std::ptrdiff_t(e.columns.size()), extra = teacher + std::ptrdiff_t(e.teacher.size());
    e.columns.assign(cut.begin(), teacher);
    e.teacher.assign(teacher, extra);
    if (e.extra) e.extra = cut.back();
    return with_distillation(objective, e);
  });
}

}  // namespace m2bert::tasks
