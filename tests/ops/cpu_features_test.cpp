#include "m2bert/ops/cpu_features.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

namespace m2bert {
namespace {

#ifdef __x86_64__
// Whether oneDNN's variable allows this; without it, everything is allowed.
bool allowed(const char* isa) {
  const char* most = std::getenv("ONEDNN_MAX_CPU_ISA");
  if (most == nullptr || *most == 0) return true;
  const std::string order = "SSE41 AVX AVX2 AVX512_CORE AVX512_CORE_VNNI AVX512_CORE_BF16 AVX512_CORE_AMX ";
  return order.find(std::string(isa) + " ") <= order.find(std::string(most) + " ");
}

TEST(CpuFeatures, FollowTheProcessorAndTheVariable) {
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && allowed("AVX512_CORE");
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && allowed("AVX2");
  EXPECT_STREQ(ops::instruction_set(), avx512 ? "avx512" : avx2 ? "avx2" : "portable");
  EXPECT_EQ(ops::supports_bfloat16_gemm(), avx512);  // with plain AVX-512, oneDNN emulates bfloat16
  if (__builtin_cpu_supports("avx512vnni") && allowed("AVX512_CORE_VNNI")) {
    EXPECT_TRUE(ops::supports_int8_gemm());
  }
  if (!allowed("AVX512_CORE_VNNI")) {
    EXPECT_FALSE(ops::supports_int8_gemm());
  }
}
#endif

}  // namespace
}  // namespace m2bert
