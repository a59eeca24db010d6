#include "m2bert/hub/selection.h"

#include <fnmatch.h>

#include <algorithm>
#include <map>
#include <string_view>

namespace m2bert::hub {
namespace {

std::string_view base_name(std::string_view file) {
  return file.substr(file.rfind('/') == std::string_view::npos ? 0 : file.rfind('/') + 1);
}
std::string folder_of(const std::string& file) { return file.rfind('/') == std::string::npos ? "" : file.substr(0, file.rfind('/')); }

// The top, or the folder of a sentence-transformers module: 1_Pooling.
bool is_model_folder(const std::string& folder) {
  const auto digits = folder.find_first_not_of("0123456789");
  return folder.empty() || (folder.find('/') == std::string::npos && digits != std::string::npos && digits > 0 && folder[digits] == '_');
}

bool describes_model(const std::string& name) {
  static const std::vector<std::string> globs = {"config.json",
                                                 "vocab.txt",
                                                 "tokenizer*.json",
                                                 "special_tokens_map.json",
                                                 "added_tokens.json",
                                                 "modules.json",
                                                 "sentence_*_config.json",
                                                 "config_sentence_transformers.json",
                                                 "adapter_config.json",
                                                 "*.yaml",
                                                 "*.yml"};
  return matches_any_glob(globs, name);
}

// The weights of one folder, in the order of preference of checkpoint::read_folder(). names: without the folder.
std::vector<std::string> needed_weights(const std::vector<std::string>& names) {
  const auto matching = [&](const std::vector<std::string>& globs) {
    std::vector<std::string> found;
    for (const std::string& name : names) {
      const bool training = matches_any_glob({"training_args.*", "optimizer*", "scheduler*", "rng_state*", "scaler*"}, name);
      if (!training && matches_any_glob(globs, name)) found.push_back(name);
    }
    return found;
  };
  const std::vector<std::vector<std::string>> preferences = {
      {"model.safetensors"}, {"model.safetensors.index.json", "model-*-of-*.safetensors"},
      {"pytorch_model.bin"}, {"pytorch_model.bin.index.json", "pytorch_model-*-of-*.bin"},
      {"*.safetensors"},     {"*.bin"},
      {"*.pt", "*.pth"}};
  for (const auto& globs : preferences) {
    const auto found = matching(globs);
    const bool index_alone = found.size() == 1 && found.front().ends_with(".index.json");
    if (!found.empty() && !index_alone) return found;
  }
  return {};
}

std::vector<std::string> needed_files(const std::vector<std::string>& files) {
  std::map<std::string, std::vector<std::string>> folders;
  for (const std::string& file : files) folders[folder_of(file)].emplace_back(base_name(file));
  std::vector<std::string> needed;
  for (const auto& [folder, names] : folders) {
    if (!is_model_folder(folder)) continue;
    const std::string prefix = folder.empty() ? "" : folder + "/";
    for (const std::string& name : names)
      if (describes_model(name)) needed.push_back(prefix + name);
    for (const std::string& name : needed_weights(names)) needed.push_back(prefix + name);
  }
  std::sort(needed.begin(), needed.end());
  return needed;
}

}  // namespace

bool matches_glob(const std::string& glob, const std::string& name) {
  return ::fnmatch((glob.ends_with('/') ? glob + "*" : glob).c_str(), name.c_str(), 0) == 0;
}

bool matches_any_glob(const std::vector<std::string>& globs, const std::string& name) {
  return std::any_of(globs.begin(), globs.end(), [&](const std::string& glob) { return matches_glob(glob, name); });
}

bool is_weights_name(const std::string& name) { return matches_any_glob({"*.safetensors", "*.bin", "*.pt", "*.pth"}, name); }

std::vector<std::string> select_files(std::vector<std::string> files, const Selection& selection) {
  std::sort(files.begin(), files.end());
  files.erase(std::unique(files.begin(), files.end()), files.end());
  if (!selection.include.empty()) std::erase_if(files, [&](const std::string& f) { return !matches_any_glob(selection.include, f); });
  else if (!selection.all) files = needed_files(files);
  std::erase_if(files, [&](const std::string& f) { return matches_any_glob(selection.exclude, f); });
  std::stable_partition(files.begin(), files.end(), [](const std::string& f) { return !is_weights_name(f); });
  return files;
}

}  // namespace m2bert::hub
