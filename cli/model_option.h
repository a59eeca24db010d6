#pragma once
// The options that say which model a command uses, and loading it.
#include <filesystem>
#include <optional>
#include <string>

#include "cli/command.h"
#include "m2bert/infer/embedder.h"

namespace m2bert::cli {

struct ModelOption {
  std::string model, config, tokenizer, dtype;
  bool allow_missing = false, allow_unexpected = false;
};

// Adds --model, --config, --tokenizer, --dtype, --allow-missing and --allow-unexpected.
void add_model_options(CLI::App& app, ModelOption& option);

// Loads the model, and reports on stderr the names that were missing or left over where that was allowed.
// head: the head the command needs; absent: the one the weights have. UsageError without --model, Error if there is no such model; both say
// how to get one.
models::Pretrained load_model(const ModelOption& option, std::optional<models::Head> head = std::nullopt);

// The file or folder that a name means: a path that exists, else a model on the hub (ORG/NAME[@REVISION]), which is downloaded if the cache
// does not have it. Error if it is neither, which says how to get one.
std::filesystem::path find_model(const std::string& model);

// A fingerprint of weights, configuration and vocabulary: of their content, wherever the files lie.
std::string model_hash(const models::Pretrained& pretrained);

// How texts are cut and batched.
struct BatchOption {
  std::string pad, truncation_side = "right";
  int max_length = 0, batch_size = 32;
  bool reference_cut = false;
};

// Adds --pad, --max-length, --batch-size, --truncation-side and --reference-cut.
void add_batch_options(CLI::App& app, BatchOption& option);
infer::EmbedOptions batching(const BatchOption& option);

}  // namespace m2bert::cli
