#include "m2bert/train/recipe_changes.h"

#include <algorithm>
#include <map>
#include <string_view>

#include "m2bert/io/json.h"
#include "m2bert/train/recipe_keys.h"

namespace m2bert::train {

namespace {

using Values = std::map<std::string, const io::Tree*>;

// Keys that begin so may change at any time.
constexpr std::string_view kFree[] = {"autoresume",
                                      "callbacks",
                                      "console_log_interval",
                                      "device",
                                      "dist_timeout",
                                      "early_stopping_",
                                      "eval_",
                                      "expand_positional_embeddings",
                                      "global_eval_batch_size",
                                      "load_",
                                      "log_to_console",
                                      "loggers",
                                      "model.pretrained_checkpoint",
                                      "progress_bar",
                                      "run_name",
                                      "save_"};
// Keys of train_loader, of its data set and its streams, that say how the data are fetched.
constexpr std::string_view kFetching[] = {
    "num_workers",         "prefetch_factor", "timeout",         "predownload", "download_retry", "download_timeout",
    "validate_hash",       "keep_zip",        "keep_raw",        "skip_bad",    "pin_memory",     "persistent_workers",
    "num_canonical_nodes", "partition_algo",  "padding_multiple"};
constexpr std::string_view kPlaces[] = {"local", "remote", "file", "folder", "data"};
constexpr std::string_view kMore[] = {"max_duration", "global_train_batch_size"};

bool is_free(std::string_view key, bool same_data) {
  if (std::ranges::any_of(kFree, [&](auto start) { return key.starts_with(start); })) return true;
  if (!key.starts_with("train_loader.")) return false;
  const auto last = key.substr(key.rfind('.') + 1);
  return std::ranges::count(kFetching, last) > 0 || (same_data && std::ranges::count(kPlaces, last) > 0);
}

// A value that is not set (???) counts as absent.
Values values_of(const io::Tree& tree, const Recipe& recipe) {
  Values values;
  for (const auto& [path, value] : leaves(tree)) {
    if (!value->is_missing() && is_below(path, recipe.keys) && !recipe.without_effect.contains(path)) values.emplace(path, value);
  }
  return values;
}

std::string text_of(const io::Tree* value) { return value ? io::to_json(*value) : "not set"; }

}  // namespace

RecipeChanges changes_of(const io::Tree& before, const Recipe& now, bool same_data) {
  const Values old_values = values_of(before, now), new_values = values_of(now.tree, now);
  std::map<std::string, std::pair<const io::Tree*, const io::Tree*>> both;
  for (const auto& [key, value] : old_values) both[key].first = value;
  for (const auto& [key, value] : new_values) both[key].second = value;
  RecipeChanges changes;
  for (const auto& [key, pair] : both) {
    const auto [a, b] = pair;
    if (is_free(key, same_data) || (a && b && *a == *b)) continue;
    auto& list = std::ranges::count(kMore, key) > 0 ? changes.more : changes.other;
    list.push_back({key, text_of(a), text_of(b)});
  }
  return changes;
}

std::string lines_of(const std::vector<RecipeChange>& changes) {
  std::string text;
  for (const auto& change : changes) text += "\n  " + change.key + ": " + change.before + ", now " + change.now;
  return text;
}

}  // namespace m2bert::train
