#include "m2bert/checkpoint/safetensors.h"

#include <gtest/gtest.h>

#include "m2bert/checkpoint/safetensors_header.h"
#include "m2bert/error.h"
#include "tests/checkpoint/bytes.h"

namespace m2bert::checkpoint::test {
namespace {

bool same(const mx::array& a, const mx::array& b) {
  return a.dtype() == b.dtype() && a.shape() == b.shape() && mx::array_equal(a, b).item<bool>();
}

TEST(Safetensors, RoundTripKeepsEveryDtype) {
  Folder folder;
  TensorMap in;
  for (auto dtype : {mx::float32, mx::float16, mx::bfloat16, mx::int64, mx::int32, mx::int16, mx::int8, mx::uint8, mx::uint16, mx::uint32,
                     mx::uint64, mx::bool_, mx::complex64})
    in.emplace_back("t." + dtype_name(dtype), mx::astype(mx::reshape(mx::arange(15), {3, 5}), dtype));
  in.emplace_back("scalar", mx::array(3.0f));
  in.emplace_back("empty", mx::zeros({2, 0}));
  in.emplace_back("name with \"quotes\" and \xc3\xa9", mx::array(1));
  save_safetensors(folder / "t.safetensors", in, {{"note", "x"}});
  auto file = TensorFile::open(folder / "t.safetensors");
  EXPECT_EQ(file->format(), "safetensors");
  EXPECT_EQ(file->metadata().at("format"), "pt");
  EXPECT_EQ(file->metadata().at("note"), "x");
  EXPECT_EQ(file->tensors().size(), in.size());
  for (const auto& [name, value] : in) {
    ASSERT_NE(file->find(name), nullptr) << name;
    EXPECT_TRUE(same(file->read(*file->find(name)), value)) << name;
  }
}

TEST(Safetensors, MetadataMayBeNull) {
  Folder folder;
  const std::string header = R"({"__metadata__":null,"w":{"dtype":"F32","shape":[6],"data_offsets":[0,24]}})";
  auto file = TensorFile::open(folder.write("null.safetensors", safetensors(header, floats(6))));
  EXPECT_TRUE(file->metadata().empty());
  EXPECT_EQ(file->tensors().size(), 1u);
}

// Every dtype of safetensors 0.8; those of less than a byte have no dtype of torch.
TEST(Safetensors, EveryDtypeIsListed) {
  Folder folder;
  const std::vector<std::tuple<std::string, std::string, int>> dtypes = {{"BOOL", "bool", 24},
                                                                         {"F4", "float4_e2m1fn", 48},
                                                                         {"F6_E2M3", "float6_e2m3fn", 32},
                                                                         {"F6_E3M2", "float6_e3m2fn", 32},
                                                                         {"U8", "uint8", 24},
                                                                         {"I8", "int8", 24},
                                                                         {"F8_E5M2", "float8_e5m2", 24},
                                                                         {"F8_E4M3", "float8_e4m3fn", 24},
                                                                         {"F8_E8M0", "float8_e8m0fnu", 24},
                                                                         {"F8_E4M3FNUZ", "float8_e4m3fnuz", 24},
                                                                         {"F8_E5M2FNUZ", "float8_e5m2fnuz", 24},
                                                                         {"I16", "int16", 12},
                                                                         {"U16", "uint16", 12},
                                                                         {"F16", "float16", 12},
                                                                         {"BF16", "bfloat16", 12},
                                                                         {"I32", "int32", 6},
                                                                         {"U32", "uint32", 6},
                                                                         {"F32", "float32", 6},
                                                                         {"C64", "complex64", 3},
                                                                         {"F64", "float64", 3},
                                                                         {"I64", "int64", 3},
                                                                         {"U64", "uint64", 3}};
  for (const auto& [name, dtype, values] : dtypes) {
    const std::string header = R"({"w":{"dtype":")" + name + R"(","shape":[)" + std::to_string(values) + R"(],"data_offsets":[0,24]}})";
    auto file = TensorFile::open(folder.write("w.safetensors", safetensors(header, floats(6))));
    EXPECT_EQ(file->tensors()[0].dtype, dtype);
    EXPECT_EQ(file->tensors()[0].nbytes, 24u) << name;
  }
}

TEST(Safetensors, HeaderEndsOnEightBytesAndTensorsAreAligned) {
  Folder folder;
  save_safetensors(folder / "t.safetensors",
                   {{"a", mx::zeros({3}, mx::uint8)}, {"b", mx::zeros({5}, mx::float16)}, {"c", mx::zeros({2}, mx::int64)}});
  std::string content = io::read_file(folder / "t.safetensors");
  auto header = read_safetensors_header(bytes_of(content), "t");
  EXPECT_EQ(header.entries[0].offset % 8, 0u);
  for (const auto& e : header.entries) EXPECT_EQ(e.offset % (e.bytes / static_cast<uint64_t>(e.shape[0])), 0u) << e.name;
}

TEST(Safetensors, TiedArraysAreStoredOnceUnderTheFirstName) {
  Folder folder;
  auto tied = mx::arange(6.0f);
  save_safetensors(folder / "t.safetensors", {{"z", tied}, {"b", tied}, {"c", mx::arange(6.0f)}});
  auto file = TensorFile::open(folder / "t.safetensors");
  EXPECT_EQ(file->find("z"), nullptr);
  EXPECT_NE(file->find("b"), nullptr);
  EXPECT_NE(file->find("c"), nullptr);
  EXPECT_EQ(file->metadata().at("z"), "b");
}

TEST(Safetensors, ContentDecidesNotTheName) {
  Folder folder;
  save_safetensors(folder / "model.safetensors", {{"a", mx::array(1)}});
  std::filesystem::rename(folder / "model.safetensors", folder / "model.bin");
  EXPECT_EQ(TensorFile::open(folder / "model.bin")->format(), "safetensors");
}

TEST(Safetensors, UnalignedDataIsRead) {
  Folder folder;
  std::string header = R"({"w":{"dtype":"F32","shape":[6],"data_offsets":[0,24]}})";
  while (header.size() % 4 != 1) header += ' ';
  auto file = TensorFile::open(folder.write("u.safetensors", safetensors(header, floats(6))));
  EXPECT_TRUE(same(file->read(file->tensors()[0]), mx::arange(6.0f)));
}

TEST(Safetensors, BoolsAreZeroOrOne) {
  Folder folder;
  auto file = TensorFile::open(
      folder.write("b.safetensors", safetensors(R"({"w":{"dtype":"BOOL","shape":[3],"data_offsets":[0,3]}})", std::string("\0\1\x80", 3))));
  EXPECT_EQ(mx::sum(file->read(file->tensors()[0])).item<int>(), 2);
}

}  // namespace
}  // namespace m2bert::checkpoint::test
