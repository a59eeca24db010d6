#pragma once
// How to reach the hub, and where its files are cached.
#include <chrono>
#include <filesystem>
#include <string>

namespace m2bert::hub {

struct Settings {
  std::string endpoint = "https://huggingface.co";
  std::filesystem::path cache;
  std::string token;                          // sent to the endpoint's host only; empty: none
  bool offline = false;                       // use the cache only
  std::chrono::seconds check_timeout{10};     // for API requests
  std::chrono::seconds download_timeout{30};  // without data
};

// From the environment, with the variables of huggingface_hub: HF_ENDPOINT; HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE, HF_HOME, XDG_CACHE_HOME
// (default ~/.cache/huggingface/hub); HF_TOKEN, HF_TOKEN_PATH, HF_HOME/token, HF_HUB_DISABLE_IMPLICIT_TOKEN; HF_HUB_OFFLINE,
// TRANSFORMERS_OFFLINE; HF_HUB_ETAG_TIMEOUT, HF_HUB_DOWNLOAD_TIMEOUT. Throws an Error that names the variable with an invalid value.
Settings settings_from_environment();

}  // namespace m2bert::hub
