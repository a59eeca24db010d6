#pragma once
// Losses on the embeddings of queries and passages: float32 scalars (float64 for float64 embeddings), differentiable in the embeddings.
// A batch has n samples. Columns are arrays [n, d] that belong together row by row: queries, their positives, and where there are any,
// their negatives. All cosines are those of torch.nn.functional.normalize (eps 1e-12).
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "m2bert/mx.h"

namespace m2bert::nn {

// Cosine of row i of a with row i of b, both [n, d]: [n].
mx::array cosine_similarity(const mx::array& a, const mx::array& b);
// Cosine of every row of a [n, d] with every row of b [m, d]: [n, m].
mx::array cosine_matrix(const mx::array& a, const mx::array& b);

// Passages of the batch that are probably relevant to a query although they are not its positive. A judge's similarity of query and
// passage decides: above
//   absolute  positive - margin
//   relative  positive - |positive| * margin
// where `positive` is the judge's similarity of the query and its own positive. A negative margin tolerates passages that are closer than
// the positive by less than that. Source: sentence-transformers' GISTEmbedLoss.
struct FalseNegatives {
  enum class Margin { absolute, relative };
  Margin kind = Margin::absolute;
  float margin = 0;
};

// similarities [n, m], positives [n], of a judge: [n, m] bool. No gradient.
mx::array false_negatives(const mx::array& similarities, const mx::array& positives, const FalseNegatives& rule);

struct RankingOptions {
  float scale = 20;                    // of the cosines; 1 / temperature
  bool symmetric = false;              // also ranks the queries for each positive: the mean of both cross entropies
  bool query_to_query = false;         // the other queries are negatives too
  bool passage_to_passage = false;     // and so are the other positives, compared with the query's own positive
  std::optional<FalseNegatives> drop;  // the judge is the guide, or without one the model itself
};

// Embeddings of the same rows by another model, which judges what a false negative is.
struct Guide {
  mx::array queries, passages;  // [n, e], [m, e]
};

// Multiple negatives ranking (InfoNCE): the mean cross entropy of softmax(scale * cosine(query, passages)) with the query's own positive.
// queries [n, d], passages [m, d] with m >= n: the positive of query i is passage i; all others are its negatives. So in-batch negatives,
// hard negatives and those of a memory bank are all rows of `passages`. excluded [n, m] bool: passages that are no negatives of a query,
// such as its other positives. Source: sentence-transformers' MultipleNegativesRankingLoss; symmetric: its
// MultipleNegativesSymmetricRankingLoss; with a guide, scale 100, query_to_query and passage_to_passage: its GISTEmbedLoss.
mx::array multiple_negatives_ranking_loss(const mx::array& queries, const mx::array& passages, const RankingOptions& options = {},
                                          const Guide* guide = nullptr, const std::optional<mx::array>& excluded = std::nullopt);

enum class Distance { cosine /* 1 - cosine */, euclidean };

// Pairs a, b [n, d] with labels [n], 1: belong together, 0: do not. With the distance D of a pair:
//   1/2 mean(label D^2 + (1 - label) max(margin - D, 0)^2); average false: the sum in place of the mean
// Source: Hadsell et al. 2006; sentence-transformers' ContrastiveLoss.
mx::array contrastive_loss(const mx::array& a, const mx::array& b, const mx::array& labels, float margin = 0.5f,
                           Distance distance = Distance::cosine, bool average = true);

// The same terms without the factor 1/2, summed over the hard pairs alone: positives farther apart than the closest negative, negatives
// closer than the farthest positive. Without negatives (positives), pairs above (below) the mean distance count as hard. Pairs with other
// labels are left out. Source: sentence-transformers' OnlineContrastiveLoss.
mx::array online_contrastive_loss(const mx::array& a, const mx::array& b, const mx::array& labels, float margin = 0.5f,
                                  Distance distance = Distance::cosine);

// mean(max(D(query, positive) - D(query, negative) + margin, 0)), all [n, d]. Source: sentence-transformers' TripletLoss, whose defaults
// are Euclidean and 5; upstream's script takes cosine and 0.5.
mx::array triplet_loss(const mx::array& query, const mx::array& positive, const mx::array& negative, float margin = 0.5f,
                       Distance distance = Distance::cosine);

// mean((cosine(a, b) - target)^2), target [n]. Source: sentence-transformers' CosineSimilarityLoss.
mx::array cosine_similarity_loss(const mx::array& a, const mx::array& b, const mx::array& target);

// mean(max(positive_margin - c, 0) + max(h - negative_margin, 0)): c is the cosine of query and positive, h that of the query and the
// hardest other positive of the batch. queries [n, d], positives [n, d], n >= 2.
// Source: Wieting and Gimpel 2018; sentence-transformers' MegaBatchMarginLoss.
mx::array mega_batch_margin_loss(const mx::array& queries, const mx::array& positives, float positive_margin = 0.8f,
                                 float negative_margin = 0.3f);

// (1 - s) + weight |d|: s is the mean cosine of the pairs with label 1, d that of the pairs with label 0; a term without pairs is 0. Pulls
// positives to cosine 1 and negatives to cosine 0. Source: Ranasinghe et al. 2021, Orthogonal Projection Loss, equations 4 to 6, on pairs.
mx::array orthogonal_projection_loss(const mx::array& a, const mx::array& b, const mx::array& labels, float weight = 1);

// The mean distance of embeddings [n, d] to a teacher's [n, d]: mse, or cosine (1 - cosine).
// Source: sentence-transformers' MSELoss and EmbedDistillLoss.
enum class VectorDistance { mse, cosine };
mx::array vector_distillation_loss(const mx::array& student, const mx::array& teacher, VectorDistance distance = VectorDistance::mse);

// The student's similarity in the next two losses.
enum class ScoreKind { dot, cosine };

// The mean over samples and negatives of ((s(q, p) - s(q, n)) - (t_p - t_n))^2. columns: queries, positives, one or more columns of
// negatives. scores [n, columns - 1]: the teacher's, that of the positive first. Source: sentence-transformers' MarginMSELoss.
mx::array margin_mse_loss(const std::vector<mx::array>& columns, const mx::array& scores, ScoreKind kind = ScoreKind::dot);

// The mean over samples of KL(softmax(scores / T) || softmax(s / T)) * T^2 over a query's passages; arguments as above.
// Source: sentence-transformers' DistillKLDivLoss.
mx::array kl_distillation_loss(const std::vector<mx::array>& columns, const mx::array& scores, float temperature = 1,
                               ScoreKind kind = ScoreKind::dot);

// Matryoshka: the sum over i of weights[i] * loss(columns cut to their first dimensions[i] values and normalized). weights empty: all 1.
// Throws Error for a dimension that is not in 1 ... d. Source: Kusupati et al. 2022; sentence-transformers' MatryoshkaLoss.
struct Matryoshka {
  std::vector<int> dimensions;
  std::vector<float> weights;
};
mx::array matryoshka_loss(const std::vector<mx::array>& columns, const Matryoshka& options,
                          const std::function<mx::array(const std::vector<mx::array>&)>& loss);

}  // namespace m2bert::nn
