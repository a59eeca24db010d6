// DEVICE=gpu runs the tests on the GPU. If MLX has none, every test is skipped by name.
#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>

#include "m2bert/mx.h"
#include "m2bert/threads.h"
#include "tests/support/run_tests.h"

namespace {

class NoGpu : public ::testing::EmptyTestEventListener {
  void OnTestStart(const ::testing::TestInfo&) override { GTEST_SKIP() << "DEVICE=gpu, and this MLX has no GPU (docs/gpu.md, Testing)"; }
};

}  // namespace

int main(int argc, char** argv) {
  m2bert::limit_spinning(argv);
  ::testing::InitGoogleTest(&argc, argv);
  const char* device = std::getenv("DEVICE");
  if (device && std::strcmp(device, "gpu") == 0) {
    setenv("MLX_ENABLE_TF32", "0", 0);  // otherwise MLX multiplies float32 with 10 bits of mantissa
    if (m2bert::mx::is_available(m2bert::mx::Device(m2bert::mx::Device::gpu))) {
      m2bert::mx::set_default_device(m2bert::mx::Device::gpu);
    } else {
      ::testing::UnitTest::GetInstance()->listeners().Append(new NoGpu);
    }
  } else {
    m2bert::mx::set_default_device(m2bert::mx::Device::cpu);
  }
  return m2bert::test::run_tests();
}
