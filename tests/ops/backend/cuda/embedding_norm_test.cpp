// The embedding of NVIDIA GPUs against the fallback.
#include "m2bert/ops/embedding.h"

#include <gtest/gtest.h>

#include "m2bert/ops/backend/backend.h"
#include "tests/ops/near.h"

namespace m2bert {
namespace {

using namespace testing_ops;

TEST(CudaEmbeddingNorm, EqualsTheFallback) {
  if (std::string(ops::backend_for({}).name()) != "cuda") GTEST_SKIP() << "kernels of NVIDIA GPUs";
  for (const int H : {16, 768, 1792}) {
    for (const auto norm_dtype : {mx::float32, mx::bfloat16}) {
      for (const auto& [B, L] : {std::pair{1, 1}, {3, 37}, {16, 128}}) {
        auto table = [H = H](int count, int seed) { return ops::Weight(random({count, H}, seed, mx::bfloat16)); };
        const auto ids = mx::random::randint(0, 50, {B, L}, mx::int32, mx::random::key(1));
        const ops::NormWeights norm{random({H}, 4, norm_dtype), random({H}, 5, norm_dtype), 1e-12f};
        std::vector<ops::EmbeddingRows> rows{
            {table(50, 1), ids}, {table(2, 2), mx::array(1)}, {table(200, 3), mx::arange(0, L, 1, mx::int64)}};
        for (const auto& types : {mx::array(1), mx::remainder(ids, mx::array(2)), mx::remainder(mx::arange(B), mx::array(2))}) {
          rows[1].index = types.ndim() == 1 ? mx::reshape(types, {B, 1}) : types;
          const auto y = ops::embedding_norm(rows, norm, mx::bfloat16);
          EXPECT_EQ(y.dtype(), mx::bfloat16);
          expect_near(y, ops::embedding_norm_fallback(rows, norm, mx::float32), 5e-3);
        }
        rows.pop_back();
        expect_near(ops::embedding_norm(rows, norm, mx::bfloat16), ops::embedding_norm_fallback(rows, norm, mx::float32), 5e-3);
      }
    }
  }
}

}  // namespace
}  // namespace m2bert
