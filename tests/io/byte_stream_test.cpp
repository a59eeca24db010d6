#include "m2bert/io/byte_stream.h"

#include <zstd.h>

#include "deflated.h"
#include "tests/support/scratch.h"

namespace m2bert::io {
namespace {

using test::error_of;
using test::has;
using test::Scratch;

std::string gzip(const std::string& text) { return test::deflated(text, 16 + MAX_WBITS); }

std::string zstd(const std::string& text) {
  std::string out(ZSTD_compressBound(text.size()), '\0');
  out.resize(ZSTD_compress(out.data(), out.size(), text.data(), text.size(), 3));
  return out;
}

std::string all_of(const std::filesystem::path& path, size_t piece = 1000) {
  auto stream = open_byte_stream(path);
  std::string out, buffer(piece, '\0');
  while (const size_t n = stream->read(buffer)) out.append(buffer, 0, n);
  return out;
}

std::string sample() {
  std::string text;
  for (int i = 0; i < 200000; ++i) text += std::to_string(i * 7919 % 10007) + ' ';
  return text;
}

TEST(ByteStream, ReadsPlainAndCompressedAlike) {
  const Scratch scratch;
  const std::string text = sample();
  EXPECT_EQ(all_of(scratch.put("a", text)), text);
  EXPECT_EQ(all_of(scratch.put("a.gz", gzip(text))), text);
  EXPECT_EQ(all_of(scratch.put("a.zst", zstd(text))), text);
  EXPECT_EQ(all_of(scratch.put("told-by-content", zstd(text)), 1 << 20), text);
  EXPECT_EQ(all_of(scratch.put("two.gz", gzip("a") + gzip("") + gzip(text))), "a" + text);
  EXPECT_EQ(all_of(scratch.put("two.zst", zstd("a") + zstd("") + zstd(text))), "a" + text);
  for (const char* few : {"", "a", "ab", "abc", "abcd", "\x1f", "\x1f\x8b", "\x28\xb5"}) EXPECT_EQ(all_of(scratch.put("few", few)), few);
  EXPECT_EQ(all_of(scratch.put("empty.gz", gzip(""))), "");
}

TEST(ByteStream, TruncatedAndDamagedInputIsAnError) {
  const Scratch scratch;
  const std::string text = sample(), gz = gzip(text), zst = zstd(text);
  EXPECT_TRUE(has(error_of([&] { all_of(scratch.put("a.gz", gz.substr(0, gz.size() / 2))); }), "a.gz: its gzip data is truncated"));
  EXPECT_TRUE(has(error_of([&] { all_of(scratch.put("a.gz", gz.substr(0, gz.size() - 1))); }), "a.gz: its gzip data is truncated"));
  EXPECT_TRUE(has(error_of([&] { all_of(scratch.put("a.gz", gz + "trailing")); }), "a.gz: its gzip data is damaged"));
  EXPECT_TRUE(has(error_of([&] { all_of(scratch.put("a.zst", zst.substr(0, zst.size() / 2))); }), "a.zst: its zstd data is truncated"));
  EXPECT_TRUE(has(error_of([&] { all_of(scratch.put("a.zst", zst + "trailing")); }), "a.zst: its zstd data is damaged"));
  std::string flipped = gz;
  flipped[flipped.size() / 2] ^= 0x55;
  EXPECT_TRUE(has(error_of([&] { all_of(scratch.put("a.gz", flipped)); }), "a.gz: its gzip data is damaged"));
  EXPECT_TRUE(has(error_of([&] { all_of(scratch / "none"); }), "no such file"));
  EXPECT_TRUE(has(error_of([&] { all_of(scratch.folder()); }), "is a folder"));
}

TEST(ByteStream, SeeksInPlainFilesOnly) {
  const Scratch scratch;
  auto plain = open_byte_stream(scratch.put("a", "0123456789"));
  EXPECT_TRUE(plain->seek(7));
  std::string out(10, '\0');
  EXPECT_EQ(plain->read(out), 3u);
  EXPECT_EQ(plain->fraction(), 1.0);
  EXPECT_TRUE(has(error_of([&] { plain->seek(11); }), "has 10 bytes"));
  EXPECT_FALSE(open_byte_stream(scratch.put("a.gz", gzip("0123")))->seek(1));
}

}  // namespace
}  // namespace m2bert::io
