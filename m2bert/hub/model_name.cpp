#include "m2bert/hub/model_name.h"

#include <algorithm>

#include "m2bert/error.h"
#include "m2bert/hub/selection.h"
#include "m2bert/io/inner_path.h"
#include "m2bert/io/utf8.h"

namespace m2bert::hub {
namespace {

constexpr size_t kMaxPart = 96, kMaxRevision = 200;

bool is_word(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_'; }

bool valid_part(std::string_view part) {
  const bool plain = std::all_of(part.begin(), part.end(), [](char c) { return is_word(c) || c == '-' || c == '.'; });
  return !part.empty() && part.size() <= kMaxPart && plain && is_word(part.front()) && is_word(part.back());
}

// What is wrong with the name of a repository; "" if nothing is.
std::string repository_problem(std::string_view name) {
  const auto slash = name.find('/');
  const bool parts =
      slash == std::string_view::npos ? valid_part(name) : valid_part(name.substr(0, slash)) && valid_part(name.substr(slash + 1));
  if (!parts) return "wants ORG/NAME of letters, digits, '-', '_' and '.', at most 96 each, beginning and ending with a letter or digit";
  if (name.find("--") != std::string_view::npos || name.find("..") != std::string_view::npos) return "may have neither '--' nor '..'";
  if (name.ends_with(".git")) return "may not end in '.git'";
  return "";
}

std::string revision_problem(std::string_view revision) {
  if (revision.empty()) return "is empty";
  if (revision.size() > kMaxRevision) return "is too long";
  const auto bad = [](char c) {
    return static_cast<unsigned char>(c) <= 0x20 || c == 0x7f || std::string_view("~^:?*[\\@").find(c) != std::string_view::npos;
  };
  if (std::any_of(revision.begin(), revision.end(), bad)) return "has characters that no branch, tag or commit has";
  return io::why_unsafe(revision);
}

bool has_extension_of_a_file(const std::string& name) {
  return is_weights_name(name) || matches_any_glob({"*.yaml", "*.yml", "*.json", "*.txt"}, name);
}

}  // namespace

ModelName parse_model_name(std::string_view text) {
  ModelName name;
  const auto at = text.find('@');
  name.repository = std::string(text.substr(0, at));
  const std::string problem = repository_problem(name.repository);
  require(problem.empty(), "'", io::printable(text), "' is not the name of a model on a hub: it ", problem);
  if (at != std::string_view::npos) {
    name.revision = std::string(text.substr(at + 1));
    check_revision(name.revision);
  }
  return name;
}

bool looks_like_model_name(std::string_view text) {
  const auto at = text.find('@');
  const std::string_view repository = text.substr(0, at);
  if (!repository_problem(repository).empty()) return false;
  if (at != std::string_view::npos) return revision_problem(text.substr(at + 1)).empty();
  return !has_extension_of_a_file(std::string(repository));
}

void check_revision(std::string_view revision) {
  const std::string problem = revision_problem(revision);
  require(problem.empty(), "'", io::printable(revision), "' is not a revision: it ", problem);
}

bool is_commit(std::string_view text) { return text.size() == 40 && text.find_first_not_of("0123456789abcdef") == std::string_view::npos; }

}  // namespace m2bert::hub
