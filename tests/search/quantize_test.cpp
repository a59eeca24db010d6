#include "m2bert/search/quantize.h"

#include <gtest/gtest.h>

#include <cmath>

#include "m2bert/error.h"

namespace m2bert::search {
namespace {

using Bytes = std::vector<uint8_t>;

// The values are those of sentence-transformers' quantize_embeddings; tests/parity/test_vectors.py compares with it.
TEST(Quantizer, StepsBetweenTheEnds) {
  const Ranges ranges{{-255, 0, 2}, {255, 255, 2}};
  const std::vector<float> vectors = {-255, 0, 2, 255, 255, 3, -900, 254.9f, 1, 0, 300, 2};
  const Quantizer u(Precision::uint8, 3, ranges), s(Precision::int8, 3, ranges);
  EXPECT_EQ(u.row_bytes(), 3u);
  EXPECT_EQ(u.encode(vectors), (Bytes{0, 0, 0, 255, 255, 1, 0, 254, 0, 127, 255, 0}));  // the third dimension has steps of 1
  EXPECT_EQ(s.encode(vectors), (Bytes{128, 128, 128, 127, 127, 129, 128, 126, 128, 255, 127, 128}));
  std::vector<float> back(12), signed_back(12);
  u.decode(u.encode(vectors), back);
  s.decode(s.encode(vectors), signed_back);
  EXPECT_EQ(back, signed_back);
  EXPECT_FLOAT_EQ(back[3], 255);
  EXPECT_FLOAT_EQ(back[5], 3);
  EXPECT_FLOAT_EQ(back[7], 254);
}

TEST(Quantizer, BitsBeginAtTheHighest) {
  const std::vector<float> vector = {1, 0, -1, 2, -0.0f, 3, 4, 5, -1, 6};  // 10010111 01000000
  const Quantizer u(Precision::ubinary, 10), s(Precision::binary, 10);
  EXPECT_EQ(u.row_bytes(), 2u);
  EXPECT_EQ(u.encode(vector), (Bytes{0x97, 0x40}));
  EXPECT_EQ(s.encode(vector), (Bytes{0x17, 0xC0}));
  std::vector<float> bits(10);
  for (const Quantizer* each : {&u, &s}) {
    each->decode(each->encode(vector), bits);
    EXPECT_EQ(bits, (std::vector<float>{1, 0, 0, 1, 0, 1, 1, 1, 0, 1}));
  }
}

TEST(Quantizer, Float32IsUnchanged) {
  const std::vector<float> vectors = {1, -2.5f, 3e-9f, 4};
  const Quantizer q(Precision::float32, 2);
  std::vector<float> back(4);
  q.decode(q.encode(vectors), back);
  EXPECT_EQ(back, vectors);
}

TEST(Quantizer, RangesGrow) {
  Ranges ranges;
  EXPECT_TRUE(ranges.empty());
  widen(ranges, {}, 2);
  EXPECT_TRUE(ranges.empty());
  widen(ranges, std::vector<float>{1, 2, -1, 5}, 2);
  widen(ranges, std::vector<float>{0, 7}, 2);
  EXPECT_EQ(ranges.low, (std::vector<float>{-1, 2}));
  EXPECT_EQ(ranges.high, (std::vector<float>{1, 7}));
  EXPECT_THROW(widen(ranges, std::vector<float>{1, 2, 3}, 3), Error);
  EXPECT_THROW(widen(ranges, std::vector<float>{1, 2, 3}, 2), Error);
}

TEST(Quantizer, RefusesWhatDoesNotFit) {
  EXPECT_THROW(Quantizer(Precision::int8, 2), Error);
  EXPECT_THROW(Quantizer(Precision::int8, 2, {{0, 0, 0}, {1, 1, 1}}), Error);
  EXPECT_THROW(Quantizer(Precision::uint8, 1, {{0}, {INFINITY}}), Error);
  EXPECT_THROW(Quantizer(Precision::ubinary, 0), Error);
  EXPECT_THROW(Quantizer(Precision::ubinary, 3).encode(std::vector<float>{1, 2}), Error);
  std::vector<float> out(3);
  EXPECT_THROW(Quantizer(Precision::ubinary, 3).decode(Bytes{1, 2}, out), Error);
  EXPECT_THROW(precision_named("int4"), Error);
  for (const char* name : {"float32", "int8", "uint8", "binary", "ubinary"}) EXPECT_STREQ(name_of(precision_named(name)), name);
}

}  // namespace
}  // namespace m2bert::search
