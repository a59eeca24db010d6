// Where a WordPiece comes from: the built-in vocabulary, vocab.txt, tokenizer.json or a model folder.
#include "m2bert/error.h"
#include "m2bert/io/file.h"
#include "m2bert/tokenize/bert_base_uncased.h"
#include "m2bert/tokenize/model.h"
#include "m2bert/tokenize/tokenizer_config.h"
#include "m2bert/tokenize/tokenizer_json.h"
#include "m2bert/tokenize/unicode.h"

#include <algorithm>

namespace m2bert::tokenize {
namespace {

void require_utf8(std::string_view token, const std::string& name, size_t line) {
  const char* const end = token.data() + token.size();
  for (const char* p = token.data(); p < end;) {
    const Decoded next = decode_utf8(p, end);
    require(next.c != replacement_char || std::string_view(p, next.size) == "\xEF\xBF\xBD", name, ":", line, ": the token is not UTF-8");
    p += next.size;
  }
}

// One token a line, the first has id 0; lines end with \n or \r\n.
std::vector<std::pair<std::string_view, int32_t>> read_lines(std::string_view lines, const std::string& name) {
  std::vector<std::pair<std::string_view, int32_t>> out;
  while (!lines.empty()) {
    const size_t end = lines.find('\n');
    std::string_view token = lines.substr(0, end);
    if (token.ends_with('\r')) token.remove_suffix(1);
    require_utf8(token, name, out.size() + 1);
    require(out.size() <= static_cast<size_t>(Vocabulary::max_id), name, ": more than ", Vocabulary::max_id + 1, " tokens");
    out.emplace_back(token, static_cast<int32_t>(out.size()));
    lines.remove_prefix(end == std::string_view::npos ? lines.size() : end + 1);
  }
  return out;
}

// strip_accents follows lowercase if only that is set.
void apply(const LoadOptions& options, NormalizerOptions& normalizer) {
  if (options.lowercase) normalizer.lowercase = normalizer.strip_accents = *options.lowercase;
  if (options.strip_accents) normalizer.strip_accents = *options.strip_accents;
  if (options.split_chinese) normalizer.split_chinese = *options.split_chinese;
}

ModelParts parse_vocabulary(std::string_view lines, const std::string& name) {
  ModelParts parts;
  parts.name = name;
  parts.vocabulary = read_lines(lines, name);
  return parts;
}

void add_unless_there(std::vector<AddedToken>& added, AddedToken token) {
  const bool there = std::any_of(added.begin(), added.end(), [&](const AddedToken& known) { return known.content == token.content; });
  if (!there) added.push_back(std::move(token));
}

// Keeps a file's text alive as long as the parts.
std::shared_ptr<const std::string> read_text(const std::filesystem::path& file) {
  return std::make_shared<const std::string>(io::read_file(file, uint64_t{1} << 28));
}

ModelParts parse_file(const std::filesystem::path& file) {
  const auto text = read_text(file);
  const size_t first = text->find_first_not_of(" \t\r\n");
  const bool json = file.extension() == ".json" || (first != std::string::npos && (*text)[first] == '{' && file.extension() != ".txt");
  if (json) return parse_tokenizer_json(*text, file.string());
  ModelParts parts = parse_vocabulary(*text, file.string());
  parts.owner = text;
  return parts;
}

ModelParts parse_folder(const std::filesystem::path& folder) {
  namespace fs = std::filesystem;
  const bool json = fs::exists(folder / "tokenizer.json");
  require(json || fs::exists(folder / "vocab.txt"), folder.string(), ": the folder has neither tokenizer.json nor vocab.txt");
  ModelParts parts = parse_file(folder / (json ? "tokenizer.json" : "vocab.txt"));
  apply_folder_files(folder, json, parts);
  return parts;
}

// Special tokens are matched in texts, whether or not a file lists them as added tokens.
WordPiece make(ModelParts parts, const LoadOptions& options) {
  apply(options, parts.normalizer);
  for (const std::string& token : {parts.pad, parts.unk, parts.cls, parts.sep, parts.mask}) add_unless_there(parts.added, {token});
  return WordPiece(std::make_shared<const TokenizerModel>(std::move(parts)));
}

}  // namespace

WordPiece WordPiece::from_vocabulary(std::string_view lines, const std::string& name, const LoadOptions& options) {
  return make(parse_vocabulary(lines, name), options);
}

WordPiece WordPiece::from_json(std::string_view json, const std::string& name, const LoadOptions& options) {
  ModelParts parts = parse_tokenizer_json(json, name);
  apply(options, parts.normalizer);
  return WordPiece(std::make_shared<const TokenizerModel>(std::move(parts)));
}

WordPiece WordPiece::from_file(const std::filesystem::path& file_or_folder, const LoadOptions& options) {
  if (std::filesystem::is_directory(file_or_folder)) return make(parse_folder(file_or_folder), options);
  ModelParts parts = parse_file(file_or_folder);
  if (parts.added.empty()) return make(std::move(parts), options);
  apply(options, parts.normalizer);
  return WordPiece(std::make_shared<const TokenizerModel>(std::move(parts)));
}

WordPiece WordPiece::builtin() {
  static const WordPiece bert = from_vocabulary(bert_base_uncased_vocabulary(), "bert-base-uncased");
  return bert;
}

}  // namespace m2bert::tokenize
