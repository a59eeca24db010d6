#include "m2bert/tokenize/wordpiece.h"

#include "m2bert/error.h"
#include "m2bert/tokenize/model.h"
#include "m2bert/tokenize/words.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>

namespace m2bert::tokenize {
namespace {

using Pieces = std::span<const Piece>;

Pieces cut(Pieces pieces, size_t length, TruncationSide side) {
  if (pieces.size() <= length) return pieces;
  return side == TruncationSide::right ? pieces.first(length) : pieces.last(length);
}

// Hugging Face's longest_first: truncates the longer text first, then both equally.
void cut_longest(Pieces& first, Pieces& second, size_t room, TruncationSide side) {
  if (first.size() + second.size() <= room) return;
  size_t shorter = std::min(first.size(), second.size());
  size_t longer = shorter > room ? shorter : std::max(shorter, room - shorter);
  if (shorter + longer > room) {
    shorter = room / 2;
    longer = shorter + room % 2;
  }
  const bool first_is_longer = first.size() > second.size();
  first = cut(first, first_is_longer ? longer : shorter, side);
  second = cut(second, first_is_longer ? shorter : longer, side);
}

void cut_only(Pieces& target, const Pieces& other, size_t room, TruncationSide side, const char* which) {
  if (target.size() + other.size() <= room) return;
  require(other.size() < room, "[tokenize] the ", which, " text cannot be truncated to fit: the other one has ", other.size(),
          " tokens and ", room, " are allowed. Use longest_first or a larger max_length.");
  target = cut(target, room - other.size(), side);
}

void require_size(std::string_view text) {
  require(text.size() < UINT32_MAX, "[tokenize] a text of ", text.size(), " bytes is too long, the limit is 4 GiB. Split it.");
}

// The maximum number of tokens of the texts themselves.
size_t room_for(const EncodeOptions& options, size_t specials) {
  if (options.upstream_cut) return SIZE_MAX;
  require(options.max_length >= specials, "[tokenize] max_length is ", options.max_length, ", but the special tokens alone are ", specials);
  return options.max_length == SIZE_MAX ? SIZE_MAX : options.max_length - specials;
}

class Writer {
 public:
  explicit Writer(size_t length) {
    out_.ids.reserve(length);
    out_.offsets.reserve(length);
    out_.type_ids.reserve(length);
    out_.special_tokens_mask.reserve(length);
  }
  void special(int32_t id, int32_t type) {
    out_.ids.push_back(id);
    out_.offsets.emplace_back(0, 0);
    out_.type_ids.push_back(type);
    out_.special_tokens_mask.push_back(1);
  }
  void text(Pieces pieces, int32_t type) {
    for (const Piece& piece : pieces) {
      out_.ids.push_back(piece.id);
      out_.offsets.emplace_back(piece.begin, piece.end);
    }
    out_.type_ids.resize(out_.ids.size(), type);
    out_.special_tokens_mask.resize(out_.ids.size(), 0);
  }
  Encoding finish(bool truncated, const EncodeOptions& options) {
    out_.truncated = truncated;
    if (options.upstream_cut && out_.ids.size() > options.max_length) cut_as_upstream(options.max_length);
    out_.attention_mask.assign(out_.ids.size(), 1);
    return std::move(out_);
  }

 private:
  void cut_as_upstream(size_t length) {
    out_.truncated = true;
    out_.ids.resize(length);
    out_.offsets.resize(length);
    out_.type_ids.resize(length);
    out_.special_tokens_mask.resize(length);
  }
  Encoding out_;
};

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size())) text.replace(at, from.size(), to);
}

// The tokenizers package cleans each token by itself, with the space before it.
void clean_up(std::string& token) {
  static constexpr std::pair<std::string_view, std::string_view> rules[] = {
      {" .", "."},   {" ?", "?"},           {" !", "!"},   {" ,", ","},     {" ' ", "'"},   {" n't", "n't"},
      {" 'm", "'m"}, {" do not", " don't"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
  for (const auto& [from, to] : rules) replace_all(token, from, to);
}

}  // namespace

WordPiece::WordPiece(std::shared_ptr<const TokenizerModel> model) : model_(std::move(model)) {}

Encoding WordPiece::encode(std::string_view text, const EncodeOptions& options) const {
  require_size(text);
  const size_t specials = options.add_special_tokens && model_->has_template ? 2 : 0;
  const size_t room = room_for(options, specials);
  // Text after the last token that is kept need not be split.
  size_t limit = options.truncation_side == TruncationSide::right ? room : SIZE_MAX;
  if (options.upstream_cut) limit = options.max_length;
  std::vector<Piece> pieces;
  pieces.reserve(std::min(text.size() / 4, limit) + 16);
  Splitter(*model_).split(text, limit, pieces);
  require(options.truncation != Truncation::only_second || pieces.size() <= room,
          "[tokenize] truncation only_second needs a second text. Use longest_first or only_first.");
  const Pieces kept = cut(pieces, room, options.truncation_side);
  Writer out(kept.size() + specials);
  if (specials) out.special(model_->cls, 0);
  out.text(kept, 0);
  if (specials) out.special(model_->sep, 0);
  return out.finish(kept.size() < pieces.size(), options);
}

Encoding WordPiece::encode_pair(std::string_view first, std::string_view second, const EncodeOptions& options) const {
  require_size(first);
  require_size(second);
  const size_t specials = options.add_special_tokens && model_->has_template ? 3 : 0;
  const size_t room = room_for(options, specials);
  std::vector<Piece> first_pieces, second_pieces;
  Splitter splitter(*model_);
  splitter.split(first, SIZE_MAX, first_pieces);
  splitter.split(second, SIZE_MAX, second_pieces);
  Pieces a = first_pieces, b = second_pieces;
  switch (options.truncation) {
    case Truncation::longest_first: cut_longest(a, b, room, options.truncation_side); break;
    case Truncation::only_first: cut_only(a, b, room, options.truncation_side, "first"); break;
    case Truncation::only_second: cut_only(b, a, room, options.truncation_side, "second"); break;
  }
  Writer out(a.size() + b.size() + specials);
  if (specials) out.special(model_->cls, 0);
  out.text(a, 0);
  if (specials) out.special(model_->sep, 0);
  out.text(b, 1);
  if (specials) out.special(model_->sep, 1);
  return out.finish(a.size() + b.size() < first_pieces.size() + second_pieces.size(), options);
}

namespace {

// one(i) for 0 <= i < count, on `threads` threads. Rethrows the first error.
std::vector<Encoding> encode_all(size_t count, int threads, const std::function<Encoding(size_t)>& one) {
  require(threads >= 1, "[encode_batch] threads is ", threads, ", wants at least 1");
  constexpr size_t chunk = 16;
  std::vector<Encoding> out(count);
  std::atomic<size_t> next{0};
  std::exception_ptr error;
  std::mutex guard;
  const auto work = [&] {
    try {
      for (size_t begin = next.fetch_add(chunk); begin < count; begin = next.fetch_add(chunk)) {
        for (size_t i = begin; i < std::min(begin + chunk, count); ++i) out[i] = one(i);
      }
    } catch (...) {
      const std::lock_guard lock(guard);
      if (!error) error = std::current_exception();
      next = count;
    }
  };
  std::vector<std::jthread> helpers;
  const size_t wanted = std::min(static_cast<size_t>(threads), (count + chunk - 1) / chunk);
  for (size_t i = 1; i < wanted; ++i) helpers.emplace_back(work);
  work();
  helpers.clear();
  if (error) std::rethrow_exception(error);
  return out;
}

}  // namespace

std::vector<Encoding> WordPiece::encode_batch(std::span<const std::string> texts, const EncodeOptions& options, int threads) const {
  return encode_all(texts.size(), threads, [&](size_t i) { return encode(texts[i], options); });
}

std::vector<Encoding> WordPiece::encode_pairs(std::span<const std::string> first, std::span<const std::string> second,
                                              const EncodeOptions& options, int threads) const {
  require(first.size() == second.size(), "[encode_pairs] there are ", first.size(), " first texts and ", second.size(), " second ones");
  return encode_all(first.size(), threads, [&](size_t i) { return encode_pair(first[i], second[i], options); });
}

std::string WordPiece::decode(std::span<const int32_t> ids, bool skip_special_tokens) const {
  std::string out;
  bool first = true;
  for (int32_t id : ids) {
    if (!has(id) || (skip_special_tokens && is_special(id))) continue;
    std::string_view text = token(id);
    std::string piece;
    const auto& prefix = model_->decoder_prefix;
    if (!first && prefix && text.starts_with(*prefix)) text.remove_prefix(prefix->size());
    else if (!first) piece = ' ';
    piece += text;
    if (model_->cleanup) clean_up(piece);
    out += piece;
    first = false;
  }
  return out;
}

namespace {

const AddedToken* find_beyond(const std::vector<AddedToken>& beyond, int32_t id) {
  const auto at =
      std::lower_bound(beyond.begin(), beyond.end(), id, [](const AddedToken& token, int32_t wanted) { return token.id < wanted; });
  return at != beyond.end() && at->id == id ? &*at : nullptr;
}

}  // namespace

int32_t WordPiece::id(std::string_view token) const {
  for (const AddedToken& added : model_->beyond) {
    if (added.content == token) return added.id;
  }
  return model_->vocabulary.id(token);
}

bool WordPiece::has(int32_t id) const { return model_->vocabulary.has(id) || find_beyond(model_->beyond, id); }

std::string_view WordPiece::token(int32_t id) const {
  if (model_->vocabulary.has(id)) return model_->vocabulary.token(id);
  const AddedToken* added = find_beyond(model_->beyond, id);
  require(added, "[tokenize] ", model_->name, " has no token with id ", id, " (", vocab_size(), " ids)");
  return added->content;
}

bool WordPiece::is_special(int32_t id) const {
  return id >= 0 && static_cast<size_t>(id) < model_->special.size() && model_->special[static_cast<size_t>(id)];
}

size_t WordPiece::vocab_size() const { return std::max(model_->vocabulary.size(), model_->special.size()); }
int32_t WordPiece::pad_id() const { return model_->pad; }
int32_t WordPiece::cls_id() const { return model_->cls; }
int32_t WordPiece::sep_id() const { return model_->sep; }
int32_t WordPiece::mask_id() const { return model_->mask; }
int32_t WordPiece::unk_id() const { return model_->unk; }
bool WordPiece::lowercase() const { return model_->normalizer.lowercase; }
bool WordPiece::strip_accents() const { return model_->normalizer.strip_accents; }
const FileSettings& WordPiece::settings() const { return model_->settings; }

}  // namespace m2bert::tokenize
