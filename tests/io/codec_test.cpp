#include "m2bert/io/codec.h"

#include <random>
#include <vector>

#include "tests/support/scratch.h"

namespace m2bert::io {
namespace {

using test::error_of;
using test::has;

const std::vector<std::string> names = {"zstd", "zstd:1", "zstd:9", "gz", "gz:0", "gz:1", "bz2", "bz2:1", "br:5", "br:0", "snappy"};

std::string unpacked(const std::string& name, const std::string& packed, uint64_t size) {
  std::string out;
  decompress(parse_compression(name)->codec, packed, size, "shard", [&](std::string_view piece) { out += piece; });
  return out;
}

// Compressible text, incompressible noise, and sizes around those of the output pieces.
std::vector<std::string> contents() {
  std::vector<std::string> all = {"", "a", std::string(100, '\0')};
  std::mt19937 random(1);
  std::string noise(300000, ' ');
  for (char& c : noise) c = static_cast<char>(random());
  all.push_back(noise);
  for (const size_t size : {(size_t{1} << 20) - 1, size_t{1} << 20, (size_t{1} << 20) + 1}) {
    std::string text;
    while (text.size() < size) text += "word " + std::to_string(random() % 1000);
    text.resize(size);
    all.push_back(text);
  }
  return all;
}

TEST(Codec, UnpacksContentOfUnknownSizeUpToALimit) {
  const std::string text(100000, 'm');
  for (const char* name : {"zstd", "gz", "bz2", "br", "snappy"}) {
    const Compression compression = *parse_compression(name);
    const std::string packed = compress(compression, text);
    EXPECT_EQ(decompress_at_most(compression.codec, packed, 100000, "f"), text) << name;
    EXPECT_EQ(decompress_at_most(compression.codec, packed, 1 << 20, "f"), text) << name;
    EXPECT_PRED2(has, error_of([&] { (void)decompress_at_most(compression.codec, packed, 99999, "f"); }), "99999") << name;
  }
}

TEST(Codec, RoundTrip) {
  for (const std::string& name : names)
    for (const std::string& content : contents()) {
      const std::string packed = compress(*parse_compression(name), content);
      EXPECT_TRUE(unpacked(name, packed, content.size()) == content) << name << " " << content.size();
      if (content.size() > 1000) continue;
      EXPECT_EQ(compress(*parse_compression(name), content), packed) << name;
    }
}

TEST(Codec, ReadsConcatenatedMembers) {
  for (const std::string name : {"zstd", "gz", "bz2"}) {
    const std::string a = compress(*parse_compression(name), "one "), b = compress(*parse_compression(name), "two");
    EXPECT_EQ(unpacked(name, a + b, 7), "one two") << name;
  }
}

TEST(Codec, WrongSizesAreErrors) {
  for (const std::string& name : names) {
    const std::string packed = compress(*parse_compression(name), "twelve bytes");
    EXPECT_TRUE(has(error_of([&] { unpacked(name, packed, 11); }), "shard: unpacks to")) << name;
    EXPECT_TRUE(has(error_of([&] { unpacked(name, packed, 13); }), "shard: unpacks to")) << name;
    EXPECT_NE(error_of([&] { unpacked(name, packed, uint64_t{1} << 60); }), "") << name;
  }
}

// 100 MB of zeros compress to little: with a wrong size, decompression stops after the first piece.
TEST(Codec, BombsStopAtTheSizeOfTheIndex) {
  const std::string zeros(100 << 20, '\0');
  for (const std::string name : {"zstd", "gz:1", "br:1"}) {
    const std::string packed = compress(*parse_compression(name), zeros);
    EXPECT_TRUE(has(error_of([&] { unpacked(name, packed, 1000); }), "more than the 1000 bytes")) << name;
  }
  EXPECT_TRUE(has(error_of([] { unpacked("snappy", "\xff\xff\xff\xff\x0f", 0xffffffff); }), "damaged"));
}

TEST(Codec, TruncatedDataIsAnError) {
  std::string text;
  for (int i = 0; i < 500; ++i) text += "word " + std::to_string(i * 7919 % 1000);
  for (const std::string& name : names) {
    const std::string packed = compress(*parse_compression(name), text);
    for (size_t size = 0; size < packed.size(); size += 1 + packed.size() / 97)
      EXPECT_TRUE(has(error_of([&] { unpacked(name, packed.substr(0, size), text.size()); }), "shard: ")) << name << " " << size;
    EXPECT_NE(error_of([&] { unpacked(name, packed + "x", text.size()); }), "") << name;
  }
}

// A flipped bit is an error or, if the format has no checksum, other content of the same size: never more, never a crash.
TEST(Codec, FlippedBitsDoNoHarm) {
  std::string text;
  for (int i = 0; i < 300; ++i) text += "word " + std::to_string(i * 7919 % 1000);
  std::mt19937 random(2);
  for (const std::string& name : names) {
    const std::string packed = compress(*parse_compression(name), text);
    for (int i = 0; i < 200; ++i) {
      std::string bad = packed;
      bad[random() % bad.size()] ^= static_cast<char>(1 << (random() % 8));
      std::string out;
      try {
        out = unpacked(name, bad, text.size());
      } catch (const Error& e) {
        EXPECT_TRUE(has(e.what(), "shard: ")) << name;
        continue;
      }
      EXPECT_EQ(out.size(), text.size()) << name;
    }
  }
}

TEST(Codec, NamesAndLevels) {
  EXPECT_EQ(parse_compression("zstd")->level, 3);
  EXPECT_EQ(parse_compression("gz:5")->level, 5);
  EXPECT_EQ(parse_compression("br")->level, 11);
  EXPECT_EQ(parse_compression("br:11")->ending(), "br");
  EXPECT_EQ(parse_compression("snappy")->ending(), "snappy");
  for (const char* name :
       {"", "zip", "zst", "zstd:", "zstd:0", "zstd:23", "gz:10", "gz:-1", "bz2:0", "br:12", "snappy:1", "zstd:3 ", "ZSTD", "gz:5:5"})
    EXPECT_FALSE(parse_compression(name)) << name;
}

}  // namespace
}  // namespace m2bert::io
