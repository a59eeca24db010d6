#include "m2bert/checkpoint/hub_name.h"

#include <fnmatch.h>

#include <algorithm>
#include <functional>
#include <map>

#include "m2bert/checkpoint/text.h"
#include "m2bert/error.h"

namespace m2bert::checkpoint {
namespace {

constexpr size_t kPart = 96, kRevision = 200, kEtag = 128;

bool is_word(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_'; }

bool is_plain(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return is_word(c) || c == '-' || c == '.'; });
}

bool good_part(std::string_view part) {
  return !part.empty() && part.size() <= kPart && is_plain(part) && is_word(part.front()) && is_word(part.back());
}

std::string why_no_repository(std::string_view name) {
  const auto slash = name.find('/');
  const bool parts =
      slash == std::string_view::npos ? good_part(name) : good_part(name.substr(0, slash)) && good_part(name.substr(slash + 1));
  if (!parts) return "wants ORG/NAME of letters, digits, '-', '_' and '.', at most 96 each, beginning and ending with a letter or digit";
  if (name.find("--") != std::string_view::npos || name.find("..") != std::string_view::npos) return "may have neither '--' nor '..'";
  if (name.ends_with(".git")) return "may not end in '.git'";
  return "";
}

std::string why_no_revision(std::string_view revision) {
  if (revision.empty()) return "is empty";
  if (revision.size() > kRevision) return "is too long";
  const auto bad = [](char c) {
    return static_cast<unsigned char>(c) <= 0x20 || c == 0x7f || std::string_view("~^:?*[\\@").find(c) != std::string_view::npos;
  };
  if (std::any_of(revision.begin(), revision.end(), bad)) return "has characters that no branch, tag or commit has";
  return why_unsafe(revision);
}

std::string_view base_name(std::string_view file) {
  return file.substr(file.rfind('/') == std::string_view::npos ? 0 : file.rfind('/') + 1);
}
std::string folder_of(const std::string& file) { return file.rfind('/') == std::string::npos ? "" : file.substr(0, file.rfind('/')); }

bool any_glob(const std::vector<std::string>& globs, const std::string& name) {
  return std::any_of(globs.begin(), globs.end(), [&](const std::string& glob) { return matches_glob(glob, name); });
}

bool is_weight_file(const std::string& name) { return any_glob({"*.safetensors", "*.bin", "*.pt", "*.pth"}, name); }

// The top, or a module's folder of sentence-transformers: 1_Pooling.
bool model_folder(const std::string& folder) {
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
                                                 "*.yaml",
                                                 "*.yml"};
  return any_glob(globs, name);
}

// One folder's weights, by the same order of preference as read_folder() has. names: without the folder.
std::vector<std::string> needed_weights(const std::vector<std::string>& names) {
  const auto having = [&](const std::vector<std::string>& globs) {
    std::vector<std::string> found;
    for (const std::string& name : names) {
      const bool training = any_glob({"training_args.*", "optimizer*", "scheduler*", "rng_state*", "scaler*"}, name);
      if (!training && any_glob(globs, name)) found.push_back(name);
    }
    return found;
  };
  const std::vector<std::vector<std::string>> preferences = {
      {"model.safetensors"}, {"model.safetensors.index.json", "model-*-of-*.safetensors"},
      {"pytorch_model.bin"}, {"pytorch_model.bin.index.json", "pytorch_model-*-of-*.bin"},
      {"*.safetensors"},     {"*.bin"},
      {"*.pt", "*.pth"}};
  for (const auto& globs : preferences) {
    const auto found = having(globs);
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
    if (!model_folder(folder)) continue;
    const std::string front = folder.empty() ? "" : folder + "/";
    for (const std::string& name : names)
      if (describes_model(name)) needed.push_back(front + name);
    for (const std::string& name : needed_weights(names)) needed.push_back(front + name);
  }
  std::sort(needed.begin(), needed.end());
  return needed;
}

}  // namespace

HubName parse_hub_name(std::string_view text) {
  HubName name;
  const auto at = text.find('@');
  name.repository = std::string(text.substr(0, at));
  const std::string wrong = why_no_repository(name.repository);
  require(wrong.empty(), "'", printable(text), "' is not the name of a model on a hub: it ", wrong);
  if (at != std::string_view::npos) {
    name.revision = std::string(text.substr(at + 1));
    check_revision(name.revision);
  }
  return name;
}

bool looks_like_hub_name(std::string_view text) {
  const auto at = text.find('@');
  const std::string_view repository = text.substr(0, at);
  if (!why_no_repository(repository).empty()) return false;
  if (at != std::string_view::npos) return why_no_revision(text.substr(at + 1)).empty();
  return !is_weight_file(std::string(repository)) && !any_glob({"*.yaml", "*.yml", "*.json", "*.txt"}, std::string(repository));
}

void check_revision(std::string_view revision) {
  const std::string wrong = why_no_revision(revision);
  require(wrong.empty(), "'", printable(revision), "' is not a revision: it ", wrong);
}

bool is_commit(std::string_view text) { return text.size() == 40 && text.find_first_not_of("0123456789abcdef") == std::string_view::npos; }

std::string plain_etag(std::string_view header, const std::string& file) {
  std::string_view etag = header;
  if (etag.starts_with("W/")) etag.remove_prefix(2);
  if (etag.size() >= 2 && etag.front() == '"' && etag.back() == '"') etag = etag.substr(1, etag.size() - 2);
  const bool good = !etag.empty() && etag.size() <= kEtag && is_plain(etag) && is_word(etag.front()) && !etag.ends_with(".incomplete");
  require(good, printable(file), ": the server's ETag '", printable(header), "' is not one that can name a file; nothing was taken");
  return std::string(etag);
}

bool matches_glob(const std::string& glob, const std::string& name) {
  return ::fnmatch((glob.ends_with('/') ? glob + "*" : glob).c_str(), name.c_str(), 0) == 0;
}

std::vector<std::string> selected_files(std::vector<std::string> files, const HubSelection& selection) {
  std::sort(files.begin(), files.end());
  files.erase(std::unique(files.begin(), files.end()), files.end());
  if (!selection.include.empty()) std::erase_if(files, [&](const std::string& f) { return !any_glob(selection.include, f); });
  else if (!selection.all) files = needed_files(files);
  std::erase_if(files, [&](const std::string& f) { return any_glob(selection.exclude, f); });
  std::stable_partition(files.begin(), files.end(), [](const std::string& f) { return !is_weight_file(f); });
  return files;
}

}  // namespace m2bert::checkpoint
