// Which MLX the program takes, with a stand-in for NVIDIA's driver (fake_cuda.cpp).
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "m2bert/mx.h"
#include "tests/cli/program.h"
#include "tests/support/scratch.h"

#ifdef __linux__
namespace m2bert::test {
namespace {

namespace fs = std::filesystem;

// As with M2BERT_MLX=cuda and a driver that behaves in this way; of no driver at all if it is empty.
HowToRun with_driver(const std::string& behaviour) {
  HowToRun how{.environment = {{"M2BERT_MLX", "cuda"}, {"FAKE_CUDA", behaviour}}};
  how.without = {"LD_LIBRARY_PATH", "M2BERT_MLX_FOUND"};
  if (!behaviour.empty()) how.environment.emplace_back("LD_LIBRARY_PATH", M2BERT_FAKE_CUDA);
  return how;
}

std::string refusal(const HowToRun& how) {
  const Outcome outcome = run({"--version"}, how);
  EXPECT_EQ(outcome.code, 1) << outcome.out;
  EXPECT_EQ(outcome.out, "");
  return outcome.err;
}

TEST(MlxLibrary, SaysWhatIsWrongWithTheDriver) {
  EXPECT_EQ(refusal(with_driver("no device")), "error: M2BERT_MLX=cuda: the NVIDIA driver finds no GPU\n");
  EXPECT_EQ(refusal(with_driver("error")), "error: M2BERT_MLX=cuda: the NVIDIA driver reports CUDA_ERROR_SYSTEM_NOT_READY\n");
  EXPECT_EQ(
      refusal(with_driver("old driver")),
      "error: M2BERT_MLX=cuda: the NVIDIA driver supports CUDA 12.4, and MLX needs 13.0: update the driver to version 580 or newer\n");
  EXPECT_EQ(refusal(with_driver("old GPU")), "error: M2BERT_MLX=cuda: Fake GPU has compute capability 7.0, and 8.0 or newer is needed\n");
  auto hidden = with_driver("hidden");
  hidden.environment.emplace_back("CUDA_VISIBLE_DEVICES", "7");
  EXPECT_EQ(refusal(hidden), "error: M2BERT_MLX=cuda: the NVIDIA driver finds no GPU (CUDA_VISIBLE_DEVICES is \"7\")\n");
}

TEST(MlxLibrary, WithoutAGpuTheProcessorComputes) {
  if (fs::exists("/dev/nvidiactl")) GTEST_SKIP() << "this machine has an NVIDIA GPU";
  const HowToRun plain{.without = {"M2BERT_MLX"}};
  const Outcome version = run({"--version", "--json"}, plain);
  EXPECT_TRUE(has(version.out, R"("mlx_build":"cpu")")) << version.out;
  EXPECT_FALSE(has(version.out, "gpu_unused"));
  const Outcome gpu = run({"--device", "gpu", "--version"}, plain);
  EXPECT_EQ(gpu.code, 1);
  EXPECT_EQ(gpu.err, "error: --device gpu: there is no NVIDIA GPU (/dev/nvidiactl). Without --device the processor computes\n");
  EXPECT_TRUE(has(refusal(with_driver("")), "libcuda.so.1 was not found: install the driver"));
}

TEST(MlxLibrary, TheVariableChoosesToo) {
  const Outcome cpu = run({"--device", "gpu", "--version"}, {.environment = {{"M2BERT_MLX", "cpu"}}});
  EXPECT_EQ(cpu.code, 1);
  EXPECT_TRUE(has(cpu.err, "--device gpu: M2BERT_MLX=cpu is set")) << cpu.err;
  const Outcome wrong = run({"--version"}, {.environment = {{"M2BERT_MLX", "gpu"}}});
  EXPECT_EQ(wrong.code, 1);
  EXPECT_TRUE(has(wrong.err, "M2BERT_MLX=gpu: it can be cpu or cuda")) << wrong.err;
  EXPECT_EQ(run({"--device", "cpu", "--version"}, with_driver("old driver")).code, 0);  // no GPU is looked for
}

// A copy of the program in an installed tree, with the driver's stand-in.
class Installed {
 public:
  Installed() {
    fs::create_directories(scratch_ / "bin");
    fs::copy_file(M2BERT_PROGRAM, scratch_ / "bin/m2bert");
  }
  fs::path cuda() const { return scratch_ / "lib/m2bert/cuda"; }
  void put(const std::string& file, const std::string& text = "") const {
    fs::create_directories((cuda() / file).parent_path());
    scratch_.put("lib/m2bert/cuda/" + file, text);
  }
  void put_libraries() const {
    for (const char* file : {"cu13/lib/libcublasLt.so.13", "cu13/lib/libcufft.so.12", "cu13/lib/libcusolver.so.12",
                             "cu13/lib/libnvrtc.so.13", "cudnn/lib/libcudnn.so.9", "nccl/lib/libnccl.so.2"})
      put(std::string("nvidia/") + file);
  }
  // Everything that the program looks for, with an MLX that loads but is not built for CUDA.
  void put_all() const;
  std::string refusal(const std::vector<std::pair<std::string, std::string>>& environment = {}) const {
    auto how = with_driver("one");
    how.program = (scratch_ / "bin/m2bert").string();
    how.environment.insert(how.environment.end(), environment.begin(), environment.end());
    how.without.insert(how.without.end(), {"CUDA_HOME", "CUDA_PATH"});
    return test::refusal(how);
  }

 private:
  Scratch scratch_;
};

// version.h of the MLX that this test is compiled with.
std::string version_header() {
  return "#define MLX_VERSION_MAJOR " + std::to_string(MLX_VERSION_MAJOR) + "\n#define MLX_VERSION_MINOR " +
         std::to_string(MLX_VERSION_MINOR) + "\n#define MLX_VERSION_PATCH " + std::to_string(MLX_VERSION_PATCH) + "\n";
}

void Installed::put_all() const {
  Dl_info mlx{};
  ASSERT_NE(::dladdr(reinterpret_cast<const void*>(&mx::version), &mlx), 0);
  const fs::path package = fs::canonical(mlx.dli_fname).parent_path().parent_path();
  put("mlx/include/mlx/version.h", version_header());
  put("nvidia/cu13/include/cuda_fp16.h");
  put_libraries();
  fs::create_directories(cuda() / "mlx/lib");
  fs::create_symlink(package / "lib/libmlx.so", cuda() / "mlx/lib/libmlx.so");
  fs::create_symlink(package.parent_path() / "mlx_cpu.libs", cuda() / "mlx_cpu.libs");
}

TEST(MlxLibrary, SaysWhatIsMissingBesideTheProgram) {
  const Installed installed;
  const std::string folder = installed.cuda().string();
  EXPECT_EQ(installed.refusal(),
            "error: M2BERT_MLX=cuda: MLX's CUDA library is not installed in " + folder + ": run script/bootstrap --cuda\n");
  installed.put("mlx/lib/libmlx.so");
  EXPECT_TRUE(has(installed.refusal(), "has version unknown, and the program needs " + std::string(mx::version())));
  installed.put("mlx/include/mlx/version.h", "#define MLX_VERSION_MAJOR 9\n#define MLX_VERSION_MINOR 8\n#define MLX_VERSION_PATCH 7\n");
  EXPECT_TRUE(has(installed.refusal(), "has version 9.8.7, and"));
  installed.put("mlx/include/mlx/version.h", version_header());
  EXPECT_TRUE(has(installed.refusal(), "NVIDIA's libcublasLt.so.13, which MLX needs, was not found: run script/bootstrap --cuda"));
  if (fs::exists("/usr/local/cuda")) return;  // with headers
  installed.put_libraries();
  EXPECT_TRUE(has(installed.refusal(), "CUDA's headers, which MLX compiles kernels with, were not found: run script/bootstrap --cuda"));
}

TEST(MlxLibrary, StartsAnewOnce) {
  const Installed installed;
  installed.put_all();
  EXPECT_EQ(installed.refusal(),
            "error: M2BERT_MLX=cuda: the loader did not take MLX's CUDA library in " + installed.cuda().string() + "\n");
}

// An empty file in jemalloc's place, which the loader complains of, unless LD_PRELOAD says something else.
TEST(MlxLibrary, PreloadsJemallocWhereItIs) {
  const Installed installed;
  installed.put_all();
  installed.put("nvidia/cu13/lib/libjemalloc.so.2");
  const std::string complaint = "cu13/lib/libjemalloc.so.2' from LD_PRELOAD";
  EXPECT_TRUE(has(installed.refusal(), complaint));
  EXPECT_FALSE(has(installed.refusal({{"LD_PRELOAD", ""}}), complaint));
}

}  // namespace
}  // namespace m2bert::test
#endif
