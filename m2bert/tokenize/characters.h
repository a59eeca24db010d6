#pragma once
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace m2bert::tokenize {

// Counts the characters in front of a byte of a text: code points, as Python counts them. The text must outlive it.
class Characters {
 public:
  explicit Characters(std::string_view text) : text_(text) {
    for (size_t i = 0; i < text.size(); ++i) {
      if (i % step == 0) before_.push_back(count_);
      count_ += starts(i);
    }
  }
  uint64_t before(size_t byte) const {
    if (byte >= text_.size()) return count_;
    uint64_t count = before_[byte / step];
    for (size_t i = byte / step * step; i < byte; ++i) count += starts(i);
    return count;
  }
  uint64_t count() const { return count_; }

 private:
  static constexpr size_t step = 64;
  uint64_t starts(size_t i) const { return (static_cast<unsigned char>(text_[i]) & 0xC0) != 0x80 ? 1 : 0; }

  std::string_view text_;
  std::vector<uint64_t> before_;  // the characters before every step-th byte
  uint64_t count_ = 0;
};

}  // namespace m2bert::tokenize
