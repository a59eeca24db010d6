#include "m2bert/data/token_packer.h"

#include <algorithm>

#include "m2bert/error.h"

namespace m2bert::data {

TokenPacker::TokenPacker(const tokenize::WordPiece& tokenizer, const TokenPackOptions& options)
    : bos_(tokenizer.encode(options.bos_text, {.add_special_tokens = false}).ids),
      eos_(tokenizer.encode(options.eos_text, {.add_special_tokens = false}).ids),
      length_(static_cast<size_t>(std::max(options.length, 0))),
      wrap_(options.wrap) {
  require(length_ > bos_.size() + eos_.size(), "samples of ", options.length, " tokens leave no room between \"", options.bos_text, "\" (",
          bos_.size(), " tokens) and \"", options.eos_text, "\" (", eos_.size(), ")");
}

std::string TokenPacker::sample(std::span<const int32_t> ids) const {
  std::string bytes;
  bytes.reserve(length_ * sizeof(int64_t));
  for (const std::span<const int32_t> part : {std::span<const int32_t>(bos_), ids, std::span<const int32_t>(eos_)})
    for (const int64_t id : part) bytes.append(reinterpret_cast<const char*>(&id), sizeof id);
  return bytes;
}

void TokenPacker::add(std::span<const int32_t> ids, const std::function<void(std::string&&)>& take) {
  waiting_.insert(waiting_.end(), ids.begin(), ids.end());
  const size_t inside = length_ - bos_.size() - eos_.size();
  size_t used = 0;
  while (waiting_.size() - used >= length_) {
    take(sample(std::span(waiting_).subspan(used, inside)));
    used = wrap_ ? used + inside : waiting_.size();
  }
  waiting_.erase(waiting_.begin(), waiting_.begin() + static_cast<std::ptrdiff_t>(used));
}

}  // namespace m2bert::data
