#pragma once
// The files of sentence-transformers in a model folder: modules.json and what it names. Internal to the folder.
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "m2bert/checkpoint/folder.h"

namespace m2bert::checkpoint {

// Reads modules.json of folder.root, the modules' configurations, sentence_*_config.json and config_sentence_transformers.json. Errors name
// file and field.
void read_sentence_files(ModelFolder& folder);

// The flags of 1_Pooling/config.json, and the mode that each selects, in the order of pooling_modes().
const std::vector<std::pair<std::string, std::string>>& pooling_flags();

// root / relative. Error, which begins with `where`, if that is outside of root.
std::filesystem::path path_inside(const std::filesystem::path& root, const std::string& relative, const std::string& where);

// The weights files of a folder, safetensors before pickles, as Transformers prefers them.
std::vector<std::filesystem::path> find_weights(const std::filesystem::path& folder);

}  // namespace m2bert::checkpoint
