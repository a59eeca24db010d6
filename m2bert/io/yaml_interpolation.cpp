#include "m2bert/io/yaml_interpolation.h"

#include <algorithm>
#include <cstdlib>
#include <sstream>
#include <unordered_map>
#include <unordered_set>

#include "m2bert/io/yaml_scalar.h"

namespace m2bert::io {
namespace {

constexpr int kMaxChain = 100;  // interpolations that lead to one another

// Thrown for an interpolation without a target; caught where the interpolation is.
struct NoTarget {
  std::string reason;
  bool elsewhere = false;  // the reason names another value, to which this one leads
};

template <class... Parts>
[[noreturn]] void no_target(const Parts&... parts) {
  std::ostringstream reason;
  (reason << ... << parts);
  throw NoTarget{reason.str()};
}

std::string_view trim(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

class Resolver {
 public:
  Resolver(Tree& root, const YamlLimits& limits) : root_(root), limits_(limits) { values_ = count(root); }

  // Resolves a value and everything in it.
  void visit(Tree& tree) {
    if (tree.is_string()) {
      resolve(tree);
    } else if (tree.is_list()) {
      for (Tree& item : tree.items()) visit(item);
    } else if (tree.is_map()) {
      for (Tree::Member& member : tree.as_map().members()) visit(member.value);
    }
  }

 private:
  void resolve(Tree& tree) {
    if (tree.string().find("${") == std::string::npos || done_.contains(&tree)) return;
    require(active_.insert(&tree).second, tree.where(), "its interpolation refers to itself: ", tree.shown());
    require(active_.size() <= kMaxChain, tree.where(), "more than ", kMaxChain, " interpolations lead to one another");
    const int nesting = nesting_;
    Tree value;
    try {
      value = evaluate(tree, tree.string());
    } catch (const NoTarget& error) {
      value = Tree::Missing{error.reason};
      unresolved_[&tree] = error;
      nesting_ = nesting;
    }
    active_.erase(&tree);
    adopt(tree, std::move(value));
  }

  // The value takes the place of the interpolation; the values inside it keep their lines.
  void adopt(Tree& tree, Tree value) {
    auto place = tree.place();
    tree = std::move(value);
    relink(tree, place);
  }

  void relink(Tree& tree, const std::shared_ptr<const Place>& place) {
    tree.set_place(place);
    if (tree.is_string()) done_.insert(&tree);
    const auto child = [&](Tree& inner, std::string key) {
      auto own = std::make_shared<Place>();
      if (inner.place()) *own = *inner.place();
      own->parent = place;
      own->key = std::move(key);
      relink(inner, own);
    };
    if (tree.is_list()) {
      for (size_t i = 0; i < tree.size(); ++i) child(tree.items()[i], list_key(i));
    } else if (tree.is_map()) {
      for (Tree::Member& member : tree.as_map().members()) child(member.value, member.key);
    }
  }

  Tree evaluate(const Tree& at, std::string_view text) {
    std::string out;
    size_t i = 0;
    while (i < text.size()) {
      if (text[i] == '\\') {
        i = take_backslashes(text, i, out);
      } else if (text.substr(i, 2) == "${") {
        const size_t begin = i;
        Tree value = interpolation(at, text, i);
        if (begin == 0 && i == text.size()) return copy_of(at, value);
        out += python_text_at(at, value);
        check_length(at, out);
      } else {
        out += text[i++];
      }
    }
    return out;
  }

  // Backslashes matter only before "${": an odd one escapes it, each pair means one.
  static size_t take_backslashes(std::string_view text, size_t i, std::string& out) {
    size_t end = i;
    while (end < text.size() && text[end] == '\\') ++end;
    const size_t n = end - i;
    if (text.substr(end, 2) != "${") {
      out.append(n, '\\');
      return end;
    }
    out.append(n / 2, '\\');
    if (n % 2 == 0) return end;
    out += "${";
    return end + 2;
  }

  // text[i] starts "${"; moves i past its "}".
  Tree interpolation(const Tree& at, std::string_view text, size_t& i) {
    require(++nesting_ <= kMaxChain, at.where(), "its interpolations are nested too deep");
    i += 2;
    std::string name;
    Tree value;
    for (;;) {
      require(i < text.size(), at.where(), "an interpolation lacks its closing }: ", at.shown());
      if (text.substr(i, 2) == "${") {
        name += python_text_at(at, interpolation(at, text, i));
      } else if (text[i] == '}') {
        ++i;
        value = node(at, trim(name));
        break;
      } else if (text[i] == ':') {
        ++i;
        value = resolver(at, std::string(trim(name)), arguments(at, text, i));
        break;
      } else {
        name += text[i++];
      }
      check_length(at, name);
    }
    --nesting_;
    return value;
  }

  // The arguments of a resolver, up to and including its "}".
  std::vector<Tree> arguments(const Tree& at, std::string_view text, size_t& i) {
    std::vector<Tree> out;
    std::string plain;
    std::optional<Tree> whole;  // the argument is one quoted text or one interpolation
    bool begun = false;
    const auto finish = [&] {
      out.push_back(whole && trim(plain).empty() ? *whole : whole ? Tree(python_text_at(at, *whole) + plain) : resolve_at(at, trim(plain)));
      plain.clear();
      whole.reset();
    };
    for (;;) {
      require(i < text.size(), at.where(), "an interpolation lacks its closing }: ", at.shown());
      const char c = text[i];
      if (c == '}') {
        ++i;
        if (begun || whole || !trim(plain).empty()) finish();
        return out;
      }
      if (c == ',') {
        ++i;
        begun = true;
        finish();
      } else if ((c == '"' || c == '\'') && trim(plain).empty() && !whole) {
        const size_t end = text.find(c, i + 1);
        require(end != std::string_view::npos, at.where(), "a quote in an interpolation is not closed: ", at.shown());
        whole = evaluate(at, text.substr(i + 1, end - i - 1));
        plain.clear();
        i = end + 1;
      } else if (text.substr(i, 2) == "${") {
        Tree value = interpolation(at, text, i);
        if (trim(plain).empty() && !whole) {
          whole = std::move(value);
          plain.clear();
        } else {
          plain += python_text_at(at, value);
        }
      } else {
        plain += c;
        ++i;
      }
      check_length(at, plain);
    }
  }

  Tree resolver(const Tree& at, const std::string& name, const std::vector<Tree>& arguments) {
    if (name == "oc.env") {
      require(arguments.size() == 1 || arguments.size() == 2, at.where(), "oc.env wants a name and perhaps a default");
      const std::string variable = python_text_at(at, arguments[0]);
      if (const char* value = std::getenv(variable.c_str())) return value;
      if (arguments.size() == 1) no_target("the environment variable ", variable, " is not set and has no default");
      if (arguments[1].is_null()) return nullptr;
      return python_text_at(at, arguments[1]);
    }
    if (name == "oc.decode") {
      require(arguments.size() == 1, at.where(), "oc.decode wants one argument");
      return arguments[0].is_string() ? resolve_at(at, arguments[0].string()) : arguments[0];
    }
    if (name == "oc.select") {
      require(arguments.size() == 1 || arguments.size() == 2, at.where(), "oc.select wants a key and perhaps a default");
      const Tree* found = find(at, python_text_at(at, arguments[0]));
      if (found && !found->is_missing()) return *found;
      return arguments.size() == 2 ? arguments[1] : Tree();
    }
    fail(at.where(), "unknown resolver \"", name, "\"; oc.env, oc.select and oc.decode are supported");
  }

  // The resolved value of a.b, .b or ..b.
  Tree node(const Tree& at, std::string_view name) {
    std::string_view relative = name;
    const auto path = absolute(at, relative);
    Tree* tree = &root_;
    for (const std::string& part : path) {
      Tree* next = step(*tree, part);
      if (!next) {
        no_target("the interpolation ${", name, "} names nothing: there is no \"", part, "\" in ",
                  tree == &root_ ? "the file" : tree->path(), "; set it there or with key=value");
      }
      tree = next;
    }
    visit(*tree);
    require_resolved(*tree);
    if (tree->is_missing()) {
      throw NoTarget{"it refers to " + place_of(*tree) + ", which is marked ??? (mandatory): set it there or with key=value", true};
    }
    return *tree;
  }

  // The same for oc.select: nullptr if there is none, and the value may be ???.
  const Tree* find(const Tree& at, std::string_view name) {
    Tree* tree = &root_;
    for (const std::string& part : absolute(at, name)) {
      tree = step(*tree, part);
      if (!tree) return nullptr;
    }
    visit(*tree);
    require_resolved(*tree);
    return tree;
  }

  // The path of a.b, .b or ..b from the root. The name loses its leading dots.
  static std::vector<std::string> absolute(const Tree& at, std::string_view& name) {
    require(!name.empty(), at.where(), "an interpolation without a name: ", at.shown());
    std::vector<std::string> path;
    if (name.front() == '.') path = above(at, name);
    if (name.empty()) return path;
    try {
      for (std::string& part : split_path(name)) path.push_back(std::move(part));
    } catch (const Error& error) {
      fail(at.where(), error.what());
    }
    return path;
  }

  // The member or item, after the value itself is resolved; nullptr if there is none.
  Tree* step(Tree& tree, const std::string& part) {
    if (tree.is_string()) resolve(tree);
    require_resolved(tree);
    return child(tree, part);
  }

  // An error names the first reference of a chain that cannot be resolved.
  void require_resolved(const Tree& tree) const {
    const auto it = unresolved_.find(&tree);
    if (it == unresolved_.end()) return;
    if (it->second.elsewhere) throw it->second;
    throw NoTarget{"it refers to " + place_of(tree) + ", where " + it->second.reason, true};
  }

  // "max_seq_len (r.yaml:5)".
  static std::string place_of(const Tree& tree) { return tree.path() + " (" + tree.location() + ")"; }

  static Tree* child(Tree& tree, const std::string& part) {
    if (tree.is_map()) return tree.as_map().find(part);
    const bool digits = part.size() <= 9 && std::all_of(part.begin(), part.end(), [](char c) { return c >= '0' && c <= '9'; });
    if (!tree.is_list() || !digits) return nullptr;
    const size_t i = std::stoul(part);
    return i < tree.size() ? &tree.items()[i] : nullptr;
  }

  // Strips the leading dots: one means the map or list around the value, each further one goes up a level.
  static std::vector<std::string> above(const Tree& at, std::string_view& name) {
    std::vector<std::string> path;
    for (const Place* place = at.place().get(); place && place->parent; place = place->parent.get()) {
      path.push_back(place->key);
    }
    std::reverse(path.begin(), path.end());
    const std::string_view whole = name;
    while (!name.empty() && name.front() == '.') {
      require(!path.empty(), at.where(), "the interpolation ${", whole, "} goes above the file");
      path.pop_back();
      name.remove_prefix(1);
    }
    for (std::string& part : path) {
      if (part.size() > 2 && part.front() == '[') part = part.substr(1, part.size() - 2);
    }
    return path;
  }

  // A value that is copied to a second place counts against the limit.
  Tree copy_of(const Tree& at, Tree value) {
    values_ += count(value);
    require(values_ <= limits_.values, at.where(), "its interpolations make more than ", limits_.values, " values");
    bytes_ += text_bytes(value);
    require(bytes_ <= 8 * limits_.bytes, at.where(), "its interpolations make too much text");
    return value;
  }

  void check_length(const Tree& at, const std::string& text) {
    require(text.size() <= limits_.bytes / 8, at.where(), "its interpolations make a text of more than ", limits_.bytes / 8, " bytes");
  }

  static std::string python_text_at(const Tree& at, const Tree& value) {
    if (value.is_list() || value.is_map()) fail(at.where(), "cannot put ", value.shown(), " inside a text");
    return python_text(value);
  }

  static Tree resolve_at(const Tree& at, std::string_view text) {
    try {
      return resolve_yaml_scalar(text);
    } catch (const Error& error) {
      fail(at.where(), error.what());
    }
  }

  static size_t text_bytes(const Tree& tree) {
    size_t n = tree.is_string() ? tree.string().size() : 0;
    if (tree.is_list()) {
      for (const Tree& item : tree.items()) n += text_bytes(item);
    } else if (tree.is_map()) {
      for (const Tree::Member& member : tree.members()) n += member.key.size() + text_bytes(member.value);
    }
    return n;
  }

  static size_t count(const Tree& tree) {
    size_t n = 1;
    if (tree.is_list()) {
      for (const Tree& item : tree.items()) n += count(item);
    } else if (tree.is_map()) {
      for (const Tree::Member& member : tree.members()) n += count(member.value);
    }
    return n;
  }

  Tree& root_;
  const YamlLimits& limits_;
  size_t values_ = 0, bytes_ = 0;
  int nesting_ = 0;
  std::unordered_set<const Tree*> active_, done_;
  std::unordered_map<const Tree*, NoTarget> unresolved_;
};

}  // namespace

void resolve_interpolations(Tree& root, const YamlLimits& limits) { Resolver(root, limits).visit(root); }

}  // namespace m2bert::io
