#include "m2bert/hub/download.h"

#include <algorithm>
#include <optional>

#include "m2bert/error.h"
#include "m2bert/hub/api.h"
#include "m2bert/hub/cache.h"
#include "m2bert/hub/fetch.h"
#include "m2bert/io/http_client.h"
#include "m2bert/io/interrupt.h"
#include "m2bert/io/log.h"

namespace m2bert::hub {
namespace {

namespace fs = std::filesystem;

// The commit of a snapshot that is a whole model: weights are downloaded last, so with them everything is there.
std::optional<std::string> commit_with_model(const ModelName& name, const Cache& cache, const ModelCheck& holds_model) {
  const auto commit = cache.commit_of(name.revision);
  return commit && holds_model(cache.snapshot(*commit)) ? commit : std::nullopt;
}

[[noreturn]] void fail_offline(const ModelName& name, const Settings& settings) {
  fail(name.shown(), ": is not in the cache ", settings.cache.string(),
       ", and HF_HUB_OFFLINE forbids asking the hub. Unset it and run: m2bert download ", name.shown());
}

Snapshot download_online(const ModelName& name, const Settings& settings, const Selection& selection, int attempts) {
  Api api(name, settings, attempts);
  const Cache cache(settings.cache, name.repository);
  const Listing listing = api.list();
  const std::vector<std::string> selected = select_files(listing.files, selection);
  require(!selected.empty(), name.shown(), ": none of its ", listing.files.size(), " files ",
          selection.include.empty() ? "is one of a model (--all selects every file, --include GLOB some)" : "is included");
  Snapshot snapshot{.repository = name.repository, .revision = name.revision, .commit = listing.commit};
  snapshot.files = fetch_files(api, cache, listing.commit, selected);
  snapshot.folder = cache.snapshot(listing.commit);
  cache.write_ref(name.revision, listing.commit);  // last: until then the old state stays in use
  return snapshot;
}

void keep_selected(std::vector<File>& files, const Selection& selection) {
  std::vector<std::string> names;
  names.reserve(files.size());
  for (const File& file : files) names.push_back(file.name);
  names = select_files(names, selection);
  std::erase_if(files, [&](const File& file) { return std::find(names.begin(), names.end(), file.name) == names.end(); });
}

Snapshot find_offline(const ModelName& name, const Settings& settings, const ModelCheck& holds_model, const Selection& selection) {
  const Cache cache(settings.cache, name.repository);
  const bool whole_model = selection.include.empty() && selection.exclude.empty() && !selection.all;
  const auto commit = whole_model ? commit_with_model(name, cache, holds_model) : cache.commit_of(name.revision);
  if (!commit || !fs::is_directory(cache.snapshot(*commit))) fail_offline(name, settings);
  Snapshot snapshot = cached_snapshot(name, cache, *commit);
  keep_selected(snapshot.files, selection);
  if (snapshot.files.empty()) fail_offline(name, settings);
  return snapshot;
}

}  // namespace

Snapshot download(const ModelName& name, const Settings& settings, const ModelCheck& holds_model, const Selection& selection) {
  return settings.offline ? find_offline(name, settings, holds_model, selection) : download_online(name, settings, selection, 5);
}

fs::path fetch_model(const ModelName& name, const Settings& settings, const ModelCheck& holds_model) {
  const Cache cache(settings.cache, name.repository);
  const auto commit = commit_with_model(name, cache, holds_model);
  if (commit && (settings.offline || is_commit(name.revision))) return cache.snapshot(*commit);
  if (settings.offline) fail_offline(name, settings);
  try {
    return download_online(name, settings, {}, commit ? 1 : 3).folder;
  } catch (const io::HttpError& e) {
    if (!commit) throw;
    io::warn(e.what(), "; using ", name.shown(), " as it is in the cache (commit ", commit->substr(0, 12), ")");
    return cache.snapshot(*commit);
  }
}

fs::path fetch_model(const std::string& name, const std::string& where, const ModelCheck& holds_model) {
  try {
    return fetch_model(parse_model_name(name), settings_from_environment(), holds_model);
  } catch (const Error& e) {
    if (io::interrupted()) throw;
    fail(where, ": is no file or folder here, and downloading it from the hub fails: ", e.what());
  }
}

}  // namespace m2bert::hub
