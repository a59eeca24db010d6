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

// `length` tokens of an encoding as a row. A row from the middle keeps the special tokens at both ends of the encoding.
void append_row(TextBatch& batch, const tokenize::Encoding& encoding, size_t shift, size_t length, int32_t pad_id) {
  const size_t total = encoding.ids.size(), padding = static_cast<size_t>(batch.length) - length;
  for (size_t p = 0; p < length; ++p) {
    const bool first = p == 0 && encoding.special_tokens_mask.front() != 0;
    const bool last = p + 1 == length && encoding.special_tokens_mask.back() != 0;
    const size_t token = first ? 0 : last ? total - 1 : shift + p;
    batch.input_ids.push_back(encoding.ids[token]);
    batch.token_type_ids.push_back(encoding.type_ids[token]);
    batch.attention_mask.push_back(encoding.attention_mask[token]);
  }
  batch.input_ids.insert(batch.input_ids.end(), padding, pad_id);
  batch.token_type_ids.insert(batch.token_type_ids.end(), padding, 0);
  batch.attention_mask.insert(batch.attention_mask.end(), padding, 0);
}

// The rows of an encoding: one, or with an overlap as many as its tokens need. The last one ends with the text and is as long as the
// others. Neighbours divide the tokens that they share in the middle, so that each token has context on both sides.
std::vector<RowTokens> row_tokens(const tokenize::Encoding& encoding, const BatchOptions& options) {
  const auto total = static_cast<uint32_t>(encoding.ids.size());
  const auto most = static_cast<uint32_t>(options.max_length);
  if (!options.overlap || total <= most) return {{0, 0, total}};
  const uint32_t first = encoding.special_tokens_mask.front(), last = encoding.special_tokens_mask.back();
  const uint32_t room = most - first - last, step = room - static_cast<uint32_t>(*options.overlap);
  std::vector<RowTokens> rows;
  for (uint32_t shift = 0; rows.empty() || rows.back().shift + most < total; shift += step) {
    const uint32_t fitting = std::min(shift, total - most);
    const uint32_t shared = rows.empty() ? 0 : rows.back().shift + first + room - (fitting + first);
    const uint32_t begin = rows.empty() ? 0 : fitting + first + shared / 2;
    if (!rows.empty()) rows.back().end = begin;
    rows.push_back({fitting, begin, total});
  }
  return rows;
}

}  // namespace

int bucket_length(int tokens, int max_length) {
  int length = 8;
  while (length < tokens && length < max_length) length += (length & (length - 1)) == 0 ? length / 2 : length / 3;
  return std::min(length, max_length);
}

// A row of a batch that is to be made.
struct Batcher::Row {
  const tokenize::Encoding* encoding;
  uint32_t text;
  RowTokens tokens;
  int length;
};

Batcher::Batcher(tokenize::WordPiece tokenizer, BatchOptions options) : tokenizer_(std::move(tokenizer)), options_(std::move(options)) {
  require(options_.batch_size >= 1, "batch size ", options_.batch_size, ": wants at least 1");
  require(options_.max_length >= 3, "maximum length ", options_.max_length, ": wants at least 3, room for a token between [CLS] and [SEP]");
  require(tokenizer_.pad_id() >= 0, "the vocabulary has no [PAD] token, which batches need");
  const int most = options_.max_length - 3;  // [CLS], [SEP] and a new token
  require(!options_.overlap || (*options_.overlap >= 0 && *options_.overlap <= most), "overlap of ", options_.overlap.value_or(0),
          " tokens: wants 0 to ", most, ", so that each row of ", options_.max_length, " tokens has new ones");
  require(!options_.overlap || (options_.offsets && !options_.upstream_cut), "overlapping rows need offsets, and are not truncated");
  prompt_tokens_ = count_prompt_tokens();
}

Batcher Batcher::with_prompt(std::string prompt) const {
  BatchOptions options = options_;
  options.prompt = std::move(prompt);
  return Batcher(tokenizer_, std::move(options));
}

tokenize::EncodeOptions Batcher::encode_options() const {
  tokenize::EncodeOptions how;
  if (!options_.overlap) how.max_length = static_cast<size_t>(options_.max_length);
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

Batcher::Encodings Batcher::read_texts(const NextText& next_text) const {
  std::vector<std::string> texts;
  std::string text;
  while (texts.size() < static_cast<size_t>(options_.batch_size) && next_text(text))
    texts.push_back(options_.prompt.empty() ? text : options_.prompt + text);
  return tokenizer_.encode_batch(texts, encode_options());
}

Batcher::Encodings Batcher::read_pairs(const NextPair& next_pair) const {
  Encodings encodings;
  std::string first, second;
  while (encodings.size() < static_cast<size_t>(options_.batch_size) && next_pair(first, second))
    encodings.push_back(tokenizer_.encode_pair(first, second, encode_options()));
  return encodings;
}

Batcher::Encodings Batcher::read_window(const std::function<Encodings()>& read) const {
  Encodings encodings;
  size_t tokens = 0;
  while (encodings.empty() || !full(encodings.size(), tokens)) {
    Encodings more = read();
    const bool last = more.size() < static_cast<size_t>(options_.batch_size);
    for (tokenize::Encoding& encoding : more) {
      tokens += encoding.ids.size();
      encodings.push_back(std::move(encoding));
    }
    if (last) break;
  }
  return encodings;
}

Window Batcher::next(const NextText& next_text) const {
  return window_of(read_window([&] { return read_texts(next_text); }));
}

size_t Batcher::skip(const NextText& next_text) const {
  if (!one_batch_a_window()) return read_window([&] { return read_texts(next_text); }).size();
  size_t texts = 0;
  for (std::string text; texts < static_cast<size_t>(options_.batch_size) && next_text(text);) ++texts;
  return texts;
}

Window Batcher::next_pairs(const NextPair& next_pair) const {
  require(options_.prompt.empty() && !options_.overlap, "pairs of texts have no prompt, and are not read in overlapping rows");
  return window_of(read_window([&] { return read_pairs(next_pair); }));
}

uint64_t Batcher::for_each_window(const NextText& next_text, const std::function<void(const Window&, uint64_t)>& use) const {
  uint64_t first = 0;
  for (Window window = next(next_text); window.texts() > 0; window = next(next_text)) {
    use(window, first);
    first += window.texts();
  }
  return first;
}

bool Batcher::one_batch_a_window() const { return options_.pad == PadMode::max || (options_.pad == PadMode::longest && !options_.sort); }

bool Batcher::full(size_t texts, size_t tokens) const {
  return one_batch_a_window() || texts >= window_batches * static_cast<size_t>(options_.batch_size) || tokens >= window_tokens;
}

int Batcher::padded_length(int tokens) const {
  if (options_.pad == PadMode::max) return options_.max_length;
  return options_.pad == PadMode::bucket ? bucket_length(tokens, options_.max_length) : tokens;
}

std::vector<Batcher::Row> Batcher::rows_of(const Encodings& encodings) const {
  std::vector<Row> rows;
  for (uint32_t text = 0; text < encodings.size(); ++text) {
    const tokenize::Encoding& encoding = encodings[text];
    const int length = options_.overlap ? std::min(tokens_of(encoding), options_.max_length) : tokens_of(encoding);
    for (const RowTokens& tokens : row_tokens(encoding, options_)) rows.push_back({&encoding, text, tokens, length});
  }
  return rows;
}

Window Batcher::window_of(Encodings encodings) const {
  Window window;
  window.prompt_tokens = prompt_tokens_;
  window.prompt_bytes = options_.prompt.size();
  for (const tokenize::Encoding& encoding : encodings) {
    window.tokens.push_back(tokens_of(encoding));
    window.truncated.push_back(encoding.truncated ? 1 : 0);
  }
  std::vector<Row> rows = rows_of(encodings);
  const bool buckets = options_.pad == PadMode::bucket;
  const auto length = [&](const Row& row) { return padded_length(row.length); };
  if (buckets || (options_.pad == PadMode::longest && options_.sort))
    std::stable_sort(rows.begin(), rows.end(), [&](const Row& a, const Row& b) { return length(a) < length(b); });
  for (auto begin = rows.begin(); begin != rows.end();) {
    auto end = begin + std::min<std::ptrdiff_t>(options_.batch_size, rows.end() - begin);
    if (buckets) end = std::find_if(begin, end, [&](const Row& row) { return length(row) != length(*begin); });
    window.batches.push_back(batch_of({&*begin, static_cast<size_t>(end - begin)}));
    begin = end;
  }
  if (options_.offsets) window.encodings = std::move(encodings);
  return window;
}

TextBatch Batcher::batch_of(std::span<const Row> rows) const {
  TextBatch batch;
  for (const Row& row : rows) batch.length = std::max(batch.length, padded_length(row.length));
  const size_t size = rows.size() * static_cast<size_t>(batch.length);
  batch.input_ids.reserve(size);
  batch.token_type_ids.reserve(size);
  batch.attention_mask.reserve(size);
  for (const Row& row : rows) {
    append_row(batch, *row.encoding, row.tokens.shift, static_cast<size_t>(row.length), tokenizer_.pad_id());
    batch.texts.push_back(row.text);
    batch.tokens.push_back(row.tokens);
  }
  batch.rows = static_cast<int>(rows.size());
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
