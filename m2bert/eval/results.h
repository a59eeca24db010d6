#pragma once
// The scores of an evaluation, and how they are shown: as a table, as Markdown, as JSON, as a page.
#include <optional>
#include <string>
#include <vector>

#include "m2bert/io/tree.h"
#include "m2bert/metrics/bootstrap.h"

namespace m2bert::eval {

struct Score {
  std::string name;                           // "nDCG@10"; a column of the table
  double value = 0;                           // NaN: the score is not defined for this data
  std::optional<metrics::Interval> interval;  // see metrics/bootstrap.h
};

struct ResultRow {
  std::vector<std::string> labels;  // one for each of Results::labels: {"scifact", "BM25"}
  std::vector<Score> scores;
  io::Tree details = io::Tree::map();  // further members of the row in JSON, such as the number of queries
};

struct Results {
  std::string title;                // "Retrieval"; of the page
  std::vector<std::string> labels;  // what identifies a row: {"data set", "system"}
  std::vector<ResultRow> rows;
  // The scores of the text and Markdown tables, in this order; empty: all. JSON and page always have all.
  std::vector<std::string> main_scores;
  io::Tree settings = io::Tree::map();  // what the scores depend on: the model, its pooling ...
  std::vector<std::string> notes;       // sentences below the tables
};

// The names of all scores, in the order in which they first occur.
std::vector<std::string> score_names(const Results& results);

// An aligned table: a score with its interval is "0.6512 [0.6103, 0.6921]", one that is not defined or absent "-".
std::string text_table(const Results& results);
// The same as a table of GitHub's Markdown.
std::string markdown_table(const Results& results);
// {"settings": {...}, "results": [{"data set": "scifact", "system": "BM25", "queries": 300, "scores": {"nDCG@10": 0.65, ...},
// "intervals": {"nDCG@10": [0.61, 0.69], ...}}, ...]}; a score that is not defined is null. Spaces in labels become "_".
io::Tree results_json(const Results& results);
// A self-contained page (io/html_page.h) with all scores, the settings and the notes. more: HTML after the table. Its generator is "m2bert
// eval".
std::string results_page(const Results& results, const std::string& more = "");
inline constexpr const char* kPageGenerator = "m2bert eval";

}  // namespace m2bert::eval
