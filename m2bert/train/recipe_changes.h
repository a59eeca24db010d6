#pragma once
// What changed between the recipe of a checkpoint and the recipe that goes on from it.
#include <string>
#include <vector>

#include "m2bert/train/recipe.h"

namespace m2bert::train {

struct RecipeChange {
  std::string key, before, now;  // the values as text
};

struct RecipeChanges {
  std::vector<RecipeChange> other;  // of the model, the data or how they are trained: another experiment
  std::vector<RecipeChange> more;   // of the length of the run and its batches, with which a run may go on
};

// Compares the values of all keys that have an effect. What is saved, shown and evaluated, and how fast, may change without notice.
// before: resolved, as it is saved. same_data: the data are known to be the same, wherever they are.
RecipeChanges changes_of(const io::Tree& before, const Recipe& now, bool same_data);

// A line for each: "\n  optimizer.lr: 0.001, now 0.0001".
std::string lines_of(const std::vector<RecipeChange>& changes);

}  // namespace m2bert::train
