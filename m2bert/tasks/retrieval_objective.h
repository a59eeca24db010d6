#pragma once
// The loss of retrieval training, from the embeddings of a whole batch.
#include <optional>
#include <string>
#include <vector>

#include "m2bert/nn/retrieval_loss.h"

namespace m2bert::tasks {

enum class RetrievalLoss {
  multiple_negatives_ranking,
  contrastive,
  online_contrastive,
  triplet,
  orthogonal_projection,
  cosine_similarity,
  mega_batch_margin,
  margin_mse,
  kl_distillation,
  vector_distillation,
};

// "multiple_negatives_ranking_loss", "triplet_loss", ...: upstream's names. Error for any other.
RetrievalLoss retrieval_loss_named(const std::string& name);
const char* name_of(RetrievalLoss loss);

// Whether a loss takes pairs with labels. From queries with positives and negatives it makes them: 1 for a positive, 0 for a negative.
bool takes_labels(RetrievalLoss loss);
// Whether it takes a teacher's score of each passage.
bool takes_scores(RetrievalLoss loss);
// Whether it needs negatives.
bool needs_negatives(RetrievalLoss loss);
// Whether the other samples of a batch are negatives, so that a text that is there twice would be its own negative.
bool uses_batch_negatives(RetrievalLoss loss);

// A loss and its settings. Each setting belongs to the losses that nn/retrieval_loss.h gives it to.
struct RetrievalObjective {
  RetrievalLoss loss = RetrievalLoss::multiple_negatives_ranking;
  nn::RankingOptions ranking;
  nn::Distance distance = nn::Distance::cosine;
  float margin = 0.5f;
  bool average = true;
  float positive_margin = 0.8f, negative_margin = 0.3f;
  float negative_weight = 1;  // of orthogonal projection's second term
  nn::ScoreKind similarity = nn::ScoreKind::dot;
  float temperature = 1;
  nn::VectorDistance vector_distance = nn::VectorDistance::mse;
  float teacher_weight = 0;   // of vector distillation added to the loss; 0: none
  nn::Matryoshka matryoshka;  // without dimensions: off
};

// The embeddings of a batch of n samples. Each vector of arrays has a column [n, d] for the queries, their positives, their negatives.
struct RetrievalEmbeddings {
  std::vector<mx::array> columns;
  std::optional<mx::array> labels;              // [n]
  std::optional<mx::array> scores;              // [n, columns - 1], a teacher's
  std::vector<mx::array> teacher;               // a teacher's embeddings of the same texts; empty: none
  std::vector<mx::array> guide;                 // a guide's, which judges false negatives; empty: the model itself
  std::optional<mx::array> extra, guide_extra;  // [b, d], [b, e]: further negatives for every query, and the guide's embeddings of them
  std::optional<mx::array> excluded;            // [n, passages] bool: what is no negative of a query; passages column by column, then extra
};

// The loss, a float32 scalar. Several negatives a query: triplet and pair losses take each of them with the query and its positive. Error:
// labels, scores, negatives or a teacher that the loss needs are absent.
mx::array retrieval_loss(const RetrievalObjective& objective, const RetrievalEmbeddings& embeddings);

}  // namespace m2bert::tasks
