#include "m2bert/checkpoint/folder_fields.h"

#include <algorithm>

#include "m2bert/checkpoint/text.h"

namespace m2bert::checkpoint {
namespace {

constexpr std::string_view kNote = "a note of the program that wrote the file";
constexpr std::string_view kOutputs = "selects what Python code gets back beside the last states";
constexpr std::string_view kMemory = "trades memory for time; the mathematics is the same";
constexpr std::string_view kTraining = "only used in training";
constexpr std::string_view kGeneration = "a setting of text generation, which an encoder does not do";
constexpr std::string_view kDecoder = "only used by decoders, which is_decoder: true would select";
constexpr std::string_view kKernel = "selects between kernels of the same mathematics";
constexpr std::string_view kDtype = "the dtype of the weights; --dtype selects the one to compute in";
constexpr std::string_view kLoading = "how Python finds and loads the files";
constexpr std::string_view kTasks = "only used by encode_query and encode_document; --max-length sets the limit of one run";
constexpr std::string_view kPosition = "modules run in the order of the list";
constexpr std::string_view kDimension = "the number of values of the states, which the weights show";

constexpr HarmlessField kFields[] = {
    {"config.json", "_attn_implementation", kKernel},
    {"config.json", "_attn_implementation_autoset", kKernel},
    {"config.json", "_commit_hash", kNote},
    {"config.json", "_name_or_path", kNote},
    {"config.json", "architectures", "the weights' names show which head the model has"},
    {"config.json", "attn_implementation", kKernel},
    {"config.json", "auto_map", "names code, which is never run"},
    {"config.json", "bad_words_ids", kGeneration},
    {"config.json", "begin_suppress_tokens", kGeneration},
    {"config.json", "bos_token_id", kGeneration},
    {"config.json", "chunk_size_feed_forward", kMemory},
    {"config.json", "cross_attention_hidden_size", kDecoder},
    {"config.json", "decoder_start_token_id", kGeneration},
    {"config.json", "diversity_penalty", kGeneration},
    {"config.json", "do_sample", kGeneration},
    {"config.json", "dtype", kDtype},
    {"config.json", "early_stopping", kGeneration},
    {"config.json", "encoder_no_repeat_ngram_size", kGeneration},
    {"config.json", "eos_token_id", kGeneration},
    {"config.json", "exponential_decay_length_penalty", kGeneration},
    {"config.json", "finetuning_task", kNote},
    {"config.json", "forced_bos_token_id", kGeneration},
    {"config.json", "forced_eos_token_id", kGeneration},
    {"config.json", "function_to_apply", "Transformers decides by problem_type and num_labels before it looks at this field"},
    {"config.json", "gradient_checkpointing", kTraining},
    {"config.json", "label2id", "the inverse of id2label"},
    {"config.json", "length_penalty", kGeneration},
    {"config.json", "max_length", kGeneration},
    {"config.json", "min_length", kGeneration},
    {"config.json", "name_or_path", kNote},
    {"config.json", "no_repeat_ngram_size", kGeneration},
    {"config.json", "num_beam_groups", kGeneration},
    {"config.json", "num_beams", kGeneration},
    {"config.json", "num_return_sequences", kGeneration},
    {"config.json", "output_attentions", kOutputs},
    {"config.json", "output_hidden_states", kOutputs},
    {"config.json", "output_past", kOutputs},
    {"config.json", "output_scores", kGeneration},
    {"config.json", "prefix", kGeneration},
    {"config.json", "remove_invalid_values", kGeneration},
    {"config.json", "repetition_penalty", kGeneration},
    {"config.json", "return_dict", kOutputs},
    {"config.json", "return_dict_in_generate", kGeneration},
    {"config.json", "sbert_ce_default_activation_function", "a setting of CrossEncoder; scores are those of Transformers' pipeline"},
    {"config.json", "sentence_transformers", "a setting of CrossEncoder; scores are those of Transformers' pipeline"},
    {"config.json", "sep_token_id", "the tokenizer's files name [SEP]"},
    {"config.json", "suppress_tokens", kGeneration},
    {"config.json", "task_specific_params", kGeneration},
    {"config.json", "temperature", kGeneration},
    {"config.json", "tf_legacy_loss", kTraining},
    {"config.json", "tie_encoder_decoder", kDecoder},
    {"config.json", "top_k", kGeneration},
    {"config.json", "top_p", kGeneration},
    {"config.json", "torch_dtype", kDtype},
    {"config.json", "torchscript", kLoading},
    {"config.json", "transformers_version", kNote},
    {"config.json", "typical_p", kGeneration},
    {"config.json", "use_bfloat16", "a setting of TensorFlow's models"},
    {"config.json", "use_cache", kDecoder},
    {"config_sentence_transformers.json", "__version__", kNote},
    {"config_sentence_transformers.json", "requirements", "versions of Python packages"},
    {"modules.json", "idx", kPosition},
    {"modules.json", "name", kPosition},
    {"sentence_bert_config.json", "document_length", kTasks},
    {"sentence_bert_config.json", "query_length", kTasks},
    {"sentence_bert_config.json", "unpad_inputs", kKernel},
    {"sentence_bert_config.json", "model_args.add_pooling_layer", "the pooler's output is not used where the states are pooled"},
    {"sentence_bert_config.json", "model_args.attn_implementation", kKernel},
    {"sentence_bert_config.json", "model_args.dtype", kDtype},
    {"sentence_bert_config.json", "model_args.torch_dtype", kDtype},
    {"sentence_bert_config.json", "model_args.trust_remote_code", kLoading},
    {"sentence_bert_config.json", "model_args.use_safetensors", kLoading},
    {"sentence_bert_config.json", "tokenizer_args.trust_remote_code", kLoading},
    {"sentence_bert_config.json", "tokenizer_args.use_fast", kKernel},
    {"sentence_bert_config.json", "config_args.output_hidden_states", kOutputs},
    {"sentence_bert_config.json", "config_args.trust_remote_code", kLoading},
    {"sentence_bert_config.json", "config_args.use_cache", kDecoder},
    {"Dropout", "dropout", kTraining},
    {"LayerNorm", "dimension", kDimension},
    {"Pooling", "embedding_dimension", kDimension},
    {"Pooling", "word_embedding_dimension", kDimension},
};

}  // namespace

std::span<const HarmlessField> harmless_fields() { return kFields; }

bool is_harmless(std::string_view file, std::string_view field) {
  return std::ranges::any_of(kFields, [&](const HarmlessField& f) { return f.file == file && f.field == field; });
}

std::vector<const io::Tree::Member*> other_fields(const io::Tree& map, std::string_view file, const std::vector<std::string>& read) {
  auto others = map.unknown(read);
  std::erase_if(others, [&](const io::Tree::Member* m) { return is_harmless(file, m->key); });
  return others;
}

void refuse_other_fields(const io::Tree& map, std::string_view file, const std::vector<std::string>& read) {
  for (const auto* m : other_fields(map, file, read))
    fail(m->value.location(), ": the field '", printable(m->key),
         "' is not supported, and could change the vectors; remove it if it does not matter");
}

}  // namespace m2bert::checkpoint
