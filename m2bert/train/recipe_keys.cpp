#include "m2bert/train/recipe_keys.h"

#include <limits>
#include <sstream>

namespace m2bert::train {

const io::Tree* RecipeKeys::find(const std::string& path) {
  accept(path);
  const io::Tree* value = root_.find_path(path);
  return value && !value->is_null() ? value : nullptr;
}

const io::Tree& RecipeKeys::at(const std::string& path) {
  if (const io::Tree* value = find(path)) return *value;
  fail(root_.location(), root_.location().empty() ? "" : ": ", path, " is missing");
}

double RecipeKeys::number(const std::string& path, double fallback, double low) {
  const io::Tree* value = find(path);
  if (!value) return fallback;
  const double x = value->number();
  if (!(x >= low && x <= std::numeric_limits<double>::max())) {
    std::ostringstream want;
    want << "a number of at least " << low;
    value->wants(want.str());
  }
  return x;
}

int64_t RecipeKeys::integer(const std::string& path, int64_t fallback, int64_t low, int64_t high) {
  const io::Tree* value = find(path);
  return value ? value->integer(low, high) : fallback;
}

bool RecipeKeys::present(const std::string& path) {
  const io::Tree* value = root_.find_path(path);
  if (value && value->size() == 0) accept(path);
  return value != nullptr;
}

std::vector<std::string> RecipeKeys::unread() const {
  std::vector<std::string> out;
  collect(root_, "", out);
  return out;
}

bool RecipeKeys::is_read(const std::string& path) const {
  for (size_t end = path.find('.'); end != std::string::npos; end = path.find('.', end + 1)) {
    if (read_.contains(path.substr(0, end))) return true;
  }
  return read_.contains(path);
}

void RecipeKeys::collect(const io::Tree& tree, const std::string& path, std::vector<std::string>& out) const {
  if (!path.empty() && is_read(path)) return;
  if (tree.is_map() && tree.size() > 0) {
    for (const auto& member : tree.members()) collect(member.value, path.empty() ? member.key : path + "." + member.key, out);
  } else if (!tree.is_null()) {
    out.push_back(path);
  }
}

}  // namespace m2bert::train
