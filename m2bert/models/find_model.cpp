#include "m2bert/models/find_model.h"

#include "m2bert/checkpoint/hub.h"
#include "m2bert/error.h"

namespace m2bert::models {

std::filesystem::path find_model(const std::string& name, const std::string& where, const std::string& not_found) {
  std::error_code none;
  if (std::filesystem::exists(name, none)) return name;
  require(checkpoint::looks_like_hub_name(name), where, not_found);
  return checkpoint::model_from_hub(name, where);
}

}  // namespace m2bert::models
