#include "m2bert/ops/host_array.h"

#include <gtest/gtest.h>

#include <numeric>
#include <vector>

#include "near.h"

namespace m2bert {
namespace {

using testing_ops::expect_near;

// Arrays of many sizes, some of them kept while others are made: no two share memory while both are in use.
TEST(HostArray, HoldsTheValuesWhileOthersAreMade) {
  std::vector<std::pair<mx::array, std::vector<int32_t>>> kept;
  for (int i = 0; i < 300; ++i) {
    const int rows = 1 + i % 7, columns = 1 + i % 41;
    std::vector<int32_t> values(size_t(rows * columns));
    std::iota(values.begin(), values.end(), 1000 * i);
    const auto a = ops::host_array(values.data(), {rows, columns});
    EXPECT_EQ(a.shape(), (mx::Shape{rows, columns}));
    EXPECT_EQ(a.dtype(), mx::int32);
    if (i % 3 == 0) kept.emplace_back(mx::add(a, mx::array(1)), values);
    if (i % 5 == 0) kept.emplace_back(mx::transpose(a) + mx::array(1), std::vector<int32_t>{});
  }
  for (auto& [a, values] : kept) {
    a.eval();
    for (size_t i = 0; i < values.size(); ++i) EXPECT_EQ(a.data<int32_t>()[i], values[i] + 1);
  }
}

TEST(HostArray, Floats) {
  const std::vector<float> values{1.5f, -2, 3};
  const auto a = ops::host_array(values.data(), {1, 3});
  EXPECT_TRUE(mx::array_equal(a, mx::array({1.5f, -2.0f, 3.0f}, {1, 3})).item<bool>());
  EXPECT_EQ(ops::host_array(values.data(), {0, 3}).size(), 0u);
}

TEST(IndexArray, HasItsValues) {
  using Runs = std::vector<ops::IndexRun>;
  for (const auto& runs : {Runs{{7, 40}, {46, 1}, {46, 1}, {0, 0}, {38, 39}, {1080, 20}}, Runs{{5, 1}}, Runs{{9, 0}}, Runs{}}) {
    std::vector<int> values;
    for (const auto& run : runs) {
      for (int i = 0; i < run.count; ++i) values.push_back(run.value + i);
    }
    const mx::array expected(values.data(), {int(values.size())}, mx::int32);
    for (const auto form : {ops::index_array, ops::index_array_of_values, ops::index_array_of_steps}) expect_near(form(runs), expected, 0);
  }
}

}  // namespace
}  // namespace m2bert
