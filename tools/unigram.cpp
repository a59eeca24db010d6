// The loss of a unigram model in a recipe's evaluation: a baseline that a pretraining run has to fall below.
//   m2bert-unigram RECIPE.yaml [KEY=VALUE ...]      the arguments of `m2bert pretrain`
// Prints JSON with values in nats over all masked tokens of eval_loader: `cross_entropy` of the token frequencies of train_loader (one
// epoch, add-one smoothing), and `entropy` of the masked tokens themselves, the lower bound for any fixed distribution.
#include <cmath>
#include <iostream>
#include <string>
#include <vector>

#include "m2bert/error.h"
#include "m2bert/train/recipe.h"

namespace m2bert::train {
namespace {

constexpr int32_t ignored = -100;

using Counts = std::vector<double>;

double sum(const Counts& counts) {
  double total = 0;
  for (const double n : counts) total += n;
  return total;
}

// Counts the original tokens at positions that can be masked, which excludes [CLS] and [SEP].
Counts count_tokens(data::BatchSource& source, size_t vocabulary) {
  constexpr int32_t first_regular_token = 104;  // of BERT's vocabulary, right after [CLS], [SEP] and [MASK]
  Counts counts(vocabulary, 0);
  while (const auto batch = source.next()) {
    for (size_t i = 0; i < batch->input_ids.size(); ++i) {
      const int32_t token = batch->labels[i] == ignored ? batch->input_ids[i] : batch->labels[i];
      if (batch->attention_mask[i] == 1 && token >= first_regular_token) ++counts.at(size_t(token));
    }
  }
  return counts;
}

Counts count_masked(data::BatchSource& source, size_t vocabulary) {
  Counts counts(vocabulary, 0);
  while (const auto batch = source.next()) {
    for (const int32_t label : batch->labels) {
      if (label != ignored) ++counts.at(size_t(label));
    }
  }
  return counts;
}

void run(const Recipe& recipe) {
  require(!recipe.eval_loaders.empty(), "the recipe has no eval_loader");
  const BatchSettings settings{recipe.seed, 0, 1, recipe.model};
  const auto size = size_t(recipe.model.vocab_size);
  auto train = open_batches(recipe.train_loader, recipe.global_batch, settings);
  auto held_out = open_batches(recipe.eval_loaders.front(), recipe.global_eval_batch, settings);
  const auto known = count_tokens(train.source(), size), masked = count_masked(held_out.source(), size);
  const double all_known = sum(known) + double(size), all_masked = sum(masked);
  require(all_masked > 0, "eval_loader has no masked token");
  double cross_entropy = 0, entropy = 0;
  for (size_t token = 0; token < size; ++token) {
    if (masked[token] == 0) continue;
    cross_entropy -= masked[token] / all_masked * std::log((known[token] + 1) / all_known);
    entropy -= masked[token] / all_masked * std::log(masked[token] / all_masked);
  }
  std::cout << "{\"masked_tokens\": " << int64_t(all_masked) << ", \"cross_entropy\": " << cross_entropy << ", \"entropy\": " << entropy
            << ", \"train_tokens\": " << int64_t(sum(known)) << "}\n";
}

}  // namespace
}  // namespace m2bert::train

int main(int count, char** arguments) {
  try {
    m2bert::require(count >= 2, "usage: m2bert-unigram RECIPE.yaml [KEY=VALUE ...]");
    m2bert::train::run(m2bert::train::read_recipe(arguments[1], {arguments + 2, arguments + count}));
  } catch (const std::exception& e) {
    std::cerr << "error: " << e.what() << "\n";
    return 1;
  }
  return 0;
}
