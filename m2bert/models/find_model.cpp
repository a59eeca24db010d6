#include "m2bert/models/find_model.h"

#include "m2bert/checkpoint/folder.h"
#include "m2bert/error.h"
#include "m2bert/hub/download.h"

namespace m2bert::models {

std::filesystem::path find_model(const std::string& name, const std::string& where, const std::string& not_found) {
  std::error_code error;
  const auto status = std::filesystem::status(name, error);
  if (std::filesystem::exists(status)) return name;
  if (!std::filesystem::status_known(status)) throw std::filesystem::filesystem_error("status", name, error);
  // The hub has a few models without an organisation, but a plain word is more likely a misspelt file.
  require(hub::looks_like_model_name(name) && name.find_first_of("/@") != std::string::npos, where, not_found);
  return hub::fetch_model(name, where, checkpoint::holds_model);
}

}  // namespace m2bert::models
