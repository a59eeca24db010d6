#include "m2bert/serve/text_fields.h"

#include <algorithm>
#include <cctype>

namespace m2bert::serve {
namespace {

Input ids_of(const std::vector<io::Tree>& items) {
  Input input;
  input.is_ids = true;
  for (const io::Tree& id : items) input.ids.push_back(id.as<int32_t>());
  return input;
}

std::vector<infer::Span> spans_of(const io::Tree& list) {
  std::vector<infer::Span> spans;
  for (const io::Tree& span : list.items()) {
    if (span.items().size() != 2) span.wants("[begin, end]");
    spans.push_back({span.items()[0].as<uint64_t>(), span.items()[1].as<uint64_t>()});
  }
  return spans;
}

// [[0, 3], [3, 9]] is one input's, [[[0, 3]], [[0, 4]]] that of two.
std::vector<std::vector<infer::Span>> spans_of_inputs(const io::Tree& list, size_t inputs) {
  const bool flat = inputs == 1 && !list.items().empty() && list.items().front().is_list() && !list.items().front().items().empty() &&
                    list.items().front().items().front().is_integer();
  if (flat) return {spans_of(list)};
  std::vector<std::vector<infer::Span>> spans;
  for (const io::Tree& of_input : list.items()) spans.push_back(spans_of(of_input));
  return spans;
}

}  // namespace

const io::Tree& field_of(const io::Tree& body, const char* name) {
  const io::Tree* value = body.find(name);
  if (!value) throw ApiError(ErrorKind::invalid, std::string("the field \"") + name + "\" is missing", name);
  return *value;
}

const io::Tree* given(const io::Tree& body, const char* name) {
  const io::Tree* value = body.find(name);
  return value && !value->is_null() ? value : nullptr;
}

std::vector<Input> inputs_of(const io::Tree& field, const std::string& param, bool* single) {
  if (single) *single = field.is_string();
  std::vector<Input> inputs;
  if (field.is_string()) {
    inputs.push_back({field.string(), std::nullopt, {}, false});
    return inputs;
  }
  if (!field.is_list())
    throw ApiError(ErrorKind::invalid, param + " wants a text, a list of texts, or a list of lists of token ids", param);
  const auto& items = field.items();
  if (!items.empty() && items.front().is_integer()) {
    if (single) *single = true;
    inputs.push_back(ids_of(items));
    return inputs;
  }
  for (const io::Tree& item : items) {
    if (item.is_string()) inputs.push_back({item.string(), std::nullopt, {}, false});
    else if (item.is_list()) inputs.push_back(ids_of(item.items()));
    else throw ApiError(ErrorKind::invalid, param + "[" + std::to_string(inputs.size()) + "] wants a text or a list of token ids", param);
  }
  return inputs;
}

tokenize::TruncationSide side_named(const std::string& name, const std::string& param) {
  std::string lower = name;
  std::ranges::transform(lower, lower.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  if (lower == "left" || lower == "start") return tokenize::TruncationSide::left;
  if (lower == "right" || lower == "end") return tokenize::TruncationSide::right;
  throw ApiError(ErrorKind::invalid, param + " wants \"left\" or \"right\", not \"" + name + "\"", param);
}

infer::PadMode padding_named(const std::string& name) {
  if (name == "max_length") return infer::PadMode::max;
  if (name == "bucket") return infer::PadMode::bucket;
  if (name == "do_not_pad") return infer::PadMode::longest;
  throw ApiError(ErrorKind::invalid, "padding wants \"max_length\", \"bucket\" or \"do_not_pad\", not \"" + name + "\"", "padding");
}

TextSettings settings_of(const io::Tree& body, const ServedModel& model) {
  TextSettings settings;
  settings.truncate = body.get_optional<bool>("truncate");
  for (const char* name : {"truncation_side", "truncation_direction"})
    if (const auto side = body.get_optional<std::string>(name)) settings.side = side_named(*side, name);
  settings.prompt_name = body.get_optional<std::string>("prompt_name");
  settings.prompt = body.get_optional<std::string>("prompt");
  if (settings.prompt && settings.prompt_name) throw ApiError(ErrorKind::invalid, "prompt and prompt_name exclude each other", "prompt");
  if (const auto padding = body.get_optional<std::string>("padding")) settings.pad = padding_named(*padding);
  if (const auto most = body.get_optional<int>("truncate_prompt_tokens")) {
    if (*most == -1) settings.truncate = true;
    else settings.max_tokens = *most;
    if (*most > model.max_length())
      throw ApiError(ErrorKind::invalid,
                     "truncate_prompt_tokens: the model takes at most " + std::to_string(model.max_length()) + " tokens",
                     "truncate_prompt_tokens");
  }
  settings.add_special_tokens = body.get<bool>("add_special_tokens", true);
  return settings;
}

TextSettings with_prompt(const ServedModel& model, TextSettings settings, std::initializer_list<const char*> names) {
  if (settings.prompt || settings.prompt_name) return settings;
  for (const char* name : names) {
    if (!model.pretrained().prompts.contains(name)) continue;
    settings.prompt_name = name;
    break;
  }
  return settings;
}

bool wants_base64(const io::Tree& body) {
  const auto format = body.get<std::string>("encoding_format", "float");
  if (format != "float" && format != "base64")
    throw ApiError(ErrorKind::invalid, "encoding_format wants \"float\" or \"base64\", not \"" + format + "\"", "encoding_format");
  return format == "base64";
}

std::optional<Chunking> chunking_of(const io::Tree& body, size_t inputs) {
  const io::Tree* field = body.find("chunking");
  if (!field || field->is_null()) return std::nullopt;
  if (!field->is_map()) field->wants("an object, such as {\"tokens\": 256}");
  const std::vector<std::string> known = {"tokens", "overlap", "sentences", "spans", "token_spans"};
  if (const auto unknown = field->unknown(known); !unknown.empty())
    throw ApiError(ErrorKind::invalid,
                   "chunking: unknown field \"" + unknown.front()->key + "\"; it knows tokens, overlap, sentences, spans and token_spans",
                   "chunking");
  Chunking chunking;
  chunking.size.tokens = field->get<int>("tokens", 0);
  chunking.size.overlap = field->get<int>("overlap", 0);
  chunking.size.sentences = field->get<bool>("sentences", false);
  if (chunking.size.tokens < 0 || chunking.size.overlap < 0)
    throw ApiError(ErrorKind::invalid, "chunking: tokens and overlap want no negative numbers", "chunking");
  const io::Tree* spans = field->find("spans");
  const io::Tree* token_spans = field->find("token_spans");
  const bool sized = chunking.size.tokens > 0 || chunking.size.sentences;
  if ((spans != nullptr) + (token_spans != nullptr) + (sized ? 1 : 0) != 1)
    throw ApiError(ErrorKind::invalid, "chunking wants one of: tokens (with overlap), sentences (with tokens), spans, token_spans",
                   "chunking");
  if (spans || token_spans) chunking.spans = spans_of_inputs(spans ? *spans : *token_spans, inputs);
  chunking.spans_of_tokens = token_spans != nullptr;
  return chunking;
}

}  // namespace m2bert::serve
