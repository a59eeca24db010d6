// Trains what test_eval_texts.py compares.
//   m2bert-parity-eval logistic   reads dim, classes, samples, the labels and the vectors; writes the weights of a logistic regression
#include <iomanip>
#include <iostream>

#include "m2bert/error.h"
#include "m2bert/eval/logistic_regression.h"

namespace {

using namespace m2bert;

void logistic() {
  size_t dim = 0, samples = 0;
  int classes = 0;
  require(bool(std::cin >> dim >> classes >> samples), "wants dim, classes and samples");
  std::vector<int32_t> labels(samples);
  std::vector<float> vectors(samples * dim);
  for (auto& label : labels) std::cin >> label;
  for (auto& value : vectors) std::cin >> value;
  require(bool(std::cin), "wants ", samples, " labels and vectors");
  const eval::LogisticRegression regression(vectors, dim, labels, classes, {.solver = {.max_iterations = 10000, .tolerance = 1e-9}});
  std::cout << std::setprecision(17);
  for (const double weight : regression.weights()) std::cout << weight << " ";
}

}  // namespace

int main(int argc, char** argv) {
  try {
    require(argc == 2 && std::string(argv[1]) == "logistic", "usage: m2bert-parity-eval logistic");
    logistic();
  } catch (const std::exception& e) {
    std::cerr << "error: " << e.what() << "\n";
    return 1;
  }
}
