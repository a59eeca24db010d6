#include "m2bert/io/yaml.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <sstream>

#include "m2bert/io/file.h"
#include "m2bert/io/utf8.h"
#include "m2bert/io/yaml_interpolation.h"
#include "m2bert/io/yaml_scalar.h"

namespace m2bert::io {
namespace {

using Source = std::shared_ptr<const std::string>;

// Builds a tree from yaml-cpp's events. yaml-cpp's own nodes have no limits, and merging aliases is quadratic with them.
class Builder : public YAML::EventHandler {
 public:
  Builder(Source source, const YamlLimits& limits) : source_(std::move(source)), limits_(limits) {}

  Tree take() { return std::move(root_); }

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override { put(mark, anchor, Tree(), 1); }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor, const std::string& value) override {
    if (awaits_key()) {
      take_key(mark, tag, anchor, value);
      return;
    }
    bytes_ += value.size();
    check_bytes(mark);
    if (tag == "?" || tag.empty()) put(mark, anchor, resolve(mark, value), 1);
    else put(mark, anchor, tagged(mark, tag, value), 1);
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    const auto found = anchors_.find(anchor);
    if (found == anchors_.end()) refuse(mark, "an alias is inside the value that it names");
    if (awaits_key()) {
      if (!found->second.tree.is_string()) refuse(mark, "wants a string as a key");
      take_key(mark, "!", 0, found->second.tree.string());
      return;
    }
    const Anchor& named = found->second;
    bytes_ += named.bytes;
    check_bytes(mark);
    put(mark, 0, named.tree, named.values);
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor, YAML::EmitterStyle::value) override {
    if (!tag.empty() && tag != "?" && tag != "!" && tag != "tag:yaml.org,2002:seq") refuse(mark, "unknown tag " + tag);
    open(mark, anchor, Tree::list());
  }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor, YAML::EmitterStyle::value) override {
    if (!tag.empty() && tag != "?" && tag != "!" && tag != "tag:yaml.org,2002:map") refuse(mark, "unknown tag " + tag);
    open(mark, anchor, Tree::map());
  }
  void OnSequenceEnd() override { close(); }
  void OnMapEnd() override {
    Level& level = levels_.back();
    if (!level.merges.empty()) {  // the map's own keys win, then the first of the merged maps
      level.merges.insert(level.merges.begin(), std::move(level.tree));
      level.tree = Tree::map();
      for (auto merged = level.merges.rbegin(); merged != level.merges.rend(); ++merged) {
        for (Tree::Member& member : merged->as_map().members()) level.tree.as_map().set(std::move(member.key), std::move(member.value));
      }
    }
    close();
  }

  [[noreturn]] void refuse(const YAML::Mark& mark, const std::string& what) const {
    fail(*source_, ":", mark.line + 1, ":", mark.column + 1, ": ", what);
  }

 private:
  struct Level {
    Tree tree;
    YAML::Mark mark;
    YAML::anchor_t anchor;
    size_t values_before, bytes_before;
    std::optional<std::string> key;
    YAML::Mark key_mark;
    bool merge = false;
    std::vector<Tree> merges;
  };
  struct Anchor {
    Tree tree;
    size_t values, bytes;
  };

  bool awaits_key() const { return !levels_.empty() && levels_.back().tree.is_map() && !levels_.back().key; }

  void take_key(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor, const std::string& value) {
    Level& level = levels_.back();
    level.key_mark = mark;
    if (value == "<<" && tag == "?") {
      level.merge = true;
      level.key = value;
      return;
    }
    if (level.tree.as_map().find(value)) refuse(mark, "duplicate key " + Tree(value).shown());
    bytes_ += value.size();
    check_bytes(mark);
    level.key = value;
    if (anchor) anchors_[anchor] = {Tree(value), 1, value.size()};
  }

  Tree resolve(const YAML::Mark& mark, const std::string& value) const {
    try {
      return resolve_yaml_scalar(value);
    } catch (const Error& error) {
      refuse(mark, error.what());
    }
  }

  Tree tagged(const YAML::Mark& mark, const std::string& tag, const std::string& value) const {
    static const std::string kStandard = "tag:yaml.org,2002:";
    if (tag == "!" || tag == kStandard + "str") return value;
    if (tag.rfind(kStandard, 0) != 0) refuse(mark, "unknown tag " + tag);
    const std::string kind = tag.substr(kStandard.size());
    Tree tree = resolve(mark, value);
    if (kind == "int" && tree.is_integer()) return tree;
    if (kind == "float" && tree.is_number()) return tree.number();
    if (kind == "bool" && tree.is_bool()) return tree;
    if (kind == "null" && tree.is_null()) return tree;
    refuse(mark, Tree(value).shown() + " does not fit the tag !!" + kind);
  }

  void check_bytes(const YAML::Mark& mark) const {
    if (bytes_ > 8 * limits_.bytes) refuse(mark, "its aliases expand to too much text");
  }

  void count(const YAML::Mark& mark, size_t values) {
    values_ += values;
    if (values_ > limits_.values) refuse(mark, "has more than " + std::to_string(limits_.values) + " values");
  }

  void open(const YAML::Mark& mark, YAML::anchor_t anchor, Tree tree) {
    if (awaits_key()) refuse(mark, "wants a string as a key, not a list or a map");
    if (levels_.size() >= static_cast<size_t>(limits_.depth))
      refuse(mark, "is nested more than " + std::to_string(limits_.depth) + " deep");
    // The place of a block map is that of its key, not of its own first key.
    const YAML::Mark& begin = !levels_.empty() && levels_.back().key ? levels_.back().key_mark : mark;
    levels_.push_back({std::move(tree), begin, anchor, values_, bytes_, std::nullopt, {}, false, {}});
  }

  void close() {
    Level level = std::move(levels_.back());
    levels_.pop_back();
    const size_t inside = values_ - level.values_before;
    values_ = level.values_before;  // put() counts all of it again
    if (level.anchor) {
      place(level.tree, level.mark);
      anchors_[level.anchor] = {level.tree, inside + 1, bytes_ - level.bytes_before};
    }
    put(level.mark, 0, std::move(level.tree), inside + 1);
  }

  void place(Tree& tree, const YAML::Mark& mark) const {
    auto place = std::make_shared<Place>();
    place->source = source_;
    place->line = mark.line + 1;
    place->column = mark.column + 1;
    tree.set_place(std::move(place));
  }

  void put(const YAML::Mark& mark, YAML::anchor_t anchor, Tree tree, size_t values) {
    if (awaits_key()) refuse(mark, "wants a string as a key, got " + tree.shown());
    if (levels_.size() + depth_of(tree, limits_.depth) > static_cast<size_t>(limits_.depth)) {
      refuse(mark, "is nested more than " + std::to_string(limits_.depth) + " deep");
    }
    count(mark, values);
    place(tree, mark);
    if (anchor) anchors_[anchor] = {tree, values, tree.is_string() ? tree.string().size() : 0};
    if (levels_.empty()) {
      root_ = std::move(tree);
    } else if (Level& level = levels_.back(); level.tree.is_list()) {
      level.tree.push_back(std::move(tree));
    } else if (level.merge) {
      take_merge(mark, level, std::move(tree));
    } else {
      level.tree.as_map().add(std::move(*level.key), std::move(tree));
      level.key.reset();
    }
  }

  void take_merge(const YAML::Mark& mark, Level& level, Tree tree) const {
    std::vector<Tree> maps;
    if (tree.is_list()) maps = std::move(tree.items());
    else maps.push_back(std::move(tree));
    for (Tree& map : maps) {
      if (!map.is_map()) refuse(mark, "<< wants a map or a list of maps, got " + map.shown());
      level.merges.push_back(std::move(map));
    }
    level.merge = false;
    level.key.reset();
  }

  // Only an alias adds a tree that is nested already.
  static size_t depth_of(const Tree& tree, int limit) {
    if (limit < 0) return 0;
    size_t deepest = 0;
    if (tree.is_list()) {
      for (const Tree& item : tree.items()) deepest = std::max(deepest, 1 + depth_of(item, limit - 1));
    } else if (tree.is_map()) {
      for (const Tree::Member& member : tree.members()) deepest = std::max(deepest, 1 + depth_of(member.value, limit - 1));
    }
    return deepest;
  }

  Source source_;
  const YamlLimits& limits_;
  std::vector<Level> levels_;
  std::unordered_map<YAML::anchor_t, Anchor> anchors_;
  size_t values_ = 0, bytes_ = 0;
  Tree root_;
};

// PyYAML's rule: UTF-8 without control characters. yaml-cpp would treat byte 4 as the end of the text.
void check_characters(std::string_view text, const std::string& name) {
  const auto line_of = [&](size_t at) { return 1 + std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(at), '\n'); };
  if (auto at = find_invalid_utf8(text)) fail(name, ":", line_of(*at), ": is not UTF-8");
  for (size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    if ((c < 0x20 && c != '\t' && c != '\n' && c != '\r') || c == 0x7F) fail(name, ":", line_of(i), ": has the control character ", int{c});
  }
}

Tree parse_document(std::string_view text, const Source& source, const YamlLimits& limits) {
  require(text.size() <= limits.bytes, *source, ": has ", text.size(), " bytes, at most ", limits.bytes, " are read");
  if (text.substr(0, 3) == "\xEF\xBB\xBF") text.remove_prefix(3);
  check_characters(text, *source);
  Builder builder(source, limits);
  try {
    std::istringstream stream{std::string(text)};
    YAML::Parser parser(stream);
    Tree root;
    if (parser.HandleNextDocument(builder)) root = builder.take();
    Builder second(source, limits);
    require(!parser.HandleNextDocument(second), *source, ": holds more than one document");
    return root;
  } catch (const YAML::Exception& error) {
    if (error.mark.is_null()) fail(*source, ": ", error.msg);
    builder.refuse(error.mark, error.msg);
  }
}

// Sets every value's parent and key.
void link(Tree& tree, std::shared_ptr<const Place> parent, std::string key) {
  auto place = std::make_shared<Place>();
  if (tree.place()) *place = *tree.place();
  place->parent = std::move(parent);
  place->key = std::move(key);
  tree.set_place(place);
  if (tree.is_list()) {
    for (size_t i = 0; i < tree.size(); ++i) link(tree.items()[i], place, list_key(i));
  } else if (tree.is_map()) {
    for (Tree::Member& member : tree.as_map().members()) link(member.value, place, member.key);
  }
}

void place_all(Tree& tree, const std::shared_ptr<const Place>& place) {
  tree.set_place(place);
  if (tree.is_list()) {
    for (Tree& item : tree.items()) place_all(item, place);
  } else if (tree.is_map()) {
    for (Tree::Member& member : tree.as_map().members()) place_all(member.value, place);
  }
}

// Maps are merged key by key, everything else is replaced.
void merge(Tree& into, Tree value) {
  if (!into.is_map() || !value.is_map()) {
    into = std::move(value);
    return;
  }
  for (Tree::Member& member : value.as_map().members()) {
    if (Tree* old = into.as_map().find(member.key)) merge(*old, std::move(member.value));
    else into.as_map().add(std::move(member.key), std::move(member.value));
  }
}

Tree& child_for(Tree& tree, const std::string& key, const std::string& override, const std::shared_ptr<const Place>& place) {
  if (tree.is_null() || tree.kind() == Tree::Kind::missing) {
    tree = Tree::map();
    tree.set_place(place);
  }
  if (tree.is_list()) {
    const bool digits = key.size() <= 9 && std::all_of(key.begin(), key.end(), [](char c) { return c >= '0' && c <= '9'; });
    const size_t i = digits ? std::stoul(key) : tree.size();
    require(i < tree.size(), "override ", override, ": the list has ", tree.size(), " items, there is no item ", key);
    return tree.items()[i];
  }
  require(tree.is_map(), "override ", override, ": the value above \"", key, "\" is ", tree.shown(), ", not a map");
  tree.as_map().add(key, Tree());
  return *tree.as_map().find(key);
}

void apply_override(Tree& root, const std::string& override, const YamlLimits& limits) {
  const size_t equals = override.find('=');
  require(equals != std::string::npos && equals > 0, "override \"", override, "\": wants key.path=value");
  auto source = std::make_shared<const std::string>("override " + override);
  Tree value = parse_document(std::string_view(override).substr(equals + 1), source, limits);
  auto place = std::make_shared<Place>();
  place->source = source;
  place_all(value, place);
  std::vector<std::string> parts;
  try {
    parts = split_path(std::string_view(override).substr(0, equals));
  } catch (const Error& error) {
    fail("override \"", override, "\": ", error.what());
  }
  require(parts.size() <= static_cast<size_t>(limits.depth), "override \"", override, "\": is nested too deep");
  Tree* at = &root;
  for (const std::string& part : parts) at = &child_for(*at, part, override, place);
  merge(*at, std::move(value));
}

}  // namespace

Tree parse_yaml(std::string_view text, const std::string& name, const std::vector<std::string>& overrides, const YamlLimits& limits) {
  auto source = std::make_shared<const std::string>(name);
  Tree root = parse_document(text, source, limits);
  if (root.is_null()) {
    root = Tree::map();
    auto place = std::make_shared<Place>();
    place->source = source;
    root.set_place(std::move(place));
  }
  require(root.is_map() || root.is_list(), name, ": wants keys and values, got ", root.shown());
  for (const std::string& override : overrides) apply_override(root, override, limits);
  link(root, nullptr, "");
  resolve_interpolations(root, limits);
  return root;
}

Tree read_yaml(const std::filesystem::path& file, const std::vector<std::string>& overrides, const YamlLimits& limits) {
  return parse_yaml(read_file(file, limits.bytes), file.string(), overrides, limits);
}

}  // namespace m2bert::io
