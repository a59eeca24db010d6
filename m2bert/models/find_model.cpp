#include "m2bert/models/find_model.h"

#include "m2bert/checkpoint/folder.h"
#include "m2bert/error.h"
#include "m2bert/hub/download.h"

namespace m2bert::models {

std::filesystem::path find_model(const std::string& name, const std::string& where, const std::string& not_found) {
  std::error_code none;
  if (std::filesystem::exists(name, none)) return name;
  require(hub::looks_like_model_name(name), where, not_found);
  return hub::fetch_model(name, where, checkpoint::holds_model);
}

}  // namespace m2bert::models
