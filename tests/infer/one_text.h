#pragma once
// One text as the arrays that a model takes, made without infer's batches.
#include <algorithm>

#include "m2bert/models/pretrained.h"

namespace m2bert::infer {

struct OneText {
  mx::array ids, mask;  // [1, length] int32, padded with 0
};

inline OneText one_text(const models::Pretrained& pretrained, const std::string& text) {
  tokenize::EncodeOptions how;
  how.max_length = pretrained.max_length;
  std::vector<int32_t> ids = pretrained.tokenizer.encode(text, how).ids, mask(ids.size(), 1);
  const size_t length = pretrained.dynamic_padding ? ids.size() : static_cast<size_t>(pretrained.max_length);
  ids.resize(length);
  mask.resize(length);
  const mx::Shape shape{1, static_cast<int>(length)};
  return {mx::array(ids.begin(), shape), mx::array(mask.begin(), shape)};
}

inline std::vector<float> floats(const mx::array& a) {
  auto row = mx::contiguous(mx::astype(a, mx::float32));
  row.eval();
  return {row.data<float>(), row.data<float>() + row.size()};
}

inline void expect_close(const std::vector<float>& ours, size_t first, const std::vector<float>& expected) {
  ASSERT_LE(first + expected.size(), ours.size());
  for (size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(ours[first + i], expected[i], 2e-5f) << "value " << i;
}

}  // namespace m2bert::infer
