#pragma once
// Models from Hugging Face's hub, or from any server with its API, through the cache that huggingface_hub uses too.
#include <filesystem>
#include <functional>
#include <string>

#include "m2bert/hub/model_name.h"
#include "m2bert/hub/selection.h"
#include "m2bert/hub/settings.h"
#include "m2bert/hub/snapshot.h"

namespace m2bert::hub {

// Tells whether a folder holds a whole model (checkpoint::holds_model), for what an earlier run left in the cache.
using ModelCheck = std::function<bool(const std::filesystem::path&)>;

// Downloads the selected files into the cache, and returns them. Files in the cache are not downloaded again. A file is checked (size;
// SHA-256 or git's SHA-1, whichever the ETag is) before it gets its name; an interrupted download is resumed. Offline: what the cache
// has. Progress and notes go to stderr. Throws an Error for invalid names, no such repository or revision, no access (says what to do), a
// server that cannot be reached, wrong bytes, a full disk, Ctrl-C.
Snapshot download(const ModelName& name, const Settings& settings, const ModelCheck& holds_model, const Selection& selection = {});

// The folder of a model's files, downloaded if necessary. A commit that is in the cache is used without a request; for a branch or tag the
// server is asked, and if it cannot be reached, the cached state is used with a warning. Offline: the cache only.
std::filesystem::path fetch_model(const ModelName& name, const Settings& settings, const ModelCheck& holds_model);

// The same for a name that is no local file or folder but looks like a model on the hub, with the settings of the environment. Errors begin
// with `where` and say both.
std::filesystem::path fetch_model(const std::string& name, const std::string& where, const ModelCheck& holds_model);

}  // namespace m2bert::hub
