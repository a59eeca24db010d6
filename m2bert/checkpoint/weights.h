#pragma once
// Model weights from any checkpoint: upstream's prefixes are removed; optimizer and random state are not read.
#include "m2bert/checkpoint/tensor_file.h"

namespace m2bert::checkpoint {

// The weights of a file (.pt, .pth, .bin, .safetensors) or of a Hugging Face folder, under the names of upstream's model:
//  - the parts of names that PyTorch's wrappers add (module, _orig_mod, _fsdp_wrapped_module, ...) are removed wherever they are;
//  - what is before "bert.", "cls.", "classifier." (or "embeddings.", "encoder.", "pooler.") is removed: {'state': {'model': ..}}
//  (Composer),
//    {'state_dict': ..}, {'model': ..}, "model.", "net.", "0.auto_model.";
//  - names of a Hugging Face BertModel without head ("embeddings.", "encoder.", "pooler.") get the prefix "bert.";
//  - LayerNorm's old gamma and beta become weight and bias;
//  - optimizer, scheduler and random state are not read.
// A file may hold the weights and a moving average of them: the weights are read, with a note, unless `copy` names the prefix of the others
// ("ema", "state_dict_ema"). A checkpoint of our runs with averages (algorithms.ema) stands for its average, as the run's final model does,
// unless `of_run` says otherwise. Buffers, which an average lacks, come from beside it. Throws if two tensors become the same weight, and
// for a weight in a form that is not read (sparse and the like). Tied tensors stay one array. float64 becomes float32, because MLX has
// float64 on the CPU only; other dtypes are unchanged.
enum class OfRun { averaged, trained };
TensorMap load_weights(const std::filesystem::path& file_or_folder, const std::string& copy = "", OfRun of_run = OfRun::averaged);

struct WeightNames {
  std::vector<std::string> names;   // for each tensor, that under which load_weights returns it; empty if it is not read
  std::string prefix;               // what was removed from the names; with several models in one, the first
  std::vector<std::string> others;  // prefixes of copies that are not read
  std::vector<std::string> copy;    // for each tensor of such a copy, its prefix
};
WeightNames find_weights(const std::vector<std::string>& names, const std::string& copy = "");

// Whether a skipped object is a weight, under this name in the model, so that load_weights throws. NumPy arrays count only under the name
// of a BERT's weight: elsewhere they are statistics.
bool is_unread_weight(const SkippedObject& object, const std::string& name);

// find_weights(names).names
std::vector<std::string> weight_names(const std::vector<std::string>& names);

}  // namespace m2bert::checkpoint
