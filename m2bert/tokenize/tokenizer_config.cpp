#include "m2bert/tokenize/tokenizer_config.h"

#include "m2bert/error.h"
#include "m2bert/io/json.h"
#include "m2bert/io/log.h"
#include "m2bert/tokenize/model_max_length.h"
#include "m2bert/tokenize/tokenizer_json.h"

#include <algorithm>
#include <array>
#include <map>
#include <string_view>
#include <unordered_map>

namespace m2bert::tokenize {
namespace {

namespace fs = std::filesystem;
using io::Tree;

// Fields of tokenizer_config.json without effect on the ids of a BERT tokenizer. tests/parity/test_tokenizer_folders.py sets each of them
// and compares the ids with those of Transformers.
struct Harmless {
  std::string_view key, reason;
};
constexpr Harmless harmless[] = {
    {"add_bos_token", "only for tokenizers without a template"},
    {"add_eos_token", "only for tokenizers without a template"},
    {"add_prefix_space", "only for byte-level tokenizers"},
    {"backend", "names the package"},
    {"chat_control_tokens", "for chats"},
    {"chat_template", "for chats"},
    {"clean_text", "fast tokenizers always clean"},
    {"clean_up_tokenization_spaces", "for decoding"},
    {"device_map", "for loading"},
    {"do_basic_tokenize", "only for slow tokenizers"},
    {"errors", "only for byte-level tokenizers"},
    {"files_loaded", "a record"},
    {"fix_mistral_regex", "only for other tokenizers"},
    {"from_slow", "for loading"},
    {"init_inputs", "a record"},
    {"is_local", "a record"},
    {"legacy", "only for SentencePiece"},
    {"local_files_only", "for loading"},
    {"max_length", "callers choose"},
    {"name_or_path", "a record"},
    {"never_split", "only for slow tokenizers"},
    {"pad_to_multiple_of", "callers choose"},
    {"processor_class", "a record"},
    {"response_schema", "for chats"},
    {"response_template", "for chats"},
    {"return_token_type_ids", "all zero for single texts"},
    {"special_tokens_map_file", "a record"},
    {"stride", "only for overflowing tokens"},
    {"tokenizer_file", "a record"},
    {"trim_offsets", "only for byte-level tokenizers"},
    {"truncation_strategy", "only for pairs"},
    {"unk_token_id", "follows from unk_token"},
    {"use_fast", "for loading"},
    {"verbose", "for logging"},
    {"vocab_file", "a record"},
    {"wordpieces_prefix", "only for training a tokenizer"},
};

constexpr std::string_view applied[] = {"added_tokens_decoder",
                                        "additional_special_tokens",
                                        "auto_map",
                                        "do_lower_case",
                                        "extra_special_tokens",
                                        "max_len",
                                        "model_input_names",
                                        "model_max_length",
                                        "model_specific_special_tokens",
                                        "pad_token_type_id",
                                        "padding_side",
                                        "split_special_tokens",
                                        "strip_accents",
                                        "tokenize_chinese_chars",
                                        "tokenizer_class",
                                        "truncation_side"};

// In the order in which Transformers gives new ids to those that the vocabulary lacks.
constexpr std::string_view special_names[] = {"bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"};

bool given(const Tree* value) { return value && !value->is_null(); }

template <class Range>
bool holds(const Range& range, std::string_view key) {
  return std::find(std::begin(range), std::end(range), key) != std::end(range);
}

// How the class of a tokenizer treats tokenizer.json.
enum class Class {
  bert,     // normalizer options come from tokenizer_config.json, with BERT's defaults
  backend,  // everything comes from tokenizer.json
  unknown   // no file names a class
};

Class class_named(std::string name, const Tree& where) {
  if (name.ends_with("Fast")) name.resize(name.size() - 4);
  for (const char* bert :
       {"BertTokenizer", "DistilBertTokenizer", "ElectraTokenizer", "MobileBertTokenizer", "SqueezeBertTokenizer", "ConvBertTokenizer",
        "RetriBertTokenizer", "LxmertTokenizer", "DPRContextEncoderTokenizer", "DPRQuestionEncoderTokenizer"}) {
    if (name == bert) return Class::bert;
  }
  if (name == "PreTrainedTokenizer" || name == "TokenizersBackend") return Class::backend;
  fail(where.where(), "tokenizer_class is '", name, "': only BERT's WordPiece is supported");
}

// The class that AutoTokenizer takes.
Class class_of(const fs::path& folder, const Tree& config) {
  if (const Tree* name = config.find("tokenizer_class"); given(name)) return class_named(name->string(), config);
  if (!fs::is_regular_file(folder / "config.json")) return Class::unknown;
  const Tree model = io::read_json(folder / "config.json");
  if (const Tree* name = model.find("tokenizer_class"); given(name)) return class_named(name->string(), model);
  const auto type = model.get<std::string>("model_type", "");
  for (const char* bert : {"bert", "distilbert", "electra", "mobilebert", "squeezebert", "convbert", "lxmert", "dpr"}) {
    if (type == bert) return Class::bert;
  }
  return Class::unknown;
}

void require_supported(const Tree& config) {
  if (const Tree* map = config.find("auto_map"); map && map->contains("AutoTokenizer"))
    fail(map->where(), "names a tokenizer class of the folder's own code, which is not supported");
  if (const Tree* names = config.find("model_input_names"); given(names)) {
    const bool mask = std::ranges::any_of(names->items(), [](const Tree& name) { return name.string() == "attention_mask"; });
    require(mask, names->where(), "lacks attention_mask: models are never run without it");
  }
  if (const Tree* id = config.find("pad_token_type_id"); given(id))
    require(id->integer() == 0, id->where(), "is ", id->integer(), "; only 0 is supported");
}

void check_keys(const Tree& config) {
  std::string unknown;
  for (const auto& [key, value] : config.members()) {
    const bool known = holds(applied, key) || holds(special_names, key) ||
                       std::ranges::any_of(harmless, [&](const Harmless& field) { return field.key == key; });
    if (known || key.starts_with("_") || value.is_null()) continue;
    require(!key.ends_with("_token") || !(value.is_string() || value.is_map()), value.where(),
            "BERT has no such token, and versions of Transformers disagree on it. List it in extra_special_tokens, or remove it");
    unknown += (unknown.empty() ? "" : ", ") + key;
  }
  if (!unknown.empty()) io::warn(config.location(), ": unknown tokenizer fields, ignored: ", unknown);
}

// What only version 4 of Transformers applies for BERT's classes: version 5 builds the tokenizer anew.
void warn_if_versions_differ(const ModelParts& parts, const std::string& what) {
  io::warn(parts.name, ": ", what, ", which Transformers 5 ignores for BERT's classes. It is applied, as Transformers 4 does");
}

void warn_of_json_settings(const ModelParts& parts) {
  const auto check = [&](bool differs, const char* what) {
    if (differs) warn_if_versions_differ(parts, what);
  };
  check(!parts.normalizer.clean_text, "clean_text is false");
  check(parts.max_word_chars != 100, "max_input_chars_per_word is not 100");
  check(parts.prefix != "##", "continuing_subword_prefix is not ##");
  check(!parts.has_template, "there is no post_processor");
}

void apply_normalizer(const Tree& config, Class kind, bool from_json, ModelParts& parts) {
  if (kind == Class::backend && from_json) return;
  NormalizerOptions& normalizer = parts.normalizer;
  const NormalizerOptions before = normalizer;
  // A tokenizer.json of no known class keeps what tokenizer_config.json does not state.
  const bool defaults = kind != Class::unknown || !from_json;
  const auto lowercase = config.get_optional<bool>("do_lower_case"), strip = config.get_optional<bool>("strip_accents"),
             chinese = config.get_optional<bool>("tokenize_chinese_chars");
  if (lowercase || defaults) normalizer.lowercase = normalizer.strip_accents = lowercase.value_or(true);
  if (strip) normalizer.strip_accents = *strip;
  if (chinese || defaults) normalizer.split_chinese = chinese.value_or(true);
  if (parts.lowercase_first) normalizer.lowercase = true;
  const bool silent_change = (!lowercase && before.lowercase != normalizer.lowercase) ||
                             (!strip && !lowercase && before.strip_accents != normalizer.strip_accents) ||
                             (!chinese && before.split_chinese != normalizer.split_chinese);
  if (from_json && silent_change)
    io::warn(parts.name,
             ": the normalizer is not BERT's, and tokenizer_config.json does not state do_lower_case, strip_accents or "
             "tokenize_chinese_chars. BERT's defaults apply, as in Transformers");
}

// Adds tokens with the id of the vocabulary, or the next new one.
class Adder {
 public:
  explicit Adder(ModelParts& parts) : parts_(parts) {}

  // A token that is there keeps its flags.
  void add(AddedToken token) {
    if (token.content.empty() || is_added(token.content)) return;
    token.id = id_for(token.content);
    next_ = std::max(next_, token.id + 1);
    parts_.added.push_back(std::move(token));
  }

  // `id` is what the file says.
  void add(AddedToken token, int32_t id, const Tree& where) {
    if (is_added(token.content)) return;
    const int32_t wanted = id_for(token.content);
    require(id == wanted, where.where(), "token '", token.content, "' has id ", id, ", but ",
            wanted == next_ ? "the next free id" : "its id", " is ", wanted);
    add(std::move(token));
  }

 private:
  bool is_added(const std::string& content) const {
    return std::ranges::any_of(parts_.added, [&](const AddedToken& known) { return known.content == content; });
  }

  int32_t id_for(const std::string& content) {
    if (ids_.empty()) read_ids();
    const auto known = ids_.find(content);
    return known == ids_.end() ? next_ : known->second;
  }

  // Most folders add no token that their tokenizer.json lacks, and need no ids.
  void read_ids() {
    ids_.reserve(parts_.vocabulary.size());
    for (const auto& [token, id] : parts_.vocabulary) ids_.emplace(token, id), next_ = std::max(next_, id + 1);
    for (const AddedToken& token : parts_.added) next_ = std::max(next_, token.id + 1);
  }

  ModelParts& parts_;
  std::unordered_map<std::string_view, int32_t> ids_;  // of the vocabulary
  int32_t next_ = 0;                                   // the first free id
};

int32_t id_of(const std::string& key, const Tree& where) {
  const bool number = !key.empty() && key.size() < 8 && key.find_first_not_of("0123456789") == std::string::npos;
  require(number, where.where(), "the key '", key, "' is not an id");
  return std::stoi(key);
}

AddedToken special_token(const Tree& value) {
  AddedToken token;
  if (value.is_map()) token = added_token(value, -1);
  else token.content = value.string();
  token.special = true;
  return token;
}

// The special tokens by name, and those without a name of BERT's. A later file overrides an earlier one.
struct SpecialTokens {
  std::map<std::string, const Tree*, std::less<>> named;
  std::vector<const Tree*> extra;

  void read(const Tree& file) {
    for (std::string_view name : special_names) {
      if (const Tree* token = file.find(name); given(token)) named[std::string(name)] = token;
    }
    for (const char* key : {"additional_special_tokens", "extra_special_tokens", "model_specific_special_tokens"}) {
      const Tree* tokens = file.find(key);
      if (!given(tokens)) continue;
      std::vector<const Tree*> list;
      if (tokens->is_map()) {
        for (const auto& [name, token] : tokens->members()) list.push_back(&token);
      } else {
        for (const Tree& token : tokens->items()) list.push_back(&token);
      }
      if (!list.empty()) extra = std::move(list);
    }
  }

  bool holds(const std::string& content) const {
    const auto same = [&](const Tree* token) { return token_content(*token) == content; };
    return std::ranges::any_of(named, [&](const auto& token) { return same(token.second); }) || std::ranges::any_of(extra, same);
  }
};

void apply_names(const SpecialTokens& special, bool from_json, ModelParts& parts) {
  const std::array<std::pair<const char*, std::string*>, 5> names = {{{"unk_token", &parts.unk},
                                                                      {"cls_token", &parts.cls},
                                                                      {"sep_token", &parts.sep},
                                                                      {"pad_token", &parts.pad},
                                                                      {"mask_token", &parts.mask}}};
  for (const auto& [key, name] : names) {
    const auto token = special.named.find(key);
    if (token == special.named.end()) continue;
    const std::string content = token_content(*token->second);
    const bool in_json = from_json && (name == &parts.unk || (parts.has_template && (name == &parts.cls || name == &parts.sep)));
    require(!in_json || content == *name, token->second->where(), "is '", content, "', but tokenizer.json has '", *name,
            "', and versions of Transformers disagree on which counts. Make the files agree");
    *name = content;
  }
}

void add_tokens_with_ids(const fs::path& folder, const Tree& config, const SpecialTokens& special, bool from_json, ModelParts& parts,
                         Adder& adder) {
  if (const Tree* decoder = config.find("added_tokens_decoder"); given(decoder)) {
    std::map<int32_t, const Tree*> by_id;
    for (const auto& [key, flags] : decoder->members()) by_id.emplace(id_of(key, flags), &flags);
    if (from_json && std::ranges::any_of(parts.added, [&](const AddedToken& token) { return !by_id.contains(token.id); }))
      warn_if_versions_differ(parts, "it has added tokens that tokenizer_config.json lacks");
    for (const auto& [id, flags] : by_id) adder.add(added_token(*flags, id), id, *flags);
    return;
  }
  if (!fs::is_regular_file(folder / "added_tokens.json")) return;
  const Tree file = io::read_json(folder / "added_tokens.json");
  std::map<int64_t, const Tree::Member*> by_id;
  for (const auto& member : file.members()) by_id.emplace(member.value.integer(0, Vocabulary::max_id), &member);
  for (const auto& [id, member] : by_id) {
    AddedToken token;
    token.content = member->key;
    token.special = special.holds(member->key);
    token.normalized = !token.special;
    adder.add(std::move(token), static_cast<int32_t>(id), member->value);
  }
}

void apply_tokens(const fs::path& folder, const Tree& config, bool from_json, ModelParts& parts) {
  Tree map = Tree::map();
  SpecialTokens special;
  special.read(config);
  // Without added_tokens_decoder, these files count, as older versions of Transformers wrote them.
  if (!given(config.find("added_tokens_decoder")) && fs::is_regular_file(folder / "special_tokens_map.json")) {
    map = io::read_json(folder / "special_tokens_map.json");
    special.read(map);
  }
  apply_names(special, from_json, parts);
  Adder adder(parts);
  add_tokens_with_ids(folder, config, special, from_json, parts, adder);
  for (std::string_view name : special_names) {
    if (const auto token = special.named.find(name); token != special.named.end()) adder.add(special_token(*token->second));
  }
  for (const Tree* token : special.extra) adder.add(special_token(*token));
}

bool is_left(const Tree& side) {
  if (side.string() != "left" && side.string() != "right") side.wants("left or right");
  return side.string() == "left";
}

std::optional<size_t> limit_of(const Tree& config) {
  std::optional<size_t> limit;
  for (const char* key : {"max_len", "model_max_length"}) {
    const double longest = config.get(key, 0.0);
    if (longest >= 1 && longest < 1e9) limit = static_cast<size_t>(longest);  // Transformers writes 1e30 where the model has none
  }
  return limit;
}

void apply_settings(const Tree& config, FileSettings& settings) {
  settings.model_max_length = limit_of(config);
  if (const Tree* side = config.find("truncation_side"); given(side))
    settings.truncation_side = is_left(*side) ? TruncationSide::left : TruncationSide::right;
  if (const Tree* side = config.find("padding_side"); given(side))
    settings.padding_side = is_left(*side) ? PaddingSide::left : PaddingSide::right;
}

}  // namespace

std::optional<size_t> model_max_length(const std::vector<fs::path>& folders) {
  std::optional<size_t> limit;
  for (const fs::path& folder : folders) {
    const fs::path file = folder / "tokenizer_config.json";
    if (!limit && fs::is_regular_file(file)) limit = limit_of(io::read_json(file));
  }
  return limit;
}

void apply_folder_files(const fs::path& folder, bool from_json, ModelParts& parts) {
  const fs::path file = folder / "tokenizer_config.json";
  const bool has_config = fs::is_regular_file(file);
  const Tree config = has_config ? io::read_json(file) : Tree::map();
  require_supported(config);
  check_keys(config);
  const Class kind = class_of(folder, config);
  apply_normalizer(config, kind, from_json, parts);
  apply_tokens(folder, config, from_json, parts);
  if (from_json && kind == Class::bert) warn_of_json_settings(parts);
  parts.split_special_tokens = config.get("split_special_tokens", false);
  apply_settings(config, parts.settings);
}

}  // namespace m2bert::tokenize
