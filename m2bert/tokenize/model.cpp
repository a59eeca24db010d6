#include "m2bert/tokenize/model.h"

#include "m2bert/error.h"
#include "m2bert/tokenize/unicode.h"

#include <algorithm>

namespace m2bert::tokenize {
namespace {

std::string normal_form(const std::string& text, const NormalizerOptions& options) {
  std::vector<Char> chars;
  normalize(text, 0, options, chars);
  std::string out;
  for (const Char& from : chars) {
    char bytes[4];
    out.append(bytes, encode_utf8(from.c, bytes));
  }
  return out;
}

}  // namespace

TokenizerModel::TokenizerModel(ModelParts parts)
    : name(parts.name),
      vocabulary(parts.vocabulary, parts.name),
      normalizer(parts.normalizer),
      decoder_prefix(parts.decoder_prefix),
      max_word_chars(parts.max_word_chars),
      cleanup(parts.cleanup),
      has_template(parts.has_template),
      settings(parts.settings) {
  unk = vocabulary.id(parts.unk);
  require(unk >= 0, name, ": the vocabulary has no unknown token '", parts.unk, "'. Is this a BERT vocabulary?");
  fill_added(std::move(parts.added), parts.split_special_tokens);
  const auto find = [&](const std::string& token) {
    for (const AddedToken& added : beyond) {
      if (added.content == token) return added.id;
    }
    return vocabulary.id(token);
  };
  cls = find(parts.cls), sep = find(parts.sep), pad = find(parts.pad), mask = find(parts.mask);
  require(!has_template || (cls >= 0 && sep >= 0), name, ": the vocabulary has no '", cls < 0 ? parts.cls : parts.sep,
          "', which every encoding starts or ends with. Is this a BERT vocabulary?");
  continuation = vocabulary.walk(parts.prefix);
  fill_byte_tables();
}

void TokenizerModel::fill_byte_tables() {
  byte_class.fill(ByteClass::slow);
  for (size_t c = 0; c < 256; ++c) fold[c] = static_cast<uint8_t>(c);
  for (size_t c = 0; c < 128; ++c) {
    const uint16_t flags = flags_of(static_cast<char32_t>(c));
    if (normalizer.lowercase && c >= 'A' && c <= 'Z') fold[c] = static_cast<uint8_t>(c - 'A' + 'a');
    if (normalizer.clean_text && (flags & char_removed)) continue;
    byte_class[c] = (flags & char_space) ? ByteClass::space : (flags & char_punctuation) ? ByteClass::punctuation : ByteClass::word;
    const char byte = static_cast<char>(c);
    const int32_t id = vocabulary.id({&byte, 1});
    punctuation_id[c] = id < 0 ? unk : id;
  }
}

void TokenizerModel::fill_added(std::vector<AddedToken> tokens, bool split_special_tokens) {
  special.assign(vocabulary.size(), false);
  std::vector<AddedToken> raw, normalized;
  std::vector<std::string> raw_patterns, normalized_patterns;
  for (AddedToken& token : tokens) {
    const int32_t known = vocabulary.id(token.content);
    if (token.content.empty() || (token.id < 0 && known < 0)) continue;
    if (token.id < 0) token.id = known;
    require(token.id <= Vocabulary::max_id, name, ": added token '", token.content, "' has id ", token.id, ", wants 0 to ",
            Vocabulary::max_id);
    require(known < 0 || known == token.id, name, ": added token '", token.content, "' has id ", token.id, ", but the vocabulary says ",
            known);
    if (known < 0) {
      require(!vocabulary.has(token.id), name, ": added token '", token.content, "' has id ", token.id, ", which is the vocabulary's '",
              vocabulary.has(token.id) ? vocabulary.token(token.id) : "", "'");
      beyond.push_back(token);
    }
    if (static_cast<size_t>(token.id) >= special.size()) special.resize(static_cast<size_t>(token.id) + 1);
    if (token.special) special[static_cast<size_t>(token.id)] = true;
    if (token.special && split_special_tokens) continue;
    std::string pattern = token.normalized ? normal_form(token.content, normalizer) : token.content;
    if (pattern.empty()) continue;
    (token.normalized ? normalized_patterns : raw_patterns).push_back(std::move(pattern));
    (token.normalized ? normalized : raw).push_back(std::move(token));
  }
  std::sort(beyond.begin(), beyond.end(), [](const AddedToken& a, const AddedToken& b) { return a.id < b.id; });
  raw_added = AddedTokens(std::move(raw), std::move(raw_patterns));
  normalized_added = AddedTokens(std::move(normalized), std::move(normalized_patterns));
}

}  // namespace m2bert::tokenize
