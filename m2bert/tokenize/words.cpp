#include "m2bert/tokenize/words.h"

#include "m2bert/tokenize/unicode.h"

namespace m2bert::tokenize {

// The added tokens found in the raw text divide it into segments; each is normalised on its own.
void Splitter::split(std::string_view text, size_t limit, std::vector<Piece>& out, bool fast) {
  text_ = text, out_ = &out, limit_ = limit, fast_ = fast;
  size_t from = 0, done = 0;
  AddedMatch match;
  while (!full() && model_.raw_added.next(text, from, done, match)) {
    segment(done, match.begin);
    out.push_back({match.id, static_cast<uint32_t>(match.begin), static_cast<uint32_t>(match.end)});
    done = match.end;
    from = std::max(from, done);
  }
  if (!full()) segment(done, text.size());
}

// ASCII words are looked up in place. A run with other bytes, up to the next ASCII space or punctuation, takes the general path: the
// normaliser never looks beyond those.
void Splitter::segment(size_t begin, size_t end) {
  if (!fast_ || !model_.normalized_added.empty()) {
    general(begin, end);
    return;
  }
  const auto class_at = [&](size_t i) { return model_.byte_class[static_cast<uint8_t>(text_[i])]; };
  for (size_t i = begin; i < end && !full();) {
    const ByteClass first = class_at(i);
    if (first == ByteClass::space) {
      ++i;
      continue;
    }
    if (first == ByteClass::punctuation) {
      out_->push_back({model_.punctuation_id[static_cast<uint8_t>(text_[i])], static_cast<uint32_t>(i), static_cast<uint32_t>(i + 1)});
      ++i;
      continue;
    }
    size_t stop = i;
    while (stop < end && class_at(stop) == ByteClass::word) ++stop;
    if (stop == end || class_at(stop) != ByteClass::slow) {
      ascii_word(i, stop);
    } else {
      while (stop < end && (class_at(stop) == ByteClass::word || class_at(stop) == ByteClass::slow)) ++stop;
      general(i, stop);
    }
    i = stop;
  }
}

void Splitter::ascii_word(size_t begin, size_t end) {
  const Vocabulary& vocabulary = model_.vocabulary;
  const size_t mark = out_->size();
  Vocabulary::Node start = end - begin > model_.max_word_chars ? Vocabulary::dead : Vocabulary::root;
  for (size_t at = begin; at < end;) {
    int32_t best = -1;
    size_t best_end = at;
    Vocabulary::Node node = start;
    for (size_t i = at; node != Vocabulary::dead && i < end; ++i) {
      node = vocabulary.child(node, model_.fold[static_cast<uint8_t>(text_[i])]);
      if (node == Vocabulary::dead) break;
      const int32_t id = vocabulary.value(node);
      if (id >= 0) best = id, best_end = i + 1;
    }
    if (best < 0) {
      out_->resize(mark);
      out_->push_back({model_.unk, static_cast<uint32_t>(begin), static_cast<uint32_t>(end)});
      return;
    }
    out_->push_back({best, static_cast<uint32_t>(at), static_cast<uint32_t>(best_end)});
    at = best_end;
    start = model_.continuation;
  }
}

void Splitter::general(size_t begin, size_t end) {
  if (begin == end) return;
  normalize(text_.substr(begin, end - begin), static_cast<uint32_t>(begin), model_.normalizer, chars_);
  if (model_.normalized_added.empty()) characters(0, chars_.size());
  else normalized_with_added();
}

// Normalised characters to words.
void Splitter::characters(size_t first, size_t last) {
  for (size_t i = first; i < last && !full(); ++i) {
    const Char& from = chars_[i];
    const uint16_t flags = flags_of(from.c);
    if (flags & (char_space | char_punctuation)) flush_word();
    if (flags & char_space) continue;
    char bytes[4];
    const uint32_t size = encode_utf8(from.c, bytes);
    for (uint32_t b = 0; b < size; ++b) word_.push_back({bytes[b], from.begin, from.end});
    ++word_chars_;
    if (flags & char_punctuation) flush_word();
  }
  flush_word();
}

void Splitter::flush_word() {
  if (word_.empty()) return;
  const Vocabulary& vocabulary = model_.vocabulary;
  const size_t mark = out_->size();
  Vocabulary::Node start = word_chars_ > model_.max_word_chars ? Vocabulary::dead : Vocabulary::root;
  for (size_t at = 0; at < word_.size();) {
    int32_t best = -1;
    size_t best_end = at;
    Vocabulary::Node node = start;
    for (size_t i = at; node != Vocabulary::dead && i < word_.size(); ++i) {
      node = vocabulary.child(node, static_cast<uint8_t>(word_[i].byte));
      if (node == Vocabulary::dead) break;
      const int32_t id = vocabulary.value(node);
      if (id >= 0) best = id, best_end = i + 1;
    }
    if (best < 0) {
      out_->resize(mark);
      out_->push_back({model_.unk, word_.front().begin, word_.back().end});
      break;
    }
    out_->push_back({best, word_[at].begin, word_[best_end - 1].end});
    at = best_end;
    start = model_.continuation;
  }
  word_.clear();
  word_chars_ = 0;
}

// Matches the added tokens of the normalised text.
void Splitter::normalized_with_added() {
  std::string bytes;
  std::vector<size_t> char_of;  // by byte, and one more at the end
  for (size_t i = 0; i < chars_.size(); ++i) {
    char encoded[4];
    const uint32_t size = encode_utf8(chars_[i].c, encoded);
    bytes.append(encoded, size);
    char_of.insert(char_of.end(), size, i);
  }
  char_of.push_back(chars_.size());
  size_t from = 0, done = 0;
  AddedMatch match;
  while (!full() && model_.normalized_added.next(bytes, from, done, match)) {
    characters(char_of[done], char_of[match.begin]);
    out_->push_back({match.id, chars_[char_of[match.begin]].begin, chars_[char_of[match.end] - 1].end});
    done = match.end;
    from = std::max(from, done);
  }
  if (!full()) characters(char_of[done], chars_.size());
}

}  // namespace m2bert::tokenize
