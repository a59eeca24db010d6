#include "m2bert/tokenize/tokenizer_json.h"

#include "m2bert/error.h"
#include "m2bert/io/json.h"

#include <algorithm>
#include <initializer_list>
#include <optional>

namespace m2bert::tokenize {
namespace {

using io::Tree;

bool given(const Tree* tree) { return tree && !tree->is_null(); }

std::string type_of(const Tree& component) { return component.get<std::string>("type", ""); }

void require_type(const Tree& component, std::initializer_list<const char*> types) {
  std::string list;
  for (const char* type : types) {
    if (type_of(component) == type) return;
    if (!list.empty()) list += " or ";
    list += type;
  }
  fail(component.where(), "the type is '", type_of(component), "', but only ", list, " is supported: this is not a BERT tokenizer");
}

// Refuses members that no version of the tokenizers package writes: they could change ids.
void require_keys(const Tree& component, std::initializer_list<const char*> keys) {
  for (const auto& [key, value] : component.members()) {
    const bool known = std::any_of(keys.begin(), keys.end(), [&](const char* name) { return key == name; });
    require(known || value.is_null(), value.where(), "this field is not supported");
  }
}

NormalizerOptions read_bert_normalizer(const Tree& tree) {
  require_keys(tree, {"type", "clean_text", "handle_chinese_chars", "lowercase", "strip_accents"});
  NormalizerOptions out;
  out.clean_text = tree.get("clean_text", true);
  out.split_chinese = tree.get("handle_chinese_chars", true);
  out.lowercase = tree.get("lowercase", true);
  out.strip_accents = tree.get("strip_accents", out.lowercase);
  return out;
}

// BertNormalizer, also in a Sequence with Lowercase, which sentence-transformers writes for its do_lower_case.
void read_normalizer(const Tree* tree, ModelParts& parts) {
  parts.normalizer = {false, false, false, false};
  if (!given(tree)) return;
  if (type_of(*tree) != "Sequence") {
    require_type(*tree, {"BertNormalizer"});
    parts.normalizer = read_bert_normalizer(*tree);
    return;
  }
  int berts = 0;
  for (const Tree& part : tree->at("normalizers").items()) {
    require_type(part, {"BertNormalizer", "Lowercase"});
    if (type_of(part) == "Lowercase") parts.lowercase_first = true;
    else parts.normalizer = read_bert_normalizer(part), ++berts;
  }
  require(berts == 1, tree->where(), "wants one BertNormalizer, got ", berts);
  parts.normalizer.lowercase |= parts.lowercase_first;
}

void read_decoder(const Tree* tree, ModelParts& parts) {
  if (!given(tree)) {
    parts.decoder_prefix.reset();
    parts.cleanup = false;
    return;
  }
  require_type(*tree, {"WordPiece"});
  parts.decoder_prefix = tree->get<std::string>("prefix", "##");
  parts.cleanup = tree->get("cleanup", true);
}

// "[CLS]:0", "A:0", "[SEP]:0": the template's shape with its special tokens' names.
std::vector<std::string> template_items(const Tree& list) {
  std::vector<std::string> out;
  for (const Tree& item : list.items()) {
    const Tree* part = item.find("SpecialToken");
    if (!part) part = &item.at("Sequence");
    std::string text = part->at("id").string();
    text += ':';
    text += std::to_string(part->at("type_id").integer());
    out.push_back(std::move(text));
  }
  return out;
}

void require_special_id(const Tree& tree, const std::string& token, const ModelParts& parts) {
  const auto& ids = tree.at("special_tokens").at(token).at("ids");
  require(ids.size() == 1, ids.where(), "wants one id, got ", ids.size());
  const int64_t id = ids.items()[0].integer();
  for (const auto& [known, known_id] : parts.vocabulary) {
    if (known == token) require(known_id == id, ids.where(), "says ", id, ", but the vocabulary says ", known_id);
  }
}

void read_template(const Tree& tree, ModelParts& parts) {
  const auto single = template_items(tree.at("single")), pair = template_items(tree.at("pair"));
  require(single.size() == 3 && single[1] == "A:0" && single[0].ends_with(":0") && single[2].ends_with(":0"), tree.at("single").where(),
          "wants [CLS]:0 A:0 [SEP]:0, as BERT has it");
  parts.cls = single[0].substr(0, single[0].size() - 2);
  parts.sep = single[2].substr(0, single[2].size() - 2);
  const bool as_bert = pair.size() == 5 && pair[0] == single[0] && pair[1] == "A:0" && pair[2] == single[2] && pair[3] == "B:1" &&
                       pair[4] == parts.sep + ":1";
  require(as_bert, tree.at("pair").where(), "wants [CLS]:0 A:0 [SEP]:0 B:1 [SEP]:1, as BERT has it");
  require_special_id(tree, parts.cls, parts);
  require_special_id(tree, parts.sep, parts);
}

void read_post_processor(const Tree* tree, ModelParts& parts) {
  parts.has_template = given(tree);
  if (!given(tree)) return;
  require_type(*tree, {"TemplateProcessing", "BertProcessing"});
  if (type_of(*tree) == "TemplateProcessing") {
    read_template(*tree, parts);
    return;
  }
  parts.cls = tree->at("cls").items().at(0).string();
  parts.sep = tree->at("sep").items().at(0).string();
}

void read_truncation(const Tree* tree, FileSettings& settings) {
  if (!given(tree)) return;
  settings.max_length = tree->at("max_length").as<size_t>();
  const auto side = tree->get<std::string>("direction", "Right"), strategy = tree->get<std::string>("strategy", "LongestFirst");
  require(side == "Right" || side == "Left", tree->where(), "direction is '", side, "', wants Right or Left");
  settings.truncation_side = side == "Left" ? TruncationSide::left : TruncationSide::right;
  require(strategy == "LongestFirst" || strategy == "OnlyFirst" || strategy == "OnlySecond", tree->where(), "strategy is '", strategy,
          "', wants LongestFirst, OnlyFirst or OnlySecond");
  settings.truncation = strategy == "OnlyFirst"    ? Truncation::only_first
                        : strategy == "OnlySecond" ? Truncation::only_second
                                                   : Truncation::longest_first;
}

void read_padding(const Tree* tree, ModelParts& parts) {
  if (!given(tree)) return;
  FileSettings& settings = parts.settings;
  settings.pads = true;
  const Tree& strategy = tree->at("strategy");
  if (strategy.is_map()) settings.pad_to = strategy.at("Fixed").as<size_t>();
  else require(strategy.string() == "BatchLongest", strategy.where(), "is '", strategy.string(), "', wants BatchLongest or Fixed");
  const auto side = tree->get<std::string>("direction", "Right");
  require(side == "Right" || side == "Left", tree->where(), "direction is '", side, "', wants Right or Left");
  settings.padding_side = side == "Left" ? PaddingSide::left : PaddingSide::right;
  settings.pad_to_multiple_of = tree->get_optional<size_t>("pad_to_multiple_of");
  parts.pad = tree->get<std::string>("pad_token", parts.pad);
  if (const Tree* type = tree->find("pad_type_id"); given(type))
    require(type->integer() == 0, type->where(), "is ", type->integer(), "; only 0 is supported");
}

void read_model(const Tree& tree, ModelParts& parts) {
  if (tree.contains("type")) require_type(tree, {"WordPiece"});
  require_keys(tree, {"type", "unk_token", "continuing_subword_prefix", "max_input_chars_per_word", "vocab"});
  parts.unk = tree.get<std::string>("unk_token", parts.unk);
  parts.prefix = tree.get<std::string>("continuing_subword_prefix", parts.prefix);
  parts.max_word_chars = tree.get<size_t>("max_input_chars_per_word", parts.max_word_chars);
  const auto& members = tree.at("vocab").members();
  parts.vocabulary.reserve(members.size());
  for (const auto& [token, id] : members) parts.vocabulary.emplace_back(token, static_cast<int32_t>(id.integer(0, Vocabulary::max_id)));
}

}  // namespace

std::string token_content(const Tree& token) { return token.is_map() ? token.at("content").string() : token.string(); }

AddedToken added_token(const Tree& flags, int32_t id) {
  AddedToken out;
  out.content = flags.at("content").string();
  out.id = id;
  out.special = flags.get("special", false);
  out.normalized = flags.get("normalized", !out.special);
  out.single_word = flags.get("single_word", false);
  out.lstrip = flags.get("lstrip", false);
  out.rstrip = flags.get("rstrip", false);
  return out;
}

ModelParts parse_tokenizer_json(std::string_view text, const std::string& name) {
  const auto tree = std::make_shared<Tree>(io::parse_json(text, name));
  ModelParts parts;
  parts.name = name;
  parts.owner = tree;
  read_model(tree->at("model"), parts);
  read_normalizer(tree->find("normalizer"), parts);
  require(given(tree->find("pre_tokenizer")), name, ": pre_tokenizer is absent, wants BertPreTokenizer");
  require_type(tree->at("pre_tokenizer"), {"BertPreTokenizer"});
  read_post_processor(tree->find("post_processor"), parts);
  read_decoder(tree->find("decoder"), parts);
  read_truncation(tree->find("truncation"), parts.settings);
  read_padding(tree->find("padding"), parts);
  if (const Tree* added = tree->find("added_tokens"); given(added)) {
    for (const Tree& token : added->items()) {
      parts.added.push_back(added_token(token, static_cast<int32_t>(token.at("id").integer(0, Vocabulary::max_id))));
    }
  }
  return parts;
}

}  // namespace m2bert::tokenize
