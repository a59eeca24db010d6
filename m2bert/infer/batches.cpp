#include "m2bert/infer/batches.h"

#include <algorithm>
#include <iterator>
#include <memory>
#include <numeric>

#include "m2bert/error.h"

namespace m2bert::infer {
namespace {

constexpr size_t window_batches = 16;
constexpr size_t window_tokens = 32768;

int tokens_of(const tokenize::Encoding& encoding) { return static_cast<int>(encoding.ids.size()); }

void append_row(TextBatch& batch, const tokenize::Encoding& encoding, int32_t pad_id) {
  const size_t padding = static_cast<size_t>(batch.length) - encoding.ids.size();
  batch.input_ids.insert(batch.input_ids.end(), encoding.ids.begin(), encoding.ids.end());
  batch.input_ids.insert(batch.input_ids.end(), padding, pad_id);
  batch.token_type_ids.insert(batch.token_type_ids.end(), encoding.type_ids.begin(), encoding.type_ids.end());
  batch.token_type_ids.insert(batch.token_type_ids.end(), padding, 0);
  batch.attention_mask.insert(batch.attention_mask.end(), encoding.attention_mask.begin(), encoding.attention_mask.end());
  batch.attention_mask.insert(batch.attention_mask.end(), padding, 0);
}

}  // namespace

int bucket_length(int tokens, int max_length) {
  int length = 8;
  while (length < tokens && length < max_length) length += (length & (length - 1)) == 0 ? length / 2 : length / 3;
  return std::min(length, max_length);
}

Batcher::Batcher(tokenize::WordPiece tokenizer, BatchOptions options) : tokenizer_(std::move(tokenizer)), options_(std::move(options)) {
  require(options_.batch_size >= 1, "batch size ", options_.batch_size, ": wants at least 1");
  require(options_.max_length >= 3, "maximum length ", options_.max_length, ": wants at least 3, room for a token between [CLS] and [SEP]");
  require(tokenizer_.pad_id() >= 0, "the vocabulary has no [PAD] token, which batches need");
  prompt_tokens_ = count_prompt_tokens();
}

Batcher Batcher::with_prompt(std::string prompt) const {
  BatchOptions options = options_;
  options.prompt = std::move(prompt);
  return Batcher(tokenizer_, std::move(options));
}

tokenize::EncodeOptions Batcher::encode_options() const {
  tokenize::EncodeOptions how;
  how.max_length = static_cast<size_t>(options_.max_length);
  how.truncation_side = options_.truncation_side;
  how.upstream_cut = options_.upstream_cut;
  return how;
}

// As sentence-transformers counts: the tokens of the prompt alone, without the [SEP] at its end.
int Batcher::count_prompt_tokens() const {
  if (options_.prompt.empty()) return 0;
  const tokenize::Encoding prompt = tokenizer_.encode(options_.prompt, encode_options());
  const bool ends_special = !prompt.ids.empty() && tokenizer_.is_special(prompt.ids.back());
  return tokens_of(prompt) - (ends_special ? 1 : 0);
}

Window Batcher::next(const NextText& next_text) const {
  const tokenize::EncodeOptions how = encode_options();
  std::vector<tokenize::Encoding> encodings;
  size_t tokens = 0;
  while (encodings.empty() || !full(encodings.size(), tokens)) {
    const std::vector<std::string> texts = read(next_text);
    for (tokenize::Encoding& encoding : tokenizer_.encode_batch(texts, how)) {
      tokens += encoding.ids.size();
      encodings.push_back(std::move(encoding));
    }
    if (texts.size() < static_cast<size_t>(options_.batch_size)) break;
  }
  return window_of(encodings);
}

uint64_t Batcher::for_each_window(const NextText& next_text, const std::function<void(const Window&, uint64_t)>& use) const {
  uint64_t first = 0;
  for (Window window = next(next_text); window.texts() > 0; window = next(next_text)) {
    use(window, first);
    first += window.texts();
  }
  return first;
}

std::vector<std::string> Batcher::read(const NextText& next_text) const {
  std::vector<std::string> texts;
  std::string text;
  while (texts.size() < static_cast<size_t>(options_.batch_size) && next_text(text))
    texts.push_back(options_.prompt.empty() ? text : options_.prompt + text);
  return texts;
}

bool Batcher::full(size_t texts, size_t tokens) const {
  if (options_.pad == PadMode::max || (options_.pad == PadMode::longest && !options_.sort)) return true;
  return texts >= window_batches * static_cast<size_t>(options_.batch_size) || tokens >= window_tokens;
}

int Batcher::padded_length(int tokens) const {
  if (options_.pad == PadMode::max) return options_.max_length;
  return options_.pad == PadMode::bucket ? bucket_length(tokens, options_.max_length) : tokens;
}

Window Batcher::window_of(const std::vector<tokenize::Encoding>& encodings) const {
  Window window;
  window.prompt_tokens = prompt_tokens_;
  for (const tokenize::Encoding& encoding : encodings) {
    window.tokens.push_back(tokens_of(encoding));
    window.truncated.push_back(encoding.truncated ? 1 : 0);
  }
  std::vector<uint32_t> order(encodings.size());
  std::iota(order.begin(), order.end(), 0u);
  const bool buckets = options_.pad == PadMode::bucket;
  const auto length = [&](uint32_t text) { return padded_length(window.tokens[text]); };
  if (buckets || (options_.pad == PadMode::longest && options_.sort))
    std::stable_sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return length(a) < length(b); });
  for (auto begin = order.begin(); begin != order.end();) {
    auto end = begin + std::min<std::ptrdiff_t>(options_.batch_size, order.end() - begin);
    if (buckets) end = std::find_if(begin, end, [&](uint32_t text) { return length(text) != length(*begin); });
    window.batches.push_back(batch_of(encodings, {&*begin, static_cast<size_t>(end - begin)}));
    begin = end;
  }
  return window;
}

TextBatch Batcher::batch_of(const std::vector<tokenize::Encoding>& encodings, std::span<const uint32_t> texts) const {
  TextBatch batch;
  for (const uint32_t text : texts) batch.length = std::max(batch.length, padded_length(tokens_of(encodings[text])));
  const size_t size = texts.size() * static_cast<size_t>(batch.length);
  batch.input_ids.reserve(size);
  batch.token_type_ids.reserve(size);
  batch.attention_mask.reserve(size);
  for (const uint32_t text : texts) append_row(batch, encodings[text], tokenizer_.pad_id());
  batch.texts.assign(texts.begin(), texts.end());
  batch.rows = static_cast<int>(texts.size());
  return batch;
}

NextText each_of(std::span<const std::string> texts) {
  return [texts, i = size_t{0}](std::string& text) mutable {
    if (i == texts.size()) return false;
    text = texts[i++];
    return true;
  };
}

}  // namespace m2bert::infer
