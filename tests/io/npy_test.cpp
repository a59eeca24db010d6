#include "m2bert/io/npy.h"

#include <cmath>
#include <cstring>
#include <limits>

#include "m2bert/io/file.h"
#include "tests/support/scratch.h"

namespace m2bert::io {
namespace {

using test::error_of;
using test::has;
using test::Scratch;

std::string npy(const std::string& header, const std::string& data, char version = 1) {
  std::string out = "\x93NUMPY";
  out += version;
  out += '\0';
  out += static_cast<char>(header.size() & 255);
  out += static_cast<char>(header.size() >> 8);
  if (version > 1) out += std::string(2, '\0');
  return out + header + data;
}

TEST(Npy, HeaderHasOneSizeForAllShapes) {
  for (uint64_t rows : {uint64_t{0}, uint64_t{7}, uint64_t{10'000'000'000}}) {
    const std::string header = npy_header(NpyType::float32, rows, 768);
    EXPECT_EQ(header.size(), kNpyHeader);
    EXPECT_EQ(header.size() % 64, 0u);
    EXPECT_EQ(header.back(), '\n');
    EXPECT_TRUE(has(header, "'shape': (" + std::to_string(rows) + ", 768)"));
  }
}

TEST(Npy, WritesAndReadsBack) {
  const Scratch scratch;
  const std::vector<float> values = {1.5f, -2, 0, 3e-5f, 65504, 7};
  write_npy(scratch / "a.npy", values, 2, 3);
  const NpyMatrix matrix = read_npy(scratch / "a.npy");
  EXPECT_EQ(matrix.values, values);
  EXPECT_EQ(matrix.rows, 2u);
  EXPECT_EQ(matrix.columns, 3u);
  write_npy(scratch / "h.npy", values, 2, 3, NpyType::float16);
  EXPECT_EQ(std::filesystem::file_size(scratch / "h.npy"), kNpyHeader + 12);
  EXPECT_NEAR(read_npy(scratch / "h.npy").values[3], 3e-5f, 3e-8);
  EXPECT_NE(error_of([&] { write_npy(scratch / "b.npy", values, 4, 2); }), "");
  EXPECT_FALSE(std::filesystem::exists(scratch / "b.npy"));
}

TEST(Npy, ReadsWhatNumpyWrites) {
  const Scratch scratch;
  const double numbers[2] = {1.25, -8};
  const std::string data(reinterpret_cast<const char*>(numbers), sizeof numbers);
  EXPECT_EQ(read_npy(scratch.put("d.npy", npy("{'descr': '<f8', 'fortran_order': False, 'shape': (2,), }  \n", data))).values,
            (std::vector<float>{1.25f, -8}));
  EXPECT_EQ(read_npy(scratch.put("v.npy", npy("{'shape': (1, 2), 'fortran_order': False, 'descr': '<f8'}\n", data, 2))).columns, 2u);
  EXPECT_EQ(read_npy(scratch.put("e.npy", npy("{'descr': '<f4', 'fortran_order': False, 'shape': (0, 5), }\n", ""))).columns, 5u);
}

TEST(Npy, BytesAreMappedAndAreNoFloats) {
  const Scratch scratch;
  for (const auto& [type, name] : {std::pair(NpyType::int8, "|i1"), {NpyType::uint8, "|u1"}}) {
    const auto file = scratch.put("b.npy", npy_header(type, 2, 3) + "abcdef");
    const NpyView view = map_npy(file);
    EXPECT_EQ(view.type, name);
    EXPECT_EQ(view.rows, 2u);
    EXPECT_EQ(view.columns, 3u);
    EXPECT_EQ(static_cast<char>(view.file.bytes()[view.offset + 5]), 'f');
    EXPECT_TRUE(has(error_of([&] { read_npy(file); }), name));
    EXPECT_THROW(write_npy(scratch / "c.npy", {1}, 1, 1, type), Error);
  }
  EXPECT_FALSE(std::filesystem::exists(scratch / "c.npy"));
}

TEST(Npy, HostileFilesAreRefused) {
  const Scratch scratch;
  const auto refuse = [&](const std::string& content, const char* part) {
    EXPECT_TRUE(has(error_of([&] { read_npy(scratch.put("x.npy", content)); }), "x.npy: "));
    EXPECT_TRUE(has(error_of([&] { read_npy(scratch.put("x.npy", content)); }), part));
  };
  refuse("", "not an .npy file");
  refuse("\x93NUMPY", "not an .npy file");
  refuse("PK\x03\x04 and more", "not an .npy file");
  refuse(npy("{}", "", 9), "version 9");
  refuse(npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }\n", "").substr(0, 30), "truncated in its header");
  refuse(npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }\n", "1234"), "wants another size");
  refuse(npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1), }\n", "12345678"), "wants another size");
  refuse(npy("{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 4), }\n", ""), "wants another size");
  refuse(npy("{'descr': '<f4', 'fortran_order': False, 'shape': (46116860184273879040, 4), }\n", ""), "damaged");
  refuse(npy("{'descr': '<f4', 'fortran_order': False, 'shape': (536870912, 536870912), }\n", ""), "wants another size");
  refuse(npy("{'descr': '<f4', 'fortran_order': True, 'shape': (1, 1), }\n", "1234"), "Fortran");
  refuse(npy("{'descr': '>f4', 'fortran_order': False, 'shape': (1, 1), }\n", "1234"), "type >f4");
  refuse(npy("{'descr': '|O', 'fortran_order': False, 'shape': (1, 1), }\n", "1234"), "type |O");
  refuse(npy("{'descr': '<f4', 'fortran_order': False, 'shape': (), }\n", "1234"), "0 dimensions");
  refuse(npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1, 1), }\n", "1234"), "3 dimensions");
  for (const char* header :
       {"", "{", "{}", "[]", "{'descr': '<f4'}", "{'descr': '<f4', 'descr': '<f4', 'shape': (1,), 'fortran_order': False}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 1), }", "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1) } x",
        "{'descr': __import__('os'), 'fortran_order': False, 'shape': (1,)}", "{'descr': '<f4', 'fortran_order': 0, 'shape': (1,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1), 'more': 1}", "{'descr': '<f4"}) {
    refuse(npy(header, "1234"), "header is damaged");
  }
}

TEST(Float16, RoundsToNearestEven) {
  EXPECT_EQ(to_float16(1.0f), 0x3C00);
  EXPECT_EQ(to_float16(-2.0f), 0xC000);
  EXPECT_EQ(to_float16(65504.0f), 0x7BFF);
  EXPECT_EQ(to_float16(65519.0f), 0x7BFF);
  EXPECT_EQ(to_float16(65520.0f), 0x7C00);
  EXPECT_EQ(to_float16(INFINITY), 0x7C00);
  EXPECT_EQ(to_float16(5.9604645e-8f), 1);
  EXPECT_EQ(to_float16(2.9802322e-8f), 0);  // half of the smallest: rounds to even
  EXPECT_EQ(to_float16(2.9802326e-8f), 1);
  EXPECT_EQ(to_float16(1.00048828125f), 0x3C00);
  EXPECT_EQ(to_float16(1.00146484375f), 0x3C02);
  EXPECT_TRUE(std::isnan(from_float16(to_float16(NAN))));
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const float value = from_float16(static_cast<uint16_t>(bits));
    if (std::isnan(value)) continue;
    ASSERT_EQ(to_float16(value), bits);
  }
}

}  // namespace
}  // namespace m2bert::io
