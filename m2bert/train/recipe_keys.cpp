#include "m2bert/train/recipe_keys.h"

#include <cmath>
#include <limits>
#include <sstream>

#include "m2bert/error.h"
#include "m2bert/io/edit_distance.h"

namespace m2bert::train {

namespace {

std::string parent_of(const std::string& path) { return path.substr(0, path.rfind('.') == std::string::npos ? 0 : path.rfind('.')); }

std::string joined(const std::string& parent, const std::string& key) { return parent.empty() ? key : parent + "." + key; }

// The value at the path, or the innermost map around it that is there.
const io::Tree& nearest_value(const io::Tree& root, std::string path) {
  for (; !path.empty(); path = parent_of(path)) {
    try {
      if (const io::Tree* value = root.find_path(path)) return *value;
    } catch (const Error&) {
      // A key that has a dot at its end, or none but dots, cannot be written as a path.
    }
  }
  return root;
}

void collect(const io::Tree& tree, const std::string& path, std::vector<std::pair<std::string, const io::Tree*>>& out) {
  if (tree.is_map() && tree.size() > 0) {
    for (const auto& member : tree.members()) collect(member.value, joined(path, member.key), out);
  } else if (!tree.is_null()) {
    out.emplace_back(path, &tree);
  }
}

// A longer name may have more slips.
size_t most_slips(const std::string& name) { return name.size() < 6 ? 1 : name.size() < 10 ? 2 : 3; }

[[noreturn]] void wants_number(const io::Tree& value, const char* which, double low) {
  std::ostringstream want;
  want << "a number " << which << " " << low;
  value.wants(want.str());
}

}  // namespace

std::string where(const io::Tree& root, const std::string& path) {
  const std::string at = nearest_value(root, path).location();
  return (at.empty() ? "" : at + ": ") + joined(root.path(), path) + ": ";
}

std::vector<std::pair<std::string, const io::Tree*>> leaves(const io::Tree& root) {
  std::vector<std::pair<std::string, const io::Tree*>> out;
  collect(root, "", out);
  return out;
}

bool is_below(const std::string& path, const std::set<std::string>& paths) {
  for (size_t end = path.find('.'); end != std::string::npos; end = path.find('.', end + 1)) {
    if (paths.contains(path.substr(0, end))) return true;
  }
  return paths.contains(path);
}

const io::Tree* given(const io::Tree& tree, const std::string& path) {
  const io::Tree* value = tree.find_path(path);
  return value && !value->is_null() && !value->is_missing() ? value : nullptr;
}

std::string listed(const std::vector<std::string>& names) {
  std::string list;
  for (const auto& name : names) list += (list.empty() ? "" : ", ") + name;
  return list;
}

void refuse_other_keys(const io::Tree& map, const std::vector<std::string>& known, const std::string& what) {
  for (const auto* other : map.unknown(known)) fail(other->value.where(), what, " has no such setting; it has ", listed(known));
}

const io::Tree* RecipeKeys::find(const std::string& path) {
  accept(path);
  const io::Tree* value = root_.find_path(path);
  return value && !value->is_null() ? value : nullptr;
}

const io::Tree& RecipeKeys::at(const std::string& path) {
  if (const io::Tree* value = find(path)) return *value;
  const std::string parent = parent_of(path);
  const io::Tree& around = parent.empty() ? root_ : nearest_value(root_, parent);
  const std::string key = path.substr(parent.empty() ? 0 : parent.size() + 1);
  if (!around.is_map() && !around.is_null()) around.wants("a map with the key " + key);
  std::vector<std::string> there;
  if (around.is_map()) {
    for (const auto& member : around.members()) {
      if (!member.value.is_null()) there.push_back(member.key);
    }
  }
  const auto similar = io::nearest_name(key, there, most_slips(key));
  fail(where(root_, path), "is missing", similar ? "; there is " + joined(parent, *similar) : "");
}

double RecipeKeys::number(const std::string& path, double fallback, double low) {
  const io::Tree* value = find(path);
  if (!value) return fallback;
  const double x = value->number();
  if (!std::isfinite(x) || x < low) wants_number(*value, "of at least", low);
  return x;
}

double RecipeKeys::number_above(const std::string& path, double fallback, double low) {
  const io::Tree* value = find(path);
  if (!value) return fallback;
  const double x = value->number();
  if (!std::isfinite(x) || x <= low) wants_number(*value, "above", low);
  return x;
}

int64_t RecipeKeys::integer(const std::string& path, int64_t fallback, int64_t low, int64_t high) {
  const io::Tree* value = find(path);
  return value ? value->integer(low, high) : fallback;
}

bool RecipeKeys::present(const std::string& path) {
  const io::Tree* value = root_.find_path(path);
  known_.insert(path);
  if (!value || value->size() == 0) accept(path);
  return value != nullptr;
}

std::vector<std::string> RecipeKeys::unread() const {
  std::vector<std::string> out;
  for (const auto& [path, value] : leaves(root_)) {
    if (!path.empty() && !is_read(path)) out.push_back(path);
  }
  return out;
}

bool RecipeKeys::knows(const std::string& path) const {
  const auto it = known_.lower_bound(path + ".");
  return known_.contains(path) || (it != known_.end() && it->starts_with(path + "."));
}

std::optional<std::string> RecipeKeys::known_as(const std::string& name) const {
  std::optional<std::string> found;
  for (const auto& path : known_) {
    if (!path.ends_with("." + name)) continue;
    if (found) return std::nullopt;
    found = path;
  }
  return found;
}

std::optional<std::string> RecipeKeys::likely(const std::string& path, const std::vector<std::string>& others) const {
  std::set<std::string> known(others.begin(), others.end());  // with the maps around the keys
  for (const auto& key : known_) {
    for (std::string each = key; !each.empty(); each = parent_of(each)) known.insert(each);
  }
  std::string wrong = path;  // the outermost part that nobody knows
  while (!parent_of(wrong).empty() && !known.contains(parent_of(wrong))) wrong = parent_of(wrong);
  const std::string parent = parent_of(wrong);
  std::vector<std::string> names;
  for (const auto& each : known) {
    if (parent_of(each) == parent) names.push_back(each.substr(parent.empty() ? 0 : parent.size() + 1));
  }
  const std::string key = wrong.substr(parent.empty() ? 0 : parent.size() + 1);
  const auto name = io::nearest_name(key, names, most_slips(key));
  if (!name || *name == key) return std::nullopt;
  return joined(parent, *name) + path.substr(wrong.size());
}

}  // namespace m2bert::train
