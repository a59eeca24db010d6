#pragma once
// The loss of a retrieval recipe.
#include "m2bert/io/tree.h"
#include "m2bert/tasks/retrieval_objective.h"

namespace m2bert::train {

// loss: a name, or a map of `name` and the loss's settings:
//   multiple_negatives_ranking_loss  scale (20), symmetric, query_to_query, passage_to_passage, false_negatives: {margin, kind}
//   contrastive_loss                 margin (0.5), distance (cosine, euclidean), size_average (true)
//   online_contrastive_loss, triplet_loss   margin (0.5), distance
//   orthogonal_projection_loss       negative_weight (1)
//   mega_batch_margin_loss           positive_margin (0.8), negative_margin (0.3)
//   margin_mse_loss                  similarity (dot, cosine)
//   kl_distillation_loss             similarity, temperature (1)
//   vector_distillation_loss         distance (mse, cosine)
// All take matryoshka_dimensions and matryoshka_weights; all but the last take teacher_weight and teacher_distance. Error with the place of
// a key that the loss does not take, or of an invalid value.
tasks::RetrievalObjective read_objective(const io::Tree& loss);

}  // namespace m2bert::train
