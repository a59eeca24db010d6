#include "m2bert/nn/retrieval_loss.h"

#include <limits>

#include "m2bert/error.h"

namespace m2bert::nn {

namespace {

// The dtype that a loss is computed in.
mx::array widened(const mx::array& x) { return x.dtype() == mx::float64 ? x : mx::astype(x, mx::float32); }

mx::array number(float value, const mx::array& like) { return mx::array(value, like.dtype()); }

mx::array normalized(const mx::array& x) {
  const auto wide = widened(x);
  // The bound is inside the root, whose gradient at 0 is infinite.
  return wide * mx::rsqrt(mx::maximum(mx::sum(mx::square(wide), -1, true), number(1e-24f, wide)));
}

mx::array positive_part(const mx::array& x) { return mx::maximum(x, number(0, x)); }

mx::array infinity(const mx::array& like) { return number(std::numeric_limits<float>::infinity(), like); }

void require_same(const char* loss, const mx::array& a, const mx::array& b) {
  require(a.ndim() == 2 && a.shape() == b.shape(), "[", loss, "] the columns have shapes ", a.shape(), " and ", b.shape(),
          ", want one shape [n, d]");
}

mx::array label_values(const char* loss, const mx::array& labels, const mx::array& columns, mx::Dtype dtype) {
  require(labels.ndim() == 1 && labels.shape(0) == columns.shape(0), "[", loss, "] labels have shape ", labels.shape(), ", the columns ",
          columns.shape(), ", want [n] and [n, d]");
  return mx::astype(labels, dtype);
}

// Euclidean distance; its gradient at 0 is 0.
mx::array euclidean_distance(const mx::array& a, const mx::array& b) {
  const auto squares = mx::sum(mx::square(widened(a) - widened(b)), -1);
  const auto apart = mx::greater(squares, number(0, squares));
  return mx::where(apart, mx::sqrt(mx::where(apart, squares, number(1, squares))), number(0, squares));
}

mx::array distances(const mx::array& a, const mx::array& b, Distance distance) {
  if (distance == Distance::euclidean) return euclidean_distance(a, b);
  const auto cosine = cosine_similarity(a, b);
  return number(1, cosine) - cosine;
}

mx::array own_indices(int n) { return mx::arange(0, n, 1, mx::int32); }

// [n, m], true at [i, i].
mx::array diagonal(int n, int m) { return mx::equal(mx::expand_dims(own_indices(n), 1), mx::expand_dims(own_indices(m), 0)); }

// The values at [i, i] of [n, m]: [n].
mx::array diagonal_of(const mx::array& matrix) {
  return mx::squeeze(mx::take_along_axis(matrix, mx::expand_dims(own_indices(matrix.shape(0)), 1), 1), 1);
}

mx::array without(const mx::array& scores, const mx::array& mask) { return mx::where(mask, -infinity(scores), scores); }

// What the false negatives of a loss are judged by.
struct Judge {
  mx::array queries, passages;  // normalized, without gradient
  mx::array positives;          // similarities [n] of each query to its own positive
  FalseNegatives rule;

  // Scores of rows a with rows b, without the false negatives.
  mx::array filter(const mx::array& scores, const mx::array& a, const mx::array& b) const {
    const auto similarities = mx::matmul(a, mx::transpose(b));
    return without(scores, false_negatives(similarities, positives, rule));
  }
};

struct Ranking {
  mx::array queries, passages, positives;  // normalized; the positives are the first n passages
  const RankingOptions& options;
  std::optional<Judge> judge;
  std::optional<mx::array> excluded;

  mx::array scores(const mx::array& a, const mx::array& b) const { return mx::matmul(a, mx::transpose(b)) * number(options.scale, a); }
  mx::array judged_positives() const { return mx::slice(judge->passages, {0, 0}, {positives.shape(0), judge->passages.shape(1)}); }

  mx::array query_to_passage() const {
    const auto all = scores(queries, passages);
    auto kept = judge ? judge->filter(all, judge->queries, judge->passages) : all;
    if (excluded) kept = without(kept, *excluded);
    return mx::where(diagonal(all.shape(0), all.shape(1)), all, kept);
  }
  mx::array passage_to_query() const {
    const auto all = scores(positives, queries);
    const int n = all.shape(0);
    auto kept = judge ? judge->filter(all, judged_positives(), judge->queries) : all;
    if (excluded) kept = without(kept, mx::transpose(mx::slice(*excluded, {0, 0}, {n, n})));
    return mx::where(diagonal(n, n), all, kept);
  }
  // Rows of one kind among themselves: a row is no negative of its own.
  mx::array among(const mx::array& rows, const mx::array* judged) const {
    const auto all = without(scores(rows, rows), diagonal(rows.shape(0), rows.shape(0)));
    return judge ? judge->filter(all, *judged, *judged) : all;
  }
};

std::optional<Judge> judge_of(const mx::array& queries, const mx::array& passages, const RankingOptions& options, const Guide* guide) {
  if (!options.drop) return std::nullopt;
  const auto q = mx::stop_gradient(guide ? normalized(guide->queries) : queries);
  const auto p = mx::stop_gradient(guide ? normalized(guide->passages) : passages);
  require(q.shape(0) == queries.shape(0) && p.shape(0) == passages.shape(0), "[multiple_negatives_ranking_loss] the guide has ", q.shape(0),
          " queries and ", p.shape(0), " passages, wants ", queries.shape(0), " and ", passages.shape(0));
  const auto own = mx::slice(p, {0, 0}, {q.shape(0), p.shape(1)});
  return Judge{q, p, mx::sum(q * own, -1), *options.drop};
}

mx::array similarity(const mx::array& a, const mx::array& b, ScoreKind kind) {
  return kind == ScoreKind::cosine ? cosine_similarity(a, b) : mx::sum(widened(a) * widened(b), -1);
}

// The student's scores of a query's passages: [n, columns - 1].
mx::array student_scores(const char* loss, const std::vector<mx::array>& columns, const mx::array& teacher, ScoreKind kind) {
  require(columns.size() >= 3, "[", loss, "] wants queries, positives and negatives, got ", columns.size(), " columns");
  require(teacher.ndim() == 2 && teacher.shape(0) == columns[0].shape(0) && teacher.shape(1) == int(columns.size()) - 1, "[", loss,
          "] the scores have shape ", teacher.shape(), ", want [", columns[0].shape(0), ", ", columns.size() - 1, "]");
  std::vector<mx::array> scores;
  for (size_t i = 1; i < columns.size(); ++i) scores.push_back(similarity(columns[0], columns[i], kind));
  return mx::stack(scores, 1);
}

mx::array log_softmax(const mx::array& x) { return x - mx::logsumexp(x, -1, true); }

}  // namespace

mx::array cosine_similarity(const mx::array& a, const mx::array& b) {
  require_same("cosine_similarity", a, b);
  return mx::sum(normalized(a) * normalized(b), -1);
}

mx::array cosine_matrix(const mx::array& a, const mx::array& b) {
  require(a.ndim() == 2 && b.ndim() == 2 && a.shape(1) == b.shape(1), "[cosine_matrix] the rows have shapes ", a.shape(), " and ",
          b.shape(), ", want [n, d] and [m, d]");
  return mx::matmul(normalized(a), mx::transpose(normalized(b)));
}

mx::array false_negatives(const mx::array& similarities, const mx::array& positives, const FalseNegatives& rule) {
  const auto own = mx::expand_dims(positives, 1);
  const auto margin = number(rule.margin, own);
  const auto limit = rule.kind == FalseNegatives::Margin::absolute ? own - margin : own - mx::abs(own) * margin;
  return mx::stop_gradient(mx::greater(similarities, limit));
}

mx::array multiple_negatives_ranking_loss(const mx::array& queries, const mx::array& passages, const RankingOptions& options,
                                          const Guide* guide, const std::optional<mx::array>& excluded) {
  require(queries.ndim() == 2 && passages.ndim() == 2 && queries.shape(1) == passages.shape(1) && passages.shape(0) >= queries.shape(0),
          "[multiple_negatives_ranking_loss] queries have shape ", queries.shape(), ", passages ", passages.shape(),
          ", want [n, d] and [m, d] with m >= n");
  const int n = queries.shape(0);
  require(!excluded || excluded->shape() == mx::Shape{n, passages.shape(0)},
          "[multiple_negatives_ranking_loss] the exclusions do not have the shape [", n, ", ", passages.shape(0), "]");
  const auto q = normalized(queries), p = normalized(passages);
  const Ranking ranking{q, p, mx::slice(p, {0, 0}, {n, p.shape(1)}), options, judge_of(q, p, options, guide), excluded};
  std::vector<mx::array> scores{ranking.query_to_passage()};
  const auto own = diagonal_of(scores[0]);
  if (options.query_to_query) scores.push_back(ranking.among(q, ranking.judge ? &ranking.judge->queries : nullptr));
  if (options.passage_to_passage) {
    const auto judged = ranking.judge ? std::optional(ranking.judged_positives()) : std::nullopt;
    scores.push_back(ranking.among(ranking.positives, judged ? &*judged : nullptr));
  }
  auto log_sum = mx::logsumexp(mx::concatenate(scores, 1), 1);
  if (options.symmetric) log_sum = (log_sum + mx::logsumexp(ranking.passage_to_query(), 1)) * number(0.5f, q);
  return mx::mean(log_sum - own);
}

mx::array contrastive_loss(const mx::array& a, const mx::array& b, const mx::array& labels, float margin, Distance distance, bool average) {
  require_same("contrastive_loss", a, b);
  const auto d = distances(a, b, distance);
  const auto label = label_values("contrastive_loss", labels, a, d.dtype());
  const auto terms = number(0.5f, d) * (label * mx::square(d) + (number(1, d) - label) * mx::square(positive_part(number(margin, d) - d)));
  return average ? mx::mean(terms) : mx::sum(terms);
}

mx::array online_contrastive_loss(const mx::array& a, const mx::array& b, const mx::array& labels, float margin, Distance distance) {
  require_same("online_contrastive_loss", a, b);
  const auto d = distances(a, b, distance);
  const auto label = label_values("online_contrastive_loss", labels, a, d.dtype());
  const auto together = mx::equal(label, number(1, d)), apart = mx::equal(label, number(0, d));
  const auto fixed = mx::stop_gradient(d);
  auto mean_of = [&](const mx::array& mask) {
    const auto kept = mx::astype(mask, d.dtype());
    return mx::sum(fixed * kept) / mx::maximum(mx::sum(kept), number(1, d));
  };
  const auto farthest = mx::max(mx::where(together, fixed, -infinity(d))), closest = mx::min(mx::where(apart, fixed, infinity(d)));
  const auto below = mx::where(mx::any(together), farthest, mean_of(apart));
  const auto above = mx::where(mx::any(apart), closest, mean_of(together));
  const auto hard_positive = mx::logical_and(together, mx::greater(fixed, above));
  const auto hard_negative = mx::logical_and(apart, mx::less(fixed, below));
  return mx::sum(mx::where(hard_positive, mx::square(d), number(0, d))) +
         mx::sum(mx::where(hard_negative, mx::square(positive_part(number(margin, d) - d)), number(0, d)));
}

mx::array triplet_loss(const mx::array& query, const mx::array& positive, const mx::array& negative, float margin, Distance distance) {
  require_same("triplet_loss", query, positive);
  require_same("triplet_loss", query, negative);
  const auto gap = distances(query, positive, distance) - distances(query, negative, distance);
  return mx::mean(positive_part(gap + number(margin, gap)));
}

mx::array cosine_similarity_loss(const mx::array& a, const mx::array& b, const mx::array& target) {
  require_same("cosine_similarity_loss", a, b);
  const auto cosine = cosine_similarity(a, b);
  return mx::mean(mx::square(cosine - label_values("cosine_similarity_loss", target, a, cosine.dtype())));
}

mx::array mega_batch_margin_loss(const mx::array& queries, const mx::array& positives, float positive_margin, float negative_margin) {
  require_same("mega_batch_margin_loss", queries, positives);
  const int n = queries.shape(0);
  require(n >= 2, "[mega_batch_margin_loss] wants at least two samples, whose positives are each other's negatives");
  const auto scores = cosine_matrix(queries, positives);
  const auto negatives = without(scores, diagonal(n, n));
  // Of several hardest negatives one gets the gradient, as in PyTorch.
  const auto hardest = mx::take_along_axis(negatives, mx::stop_gradient(mx::argmax(negatives, 1, true)), 1);
  const auto positive = number(positive_margin, scores) - diagonal_of(scores);
  const auto negative = mx::squeeze(hardest, 1) - number(negative_margin, scores);
  return mx::mean(positive_part(positive) + positive_part(negative));
}

mx::array orthogonal_projection_loss(const mx::array& a, const mx::array& b, const mx::array& labels, float weight) {
  require_same("orthogonal_projection_loss", a, b);
  const auto cosine = cosine_similarity(a, b);
  const auto label = label_values("orthogonal_projection_loss", labels, a, cosine.dtype());
  const auto one = number(1, cosine);
  const auto together = mx::astype(mx::equal(label, one), cosine.dtype()),
             apart = mx::astype(mx::equal(label, number(0, cosine)), cosine.dtype());
  auto mean_over = [&](const mx::array& values, const mx::array& mask) { return mx::sum(values * mask) / mx::maximum(mx::sum(mask), one); };
  return mean_over(one - cosine, together) + number(weight, cosine) * mx::abs(mean_over(cosine, apart));
}

mx::array vector_distillation_loss(const mx::array& student, const mx::array& teacher, VectorDistance distance) {
  require_same("vector_distillation_loss", student, teacher);
  if (distance == VectorDistance::mse) return mx::mean(mx::square(widened(student) - widened(teacher)));
  const auto cosine = cosine_similarity(student, teacher);
  return mx::mean(number(1, cosine) - cosine);
}

mx::array margin_mse_loss(const std::vector<mx::array>& columns, const mx::array& scores, ScoreKind kind) {
  const auto student = student_scores("margin_mse_loss", columns, scores, kind);
  const auto teacher = mx::astype(scores, student.dtype());
  auto margins = [](const mx::array& s) { return mx::slice(s, {0, 0}, {s.shape(0), 1}) - mx::slice(s, {0, 1}, {s.shape(0), s.shape(1)}); };
  return mx::mean(mx::square(margins(student) - margins(teacher)));
}

mx::array kl_distillation_loss(const std::vector<mx::array>& columns, const mx::array& scores, float temperature, ScoreKind kind) {
  require(temperature > 0, "[kl_distillation_loss] the temperature is ", temperature, ", wants a number above 0");
  const auto student = student_scores("kl_distillation_loss", columns, scores, kind);
  const auto t = number(temperature, student);
  const auto target = log_softmax(mx::astype(scores, student.dtype()) / t), log_student = log_softmax(student / t);
  const auto divergence = mx::sum(mx::exp(target) * (target - log_student), -1);
  return mx::mean(divergence) * t * t;
}

mx::array matryoshka_loss(const std::vector<mx::array>& columns, const Matryoshka& options,
                          const std::function<mx::array(const std::vector<mx::array>&)>& loss) {
  require(!columns.empty() && !options.dimensions.empty(), "[matryoshka_loss] there are no columns or no dimensions");
  require(options.weights.empty() || options.weights.size() == options.dimensions.size(), "[matryoshka_loss] there are ",
          options.weights.size(), " weights for ", options.dimensions.size(), " dimensions");
  std::optional<mx::array> sum;
  for (size_t i = 0; i < options.dimensions.size(); ++i) {
    std::vector<mx::array> cut;
    for (const auto& column : columns) {
      const int d = options.dimensions[i];
      require(d >= 1 && d <= column.shape(-1), "[matryoshka_loss] dimension ", d, " is outside of 1 to ", column.shape(-1),
              ", the size of the embeddings");
      cut.push_back(normalized(mx::slice(column, {0, 0}, {column.shape(0), d})));
    }
    const auto value = loss(cut);
    const auto weighted = options.weights.empty() ? value : value * number(options.weights[i], value);
    sum = sum ? *sum + weighted : weighted;
  }
  return *sum;
}

}  // namespace m2bert::nn
