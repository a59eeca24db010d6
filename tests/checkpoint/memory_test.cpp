// Memory: the weights of a large Composer file are read without its optimizer state and without a second copy.
#include <fstream>

#include <gtest/gtest.h>

#include "m2bert/checkpoint/weights.h"
#include "tests/checkpoint/bytes.h"

namespace m2bert::checkpoint::test {
namespace {

// VmHWM or VmRSS of this process in bytes; 0 without /proc.
uint64_t memory(const std::string& field) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with(field + ":")) return std::stoull(line.substr(field.size() + 1)) * 1024;
  return 0;
}

// A sparse Composer file of 4.6 GB that takes no disk space: 4 weights and 56 moments of 76 MB of zeros each.
class SparseFile {
 public:
  static constexpr uint64_t count = 19'000'000, bytes = count * 4;
  static constexpr int weights = 4, moments = 56;

  static void write(const std::filesystem::path& path) {
    std::string model, optimizer;
    for (int i = 0; i < weights + moments; ++i) {
      TensorSpec t{.key = std::to_string(i), .count = count, .shape = {count}, .strides = {1}};
      if (i < weights) model += text("model.w" + std::to_string(i)) + tensor(t);
      else optimizer += integer(i) + tensor(t);
    }
    std::string pickle =
        proto() + dict(text("state") + dict(text("model") + dict(model) + text("optimizers") + dict(text("AdamW") + dict(optimizer)))) +
        ".";
    uint32_t zeros_crc = crc_of_zeros();
    std::ofstream out(path, std::ios::binary);
    std::string directory;
    uint64_t at = 0;
    auto add = [&](const std::string& name, const std::string& content, uint64_t size, uint32_t crc) {
      std::string head =
          little(45, 2) + little(0, 4) + little(0, 4) + little(crc, 4) + little(size, 4) + little(size, 4) + little(name.size(), 2);
      out.seekp(static_cast<std::streamoff>(at));
      out << "PK\3\4" << head << little(0, 2) << name << content;
      directory += "PK\1\2" + little(45, 2) + head + little(12, 2) + little(0, 10) + little(0xffffffff, 4) + name + little(1, 2) +
                   little(8, 2) + little(at, 8);
      at += 30 + name.size() + size;
    };
    add("a/data.pkl", pickle, pickle.size(), crc32(0, pickle.data(), pickle.size()));
    for (int i = 0; i < weights + moments; ++i) add("a/data/" + std::to_string(i), "", bytes, zeros_crc);
    out.seekp(static_cast<std::streamoff>(at));
    uint64_t entries = weights + moments + 1, end64 = at + directory.size();
    out << directory << "PK\6\6" << little(44, 8) << little(45, 2) << little(45, 2) << little(0, 8) << little(entries, 8)
        << little(entries, 8) << little(directory.size(), 8) << little(at, 8) << "PK\6\7" << little(0, 4) << little(end64, 8)
        << little(1, 4) << "PK\5\6" << little(0, 4) << little(entries, 2) << little(entries, 2) << little(0xffffffff, 4)
        << little(0xffffffff, 4) << little(0, 2);
  }

 private:
  static uint32_t crc_of_zeros() {
    std::string zeros(1 << 20, '\0');
    uint32_t crc = 0;
    for (uint64_t at = 0; at < bytes; at += zeros.size()) crc = crc32(crc, zeros.data(), std::min<uint64_t>(zeros.size(), bytes - at));
    return crc;
  }
};

TEST(Memory, LoadingALargeFileTakesMemoryForTheWeightsOnly) {
#if defined(__SANITIZE_ADDRESS__)
  GTEST_SKIP() << "AddressSanitizer has memory of its own";
#endif
  if (memory("VmHWM") == 0) GTEST_SKIP() << "no /proc/self/status on this system";
  Folder folder;
  SparseFile::write(folder / "large.pt");
  ASSERT_GT(std::filesystem::file_size(folder / "large.pt"), uint64_t{1} << 32);
  mx::eval(mx::zeros({1}));
  std::ofstream("/proc/self/clear_refs") << "5";  // resets the peak
  uint64_t before = memory("VmRSS");
  auto weights = load_weights(folder / "large.pt");
  uint64_t peak = memory("VmHWM");
  ASSERT_EQ(weights.size(), static_cast<size_t>(SparseFile::weights));
  constexpr uint64_t wanted = SparseFile::weights * SparseFile::bytes, slack = 24 << 20;
  RecordProperty("weights_bytes", std::to_string(wanted));
  RecordProperty("peak_bytes", std::to_string(peak - before));
  EXPECT_LT(peak - before, wanted + slack) << "for weights of " << wanted;
  EXPECT_GE(memory("VmRSS") - before + slack, wanted);
}

}  // namespace
}  // namespace m2bert::checkpoint::test
