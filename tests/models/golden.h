#pragma once
// Golden tensors made by upstream or by the PyTorch model of tests/parity, and their tolerances.
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <string>

#include "m2bert/io/json.h"
#include "m2bert/mx.h"
#include "tests/support/paths.h"

namespace m2bert::golden {

namespace fs = std::filesystem;

using test::shared_dir;
using test::source_dir;

using Tensors = std::map<std::string, mx::array>;

inline Tensors load_tensors(const fs::path& file) {
  auto [tensors, metadata] = mx::load_safetensors(file.string());
  Tensors out;
  for (auto& [name, a] : tensors) out.emplace(name, mx::issubdtype(a.dtype(), mx::integer) ? mx::astype(a, mx::int32) : a);
  return out;
}

// |ours - golden| <= 8 x upstream's own fp32 noise + 2e-6 x the tensor's largest |value|.
class Tolerances {
 public:
  explicit Tolerances(const fs::path& file) : tree_(io::read_json(file)) {}

  void expect(const std::string& name, const mx::array& ours, const mx::array& golden) const {
    ASSERT_EQ(ours.shape(), golden.shape()) << name;
    const io::Tree* figures = tree_.find(name);
    ASSERT_NE(figures, nullptr) << name << " has no tolerance";
    const double allowed = 8 * figures->items()[0].number() + 2e-6 * figures->items()[1].number();
    if (golden.size() == 0) return;
    const double off = mx::max(mx::abs(mx::astype(ours, mx::float32) - mx::astype(golden, mx::float32))).item<float>();
    EXPECT_TRUE(off <= allowed) << name << ": off by " << off << ", allowed " << allowed << " (largest value "
                                << figures->items()[1].number() << ")";
  }

 private:
  io::Tree tree_;
};

}  // namespace m2bert::golden
