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
  bool takes_text = true;  // false: a folder without a tokenizer will do
};

// Adds --model, --config, --tokenizer, --dtype, --allow-missing and --allow-unexpected.
void add_model_options(CLI::App& app, ModelOption& option);

// Loads the model, and warns of missing and unexpected weights where the options allow them.
// head: the head that the command needs; absent: the one that the weights have. UsageError without --model, Error if there is no such
// model; both say how to get one.
models::Pretrained load_model(const ModelOption& option, std::optional<models::Head> head = std::nullopt);

// The file or folder of --model (see models::find_model). Error if there is none, which says how to get one.
std::filesystem::path find_model(const std::string& model);

// A hash of the contents of weights, configuration and vocabulary; where the files are does not matter.
std::string model_hash(const models::Pretrained& pretrained);

// How texts are truncated and batched.
struct BatchOption {
  std::string pad, truncation_side;
  int max_length = 0, batch_size = 32;
  bool upstream_cut = false;
};

// Adds --pad, --max-length, --batch-size, --truncation-side and --reference-cut.
void add_batch_options(CLI::App& app, BatchOption& option);
infer::EmbedOptions batching(const BatchOption& option);

// Adds --truncation-side.
void add_truncation_side_option(CLI::App& app, std::string& side);
// The side that is given; nullopt for "".
std::optional<tokenize::TruncationSide> truncation_side_named(const std::string& side);

// Adds --pooling: one pooling, or several joined by +.
void add_pooling_option(CLI::App& app, std::string& pooling,
                        const std::string& what =
                            "How the states of a text become one vector; also several, joined by +: cls+mean "
                            "(default: the model's)");

}  // namespace m2bert::cli
