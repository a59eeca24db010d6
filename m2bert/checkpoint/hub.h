#pragma once
// Models from Hugging Face's hub, or from any server that speaks as it does, through the cache that huggingface_hub has too.
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "m2bert/checkpoint/hub_name.h"

namespace m2bert::checkpoint {

struct HubSettings {
  std::string endpoint = "https://huggingface.co";
  std::filesystem::path cache;
  std::string token;                          // sent to the endpoint's host alone; empty: none
  bool offline = false;                       // the cache alone
  std::chrono::seconds check_timeout{10};     // for questions
  std::chrono::seconds download_timeout{30};  // without data
};

// From the environment, under huggingface_hub's names: HF_ENDPOINT; HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE, HF_HOME, XDG_CACHE_HOME (default
// ~/.cache/huggingface/hub); HF_TOKEN, HF_TOKEN_PATH, HF_HOME/token, HF_HUB_DISABLE_IMPLICIT_TOKEN; HF_HUB_OFFLINE, TRANSFORMERS_OFFLINE;
// HF_HUB_ETAG_TIMEOUT, HF_HUB_DOWNLOAD_TIMEOUT. Error that names the variable whose value makes no sense.
HubSettings hub_settings();

struct HubFile {
  std::string name;
  std::string etag;
  uint64_t size = 0;
  bool fetched = false;  // in this run, and not there before
};

struct HubSnapshot {
  std::string repository, revision, commit;
  std::filesystem::path folder;  // snapshots/<commit>
  std::vector<HubFile> files;
};

// Brings the selected files into the cache, and returns them. Files that are there are not taken again. A file is checked (size; SHA-256 or
// git's SHA-1, whichever the ETag is) before it gets its name; what an interrupted run had of it is gone on with. Offline: what the cache
// has. Progress and notes go to stderr. Error: names that are unfit, no such repository or revision, no access (says what to do), a server
// that cannot be reached, wrong bytes, a full disk, Ctrl-C.
HubSnapshot download(const HubName& name, const HubSettings& settings, const HubSelection& selection = {});

// The folder of a model's files, downloaded if need be. A commit that the cache has is used without asking; for a branch or tag the server
// is asked, and if it cannot be reached, the cache's state is used with a warning. Offline: the cache alone.
std::filesystem::path model_from_hub(const HubName& name, const HubSettings& settings);

// The same for a name that is no file or folder here but looks like one of the hub, with the environment's settings. Error that begins with
// `where` and says both.
std::filesystem::path model_from_hub(const std::string& name, const std::string& where);

}  // namespace m2bert::checkpoint
