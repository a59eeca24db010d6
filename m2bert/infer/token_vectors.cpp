#include "m2bert/infer/token_vectors.h"

#include <algorithm>
#include <cmath>

#include "m2bert/error.h"
#include "m2bert/tokenize/characters.h"
#include "m2bert/tokenize/unicode.h"

namespace m2bert::infer {

using tokenize::Characters;

namespace {

// Where each token of an encoding is in its text. Empty for special tokens and those of the prompt.
std::vector<Span> spans_of_tokens(const tokenize::Encoding& encoding, const std::string& text, size_t prompt) {
  const Characters characters(text);
  std::vector<Span> spans(encoding.ids.size());
  for (size_t i = 0; i < spans.size(); ++i) {
    const auto [begin, end] = encoding.offsets[i];
    if (encoding.special_tokens_mask[i] || end <= prompt) continue;
    spans[i] = {characters.before(std::max<size_t>(begin, prompt) - prompt), characters.before(end - prompt)};
  }
  return spans;
}

const tokenize::Encoding& encoding_of(const Window& window, size_t text) {
  require(text < window.encodings.size(), "[token_vectors] the window has no encodings: embed with EmbedOptions::offsets");
  return window.encodings[text];
}

bool is_closing(char32_t c) {
  constexpr char32_t closing[] = U"\"')]}\u2019\u201D\u00BB\u203A\u300D\u300F\uFF09";
  return std::u32string_view(closing).find(c) != std::u32string_view::npos;
}
bool ends_before_space(char32_t c) { return c == U'.' || c == U'!' || c == U'?' || c == U'\u2026'; }
bool ends_always(char32_t c) { return c == U'\u3002' || c == U'\uFF01' || c == U'\uFF1F'; }
bool is_space(char32_t c) { return (tokenize::flags_of(c) & tokenize::char_space) != 0; }

std::u32string code_points(const std::string& text) {
  std::u32string out;
  const char* end = text.data() + text.size();
  for (const char* at = text.data(); at < end;) {
    const tokenize::Decoded decoded = tokenize::decode_utf8(at, end);
    out.push_back(decoded.c);
    at += decoded.size;
  }
  return out;
}

// Where the sentence that begins at `from` ends.
size_t end_of_sentence(const std::u32string& text, size_t from) {
  for (size_t i = from; i < text.size(); ++i) {
    if (text[i] == U'\n') {
      size_t next = i + 1;
      while (next < text.size() && text[next] != U'\n' && is_space(text[next])) ++next;
      if (next < text.size() && text[next] == U'\n') return i;
    }
    if (!ends_before_space(text[i]) && !ends_always(text[i])) continue;
    bool always = false;
    while (i < text.size() && (ends_before_space(text[i]) || ends_always(text[i]))) always = ends_always(text[i++]) || always;
    while (i < text.size() && is_closing(text[i])) ++i;
    if (always || i == text.size() || is_space(text[i])) return i;
    --i;
  }
  return text.size();
}

// Passages of whole sentences that have at most so many tokens; a longer sentence is one by itself.
std::vector<Span> joined(const std::vector<Span>& sentences, const std::vector<Span>& tokens, uint64_t most) {
  std::vector<Span> passages;
  uint64_t filled = 0;
  size_t token = 0;
  for (const Span& sentence : sentences) {
    uint64_t count = 0;
    for (; token < tokens.size() && tokens[token].begin < sentence.end; ++token) ++count;
    if (count == 0) continue;  // nothing of it is left in tokens
    if (!passages.empty() && filled + count <= most) {
      passages.back().end = sentence.end;
      filled += count;
    } else {
      passages.push_back(sentence);
      filled = count;
    }
  }
  return passages;
}

// A passage as a range of the tokens of its text.
struct TokenRange {
  size_t begin = 0, end = 0;
};

// The tokens of passages. The first and the last token of the text bring the special ones beside them along.
class TokenRanges {
 public:
  // skipped: tokens at the beginning that never count.
  TokenRanges(const tokenize::Encoding& encoding, const std::string& text, size_t prompt, size_t skipped)
      : spans_(spans_of_tokens(encoding, text, prompt)), skipped_(skipped), characters_(Characters(text).count()) {
    const auto in_text = [](const Span& span) { return span.end > span.begin; };
    first_ = static_cast<size_t>(std::find_if(spans_.begin(), spans_.end(), in_text) - spans_.begin());
    last_ = spans_.size();
    while (last_ > first_ && !in_text(spans_[last_ - 1])) --last_;
  }

  // Empty where no token is in the passage.
  TokenRange of(const Span& passage) const {
    const auto begin = spans_.begin() + static_cast<std::ptrdiff_t>(first_), end = spans_.begin() + static_cast<std::ptrdiff_t>(last_);
    const auto from = std::partition_point(begin, end, [&](const Span& token) { return token.end <= passage.begin; });
    const auto to = std::partition_point(from, end, [&](const Span& token) { return token.begin < passage.end; });
    TokenRange range{static_cast<size_t>(from - spans_.begin()), static_cast<size_t>(to - spans_.begin())};
    if (from == to) return {};
    if (range.begin == first_) range.begin = std::min(first_, skipped_);
    if (range.end == last_) range.end = spans_.size();
    return range;
  }
  uint64_t characters() const { return characters_; }

 private:
  std::vector<Span> spans_;
  size_t skipped_, first_ = 0, last_ = 0;
  uint64_t characters_;
};

// A passage of a window, and the sum of its tokens' states so far.
struct Passage {
  uint32_t text;
  Span span;
  TokenRange tokens;
};

std::vector<Passage> passages_in(const Embedder& embedder, const Window& window, std::span<const std::string> texts,
                                 const PassagesOf& passages_of, uint64_t first) {
  const size_t skipped = embedder.pretrained().include_prompt ? 0 : static_cast<size_t>(window.prompt_tokens);
  std::vector<Passage> passages;
  for (uint32_t text = 0; text < window.texts(); ++text) {
    const TokenRanges ranges(encoding_of(window, text), texts[text], window.prompt_bytes, skipped);
    for (const Span& span : passages_of(text)) {
      require(span.begin < span.end && span.end <= ranges.characters(), "text ", first + text + 1, ": the passage [", span.begin, ", ",
              span.end, "] is not a part of its ", ranges.characters(), " characters");
      passages.push_back({text, span, ranges.of(span)});
      require(passages.back().tokens.end > 0, "text ", first + text + 1, ": the passage [", span.begin, ", ", span.end, "] has no tokens",
              window.truncated[text] ? ", because the text was truncated before it" : ": there is nothing but white space in it");
    }
  }
  return passages;
}

// Adds the states of a row to the sums [passages, hidden] of its text's passages.
void add_row(const TextBatch& batch, size_t row, std::span<const float> states, std::span<const Passage> passages,
             std::vector<float>& sums) {
  const RowTokens& tokens = batch.tokens[row];
  const size_t hidden = sums.size() / passages.size();
  const auto of_text = std::ranges::equal_range(passages, batch.texts[row], {}, &Passage::text);
  for (auto passage = of_text.begin(); passage != of_text.end(); ++passage) {
    float* sum = sums.data() + static_cast<size_t>(passage - passages.begin()) * hidden;
    const size_t begin = std::max<size_t>(passage->tokens.begin, tokens.begin), end = std::min<size_t>(passage->tokens.end, tokens.end);
    for (size_t token = begin; token < end; ++token) {
      const float* state = states.data() + (token - tokens.shift) * hidden;
      for (size_t i = 0; i < hidden; ++i) sum[i] += state[i];
    }
  }
}

void require_finite(std::span<const float> vectors, std::span<const uint32_t> texts, uint64_t first, const models::Pretrained& pretrained) {
  const auto bad = std::find_if(vectors.begin(), vectors.end(), [](float value) { return !std::isfinite(value); });
  if (bad == vectors.end()) return;
  const size_t row = static_cast<size_t>(bad - vectors.begin()) / (vectors.size() / texts.size());
  throw NotFiniteError(first + texts[row], pretrained);
}

}  // namespace

TokenVectors token_vectors(const Embedder& embedder, const Window& window, std::span<const std::string> texts, uint64_t first,
                           const std::function<bool()>& stop) {
  TokenVectors result;
  result.dim = embedder.pretrained().config.hidden_size;
  const auto width = static_cast<size_t>(result.dim);
  std::vector<size_t> begin(window.texts());  // of each text's tokens
  for (uint32_t text = 0; text < window.texts(); ++text) {
    const tokenize::Encoding& encoding = encoding_of(window, text);
    begin[text] = result.ids.size();
    result.ids.insert(result.ids.end(), encoding.ids.begin(), encoding.ids.end());
    result.texts.resize(result.ids.size(), text);
    const std::vector<Span> spans = spans_of_tokens(encoding, texts[text], window.prompt_bytes);
    result.spans.insert(result.spans.end(), spans.begin(), spans.end());
  }
  result.vectors.resize(result.ids.size() * width);
  for (const TextBatch& batch : window.batches) {
    if (stop && stop()) return {};
    embedder.each_row_of_states(batch, [&](size_t row, std::span<const float> states) {
      const RowTokens& tokens = batch.tokens[row];
      const auto owned = states.subspan((tokens.begin - tokens.shift) * width, (tokens.end - tokens.begin) * width);
      const size_t at = (begin[batch.texts[row]] + tokens.begin) * width;
      std::copy(owned.begin(), owned.end(), result.vectors.begin() + static_cast<std::ptrdiff_t>(at));
    });
  }
  require_finite(result.vectors, result.texts, first, embedder.pretrained());
  return result;
}

std::vector<Span> sentences_of(const std::string& text) {
  const std::u32string characters = code_points(text);
  std::vector<Span> sentences;
  for (size_t at = 0; at < characters.size();) {
    if (is_space(characters[at])) {
      ++at;
      continue;
    }
    const size_t next = std::max(end_of_sentence(characters, at), at + 1);
    size_t end = next;
    while (is_space(characters[end - 1])) --end;
    sentences.push_back({at, end});
    at = next;
  }
  return sentences;
}

std::vector<Span> passages_of(const std::string& text, const tokenize::Encoding& encoding, size_t prompt, const ChunkOptions& options) {
  require(options.sentences || options.tokens > 0, "late chunking: choose the size of the passages");
  require(options.overlap == 0 || (!options.sentences && options.overlap < options.tokens), "late chunking: passages of ", options.tokens,
          " tokens cannot overlap by ", options.overlap);
  std::vector<Span> tokens = spans_of_tokens(encoding, text, prompt);
  std::erase_if(tokens, [](const Span& token) { return token.end == token.begin; });
  if (options.sentences) return joined(sentences_of(text), tokens, static_cast<uint64_t>(options.tokens));
  const auto size = static_cast<size_t>(options.tokens), step = size - static_cast<size_t>(options.overlap);
  std::vector<Span> passages;
  for (size_t begin = 0; begin < tokens.size(); begin += step) {
    const size_t end = std::min(begin + size, tokens.size());
    passages.push_back({tokens[begin].begin, tokens[end - 1].end});
    if (end == tokens.size()) break;
  }
  return passages;
}

PassageVectors late_chunks(const Embedder& embedder, const Window& window, std::span<const std::string> texts,
                           const PassagesOf& passages_of, uint64_t first, const std::function<bool()>& stop) {
  require_mean_pooling(embedder);
  const std::vector<Passage> passages = passages_in(embedder, window, texts, passages_of, first);
  PassageVectors result;
  result.dim = embedder.dim();
  if (passages.empty()) return result;
  const auto hidden = static_cast<size_t>(embedder.pretrained().config.hidden_size);
  std::vector<float> means(passages.size() * hidden);
  for (const TextBatch& batch : window.batches) {
    if (stop && stop()) return {};
    embedder.each_row_of_states(batch, [&](size_t row, std::span<const float> states) { add_row(batch, row, states, passages, means); });
  }
  for (size_t i = 0; i < passages.size(); ++i) {
    const auto tokens = static_cast<float>(passages[i].tokens.end - passages[i].tokens.begin);
    for (size_t k = 0; k < hidden; ++k) means[i * hidden + k] /= tokens;
    result.texts.push_back(passages[i].text);
    result.spans.push_back(passages[i].span);
  }
  const mx::array pooled(means.data(), {static_cast<int>(passages.size()), static_cast<int>(hidden)});
  result.vectors = models::to_floats(embedder.after_pooling(pooled));
  require_finite(result.vectors, result.texts, first, embedder.pretrained());
  return result;
}

PassageVectors late_chunks(const Embedder& embedder, std::span<const std::string> texts, const ChunkOptions& options) {
  PassageVectors all;
  all.dim = embedder.dim();
  embedder.batcher().for_each_window(each_of(texts), [&](const Window& window, uint64_t first) {
    const auto here = texts.subspan(first, window.texts());
    const PassageVectors part = late_chunks(
        embedder, window, here,
        [&](uint32_t text) { return passages_of(here[text], encoding_of(window, text), window.prompt_bytes, options); }, first);
    all.vectors.insert(all.vectors.end(), part.vectors.begin(), part.vectors.end());
    all.spans.insert(all.spans.end(), part.spans.begin(), part.spans.end());
    for (const uint32_t text : part.texts) all.texts.push_back(static_cast<uint32_t>(first) + text);
  });
  return all;
}

void require_mean_pooling(const Embedder& embedder) {
  require(embedder.pooling() == models::Poolings{models::Pooling::mean},
          "late chunking takes the mean of a passage's tokens, and the pooling of this model is ", models::name(embedder.pooling()),
          "; --pooling mean takes it all the same");
}

}  // namespace m2bert::infer
