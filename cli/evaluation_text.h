#pragma once
// The metrics of an evaluation, as commands print them.
#include <string>
#include <vector>

#include "m2bert/io/tree.h"
#include "m2bert/train/evaluation.h"

namespace m2bert::cli {

// A number for JSON; null for NaN and infinity.
io::Tree json_number(double value);

// {"cross_entropy": 4.31, "accuracy": 0.29, "perplexity": 74.4, "samples": 640}.
io::Tree evaluation_tree(const train::Evaluation& evaluation);
// That of the only set, or a map with that of each set under its label.
io::Tree evaluation_tree(const std::vector<train::Evaluation>& evaluations);

// "cross entropy 4.3100, accuracy 0.2900, perplexity 74.4405".
std::string evaluation_text(const train::Evaluation& evaluation);
// With the labels of several sets: "matched: MulticlassAccuracy 0.8500; mismatched: ...".
std::string evaluation_text(const std::vector<train::Evaluation>& evaluations);

}  // namespace m2bert::cli
