#pragma once
// Reads retrieval data from tables and JSON lines.
#include <filesystem>

#include "m2bert/data/retrieval_data.h"
#include "m2bert/data/source.h"

namespace m2bert::data {

// Columns of tables, keys of JSON lines ("a.b" for a nested one). Empty: the first of these that the file has,
//   query     anchor, query, question, sentence1, text1, premise
//   positive  positive, pos, passage, document, answer, sentence2, text2, hypothesis
//   negative  negative, negatives, neg, and all of negative_1, negative_2, ...
//   score     label, score, scores, similarity
struct PairColumns {
  std::string query, positive, negative, score;
};

struct PairOptions {
  SourceOptions source;  // format, delimiter, header, quotes and skip_bad are used
  PairColumns columns;
  bool reads_scores = true;  // false: a column of labels or scores is not looked for
};

struct PairReport {
  uint64_t skipped = 0;  // records that skip_bad passed over
  std::string first_skipped;
};

// Adds the samples of a file: a query with its positive and negatives. In JSON lines positives and negatives may be lists; each positive is
// then a sample with all negatives. A score is a number, the label of the pair, or a list, a teacher's score of the positive and of each
// negative. Without a header, the columns of a table are query, positive, and negatives. Errors name file, line and column: a column that
// is missing, a text that is missing or empty, a label that is no number, NaN or infinite, a wrong number of scores, a file without
// records.
PairReport read_pairs(const std::filesystem::path& path, const PairOptions& options, RetrievalData& data);

}  // namespace m2bert::data
