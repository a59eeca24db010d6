#include "m2bert/data/mds_encoding.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "m2bert/io/json.h"
#include "tests/support/scratch.h"

namespace m2bert::data {
namespace {

using test::error_of;
using test::has;

std::string encoded(const std::string& name, const MdsValue& value) { return encode_mds(parse_mds_encoding(name, "x"), value, "x"); }
MdsValue decoded(const std::string& name, std::string_view bytes) { return decode_mds(parse_mds_encoding(name, "x"), bytes, "x"); }
std::string bytes(std::initializer_list<int> values) {
  std::string out;
  for (const int value : values) out += static_cast<char>(value);
  return out;
}

TEST(MdsEncoding, StoresNumbersLittleEndian) {
  EXPECT_EQ(encoded("int", int64_t{-2}), bytes({0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}));
  EXPECT_EQ(encoded("uint16", uint64_t{0x1234}), bytes({0x34, 0x12}));
  EXPECT_EQ(encoded("float16", 1.5), bytes({0x00, 0x3e}));
  EXPECT_EQ(encoded("float32", -2.0), bytes({0, 0, 0, 0xc0}));
  EXPECT_EQ(std::get<int64_t>(decoded("int8", "\xff")), -1);
  EXPECT_EQ(std::get<uint64_t>(decoded("uint8", "\xff")), 255u);
  EXPECT_EQ(std::get<double>(decoded("float16", bytes({0x00, 0x7c}))), std::numeric_limits<double>::infinity());
}

TEST(MdsEncoding, IntegersOutOfRangeAreErrors) {
  EXPECT_TRUE(has(error_of([] { encoded("uint8", int64_t{-1}); }), "x: -1 is out of the range"));
  EXPECT_TRUE(has(error_of([] { encoded("uint8", uint64_t{256}); }), "256"));
  EXPECT_TRUE(has(error_of([] { encoded("int", UINT64_MAX); }), "out of the range"));
  EXPECT_EQ(encoded("uint8", int64_t{255}), "\xff");
}

TEST(MdsEncoding, ArraysOfKnownAndUnknownTypeAndShape) {
  const MdsArray array{MdsType::int16, {2, 1}, bytes({1, 0, 0xff, 0xff})};
  EXPECT_EQ(encoded("ndarray:int16:2,1", array), array.bytes);
  EXPECT_EQ(encoded("ndarray:int16", array), bytes({2 << 2, 2, 1}) + array.bytes);
  EXPECT_EQ(encoded("ndarray", array), bytes({17, 2 << 2, 2, 1}) + array.bytes);
  for (const char* name : {"ndarray:int16:2,1", "ndarray:int16", "ndarray"})
    EXPECT_EQ(std::get<MdsArray>(decoded(name, encoded(name, array))), array) << name;
  const MdsArray wide{MdsType::uint8, {300}, std::string(300, 'x')};
  EXPECT_EQ(encoded("ndarray:uint8", wide), bytes({1 << 2 | 1, 44, 1}) + wide.bytes);
}

TEST(MdsEncoding, SizesOfFixedEncodings) {
  EXPECT_EQ(parse_mds_encoding("int", "x").size(), 8u);
  EXPECT_EQ(parse_mds_encoding("float16", "x").size(), 2u);
  EXPECT_EQ(parse_mds_encoding("ndarray:int32:3,4", "x").size(), 48u);
  for (const char* name : {"str", "bytes", "json", "ndarray", "ndarray:int32", "str_int"})
    EXPECT_EQ(parse_mds_encoding(name, "x").size(), std::nullopt) << name;
}

TEST(MdsEncoding, NamesThatAreNotRead) {
  EXPECT_TRUE(has(error_of([] { parse_mds_encoding("pkl", "f: column c"); }), "f: column c: holds Python objects (pkl)"));
  EXPECT_TRUE(has(error_of([] { parse_mds_encoding("jpeg", "x"); }), "holds images (jpeg)"));
  for (const char* name :
       {"", "STR", "int128", "bfloat16", "ndarray:", "ndarray:str", "ndarray:int32:", "ndarray:int32:0", "ndarray:int32:2,",
        "ndarray:int32:-1", "ndarray:int32:2:3", "ndarray:int32:99999999999", "ndarray:uint8:65536,65536", "ndarrayint32"}) {
    if (std::string(name) == "ndarray:") continue;  // the Python package reads it as a plain ndarray, and so do we
    EXPECT_TRUE(has(error_of([&] { parse_mds_encoding(name, "x"); }), "is not known")) << name;
  }
}

TEST(MdsEncoding, WrongBytesAreErrors) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"int", "1234567"},
      {"int", ""},
      {"uint8", "ab"},
      {"str", "\xff"},
      {"str_int", ""},
      {"str_int", "1x"},
      {"str_int", "--1"},
      {"str_int", "1.0"},
      {"str_float", ""},
      {"str_float", "1,5"},
      {"str_float", "0x1p3"},
      {"str_float", "1 "},
      {"str_decimal", ""},
      {"str_decimal", "."},
      {"str_decimal", "1e"},
      {"str_decimal", "1.2.3"},
      {"str_decimal", "nanx"},
      {"json", ""},
      {"json", "{"},
      {"json", "NaN"},
      {"ndarray", ""},
      {"ndarray", bytes({65})},
      {"ndarray", bytes({99, 4, 1, 0})},                                // an unknown type
      {"ndarray", bytes({8, 2 << 2, 2})},                               // ends within its shape
      {"ndarray", bytes({8, 1 << 2, 3, 1, 2})},                         // fewer values than the shape says
      {"ndarray", bytes({8, 1 << 2, 1, 1, 2})},                         // more
      {"ndarray", bytes({8, 0})},                                       // no dimensions
      {"ndarray", bytes({8, 1 << 2, 0})},                               // an empty one
      {"ndarray", bytes({66, 2 << 2 | 2, 0, 0, 0, 64, 0, 0, 0, 128})},  // more than 2^64 bytes
      {"ndarray", bytes({66, 1 << 2 | 3, 0, 0, 0, 0, 0, 0, 0, 32})},
      {"ndarray:int32", bytes({1 << 2, 1, 0, 0, 0})},
      {"ndarray:int32:2", bytes({0, 0, 0, 0})},
  };
  for (const auto& [name, content] : cases) EXPECT_TRUE(has(error_of([&] { decoded(name, content); }), "x")) << name << " " << content;
}

TEST(MdsEncoding, WrongValuesAreErrors) {
  EXPECT_NE(error_of([] { encoded("str", int64_t{1}); }), "");
  EXPECT_NE(error_of([] { encoded("str", std::string("\xff")); }), "");
  EXPECT_NE(error_of([] { encoded("int", 1.0); }), "");
  EXPECT_NE(error_of([] { encoded("str_int", std::string("x")); }), "");
  EXPECT_TRUE(has(error_of([] { encoded("ndarray:int32", MdsArray{MdsType::int16, {1}, "ab"}); }), "wants int32"));
  EXPECT_TRUE(has(error_of([] { encoded("ndarray:int16:2", MdsArray{MdsType::int16, {1}, "ab"}); }), "wants 2"));
  EXPECT_NE(error_of([] { encoded("ndarray", MdsArray{MdsType::int16, {2}, "ab"}); }), "");
  EXPECT_NE(error_of([] { encoded("ndarray", MdsArray{MdsType::int16, {}, "ab"}); }), "");
  EXPECT_NE(error_of([] { encoded("ndarray", MdsArray{MdsType::uint8, std::vector<uint64_t>(64, 1), "a"}); }), "");
}

TEST(MdsEncoding, TextOfNumbers) {
  for (const double value : {0.0, -0.0, 0.1, 1e300, 5e-324, -123.456, std::numeric_limits<double>::infinity()})
    EXPECT_EQ(std::get<double>(decoded("str_float", encoded("str_float", value))), value);
  EXPECT_TRUE(std::isnan(std::get<double>(decoded("str_float", "nan"))));
  EXPECT_EQ(std::get<double>(decoded("str_float", "1e999")), std::numeric_limits<double>::infinity());
  for (const char* text : {"0", "-12.5", "1E+50", ".5", "5.", "NaN", "-sNaN12", "Infinity"})
    EXPECT_EQ(std::get<std::string>(decoded("str_decimal", text)), text);
  EXPECT_EQ(std::get<std::string>(decoded("str_int", "-123456789012345678901234567890")), "-123456789012345678901234567890");
}

}  // namespace
}  // namespace m2bert::data
