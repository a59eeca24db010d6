#include "m2bert/hub/cache.h"

#include <algorithm>

#include "m2bert/error.h"
#include "m2bert/hub/etag.h"
#include "m2bert/hub/model_name.h"
#include "m2bert/io/file.h"
#include "m2bert/io/inner_path.h"
#include "m2bert/io/temporaries.h"
#include "m2bert/io/utf8.h"

namespace m2bert::hub {
namespace {

namespace fs = std::filesystem;

std::string folder_name(const std::string& repository) {
  std::string name = "models--" + repository;
  if (const auto slash = name.find('/'); slash != std::string::npos) name.replace(slash, 1, "--");
  return name;
}

void create_folder(const fs::path& folder) {
  std::error_code failed;
  fs::create_directory(folder, failed);
  require(!failed, folder.string(), ": cannot make this folder of the cache: ", failed.message(),
          ". HF_HOME or HF_HUB_CACHE names another place");
}

// root/relative, with its parent folders created; none of them may be a link or a file.
fs::path create_parents_below(const fs::path& root, const std::string& relative) {
  const std::string problem = io::why_unsafe(relative);
  require(problem.empty(), "the name '", io::printable(relative), "' ", problem, "; it is refused");
  fs::path at = root;
  const fs::path parts(relative);
  for (const fs::path& part : parts.parent_path()) {
    at /= part;
    const auto kind = fs::symlink_status(at).type();
    require(kind == fs::file_type::directory || kind == fs::file_type::not_found, at.string(),
            ": is not a folder, so nothing is written below it; remove it");
    if (kind == fs::file_type::not_found) create_folder(at);
  }
  return root / parts;
}

// The target of the link at snapshots/<commit>/file.
fs::path link_target(const std::string& file, const std::string& etag) {
  fs::path up = "../..";
  for (const char c : file)
    if (c == '/') up /= "..";
  return up / "blobs" / etag;
}

}  // namespace

Cache::Cache(fs::path cache, const std::string& repository) : cache_(std::move(cache)), folder_(cache_ / folder_name(repository)) {
  const std::string problem = io::why_unsafe(repository);
  require(problem.empty() && std::count(repository.begin(), repository.end(), '/') <= 1, "'", io::printable(repository),
          "' is not a repository");
}

fs::path Cache::create_parents(const std::string& relative) const {
  std::error_code failed;
  fs::create_directories(folder_, failed);
  require(!failed, folder_.string(), ": cannot make this folder of the cache: ", failed.message(),
          ". HF_HOME or HF_HUB_CACHE names another place");
  return create_parents_below(folder_, relative);
}

fs::path Cache::snapshot(const std::string& commit) const {
  require(is_commit(commit), "'", io::printable(commit), "' is not a commit");
  return folder_ / "snapshots" / commit;
}

std::optional<std::string> Cache::commit_of(const std::string& revision) const {
  check_revision(revision);
  if (is_commit(revision)) return revision;
  const fs::path file = folder_ / "refs" / revision;
  if (!fs::is_regular_file(file)) return std::nullopt;
  std::string commit = io::read_file(file, 4096);
  commit.erase(std::find_if(commit.begin(), commit.end(), [](char c) { return c == '\n' || c == '\r' || c == ' '; }), commit.end());
  return is_commit(commit) ? std::optional(commit) : std::nullopt;
}

void Cache::write_ref(const std::string& revision, const std::string& commit) const {
  check_revision(revision);
  require(is_commit(commit), "'", io::printable(commit), "' is not a commit");
  if (is_commit(revision)) return;
  const fs::path file = create_parents("refs/" + revision);
  require(!fs::is_symlink(file), file.string(), ": is a link, and is not followed; remove it");
  if (commit_of(revision) != commit) io::write_file(file, commit);
}

std::optional<Cache::Blob> Cache::find(const std::string& commit, const std::string& file) const {
  if (!io::why_unsafe(file).empty()) return std::nullopt;
  std::error_code none;
  const fs::path target = fs::read_symlink(snapshot(commit) / file, none);
  if (none) return std::nullopt;
  const std::string etag = target.filename().string();
  if (target != link_target(file, etag)) return std::nullopt;
  const fs::path blob = folder_ / "blobs" / etag;
  if (fs::symlink_status(blob, none).type() != fs::file_type::regular) return std::nullopt;
  return Blob{etag, fs::file_size(blob)};
}

fs::path Cache::blob(const std::string& etag) const { return create_parents("blobs/" + parse_etag(etag, etag)); }

fs::path Cache::lock(const std::string& etag) const {
  (void)create_parents("blobs/" + etag);  // creates cache_ too
  return create_parents_below(cache_, ".locks/" + folder_.filename().string() + "/" + parse_etag(etag, etag) + ".lock");
}

void Cache::link(const std::string& commit, const std::string& file, const std::string& etag) const {
  require(is_commit(commit), "'", io::printable(commit), "' is not a commit");
  const fs::path place = create_parents("snapshots/" + commit + "/" + file), target = link_target(file, etag);
  std::error_code none;
  const auto there = fs::symlink_status(place, none).type();
  require(there != fs::file_type::directory, place.string(), ": is a folder, wants a file; remove it");
  if (there == fs::file_type::symlink && fs::read_symlink(place, none) == target) return;
  const fs::path temporary = folder_ / ("link" + io::temporary_ending());
  std::error_code failed;
  fs::create_symlink(target, temporary, failed);
  if (failed) fs::copy_file(folder_ / "blobs" / etag, temporary, failed);  // a file system without links
  if (!failed) fs::rename(temporary, place, failed);
  require(!failed, place.string(), ": cannot be made: ", failed.message());
}

}  // namespace m2bert::hub
