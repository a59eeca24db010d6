// m2bert --version
#include <utility>
#include <variant>

#include "cli/command.h"
#include "cli/mlx_library.h"
#include "cli/runtime.h"
#include "m2bert/io/json.h"
#include "m2bert/mx.h"
#include "m2bert/ops/backend/backend.h"
#include "m2bert/ops/cpu_features.h"
#include "m2bert/threads.h"
#include "m2bert/version.h"

namespace m2bert::cli {
namespace {

// What the processor supports; ops::instruction_set says what is used of it.
std::vector<std::string> cpu_features() {
  std::vector<std::string> features;
#if defined(__x86_64__)
  __builtin_cpu_init();
  const std::pair<const char*, bool> known[] = {
      {"sse4.2", __builtin_cpu_supports("sse4.2")},
      {"avx", __builtin_cpu_supports("avx")},
      {"avx2", __builtin_cpu_supports("avx2")},
      {"fma", __builtin_cpu_supports("fma")},
      {"avx512f", __builtin_cpu_supports("avx512f")},
      {"avx512bw", __builtin_cpu_supports("avx512bw")},
      {"avx512vnni", __builtin_cpu_supports("avx512vnni")},
      {"avx512bf16", __builtin_cpu_supports("avx512bf16")},
  };
  for (const auto& [name, there] : known)
    if (there) features.emplace_back(name);
#elif defined(__aarch64__)
  features.emplace_back("neon");
#endif
  return features;
}

std::string device_name() {
  const mx::Device device = mx::default_device();
  std::string name = device == mx::Device::gpu ? "gpu" : "cpu";
  const auto& info = mx::device_info(device);
  if (const auto found = info.find("device_name"); found != info.end())
    if (const auto* text = std::get_if<std::string>(&found->second); text != nullptr && !text->empty()) name += " (" + *text + ")";
  return name;
}

bool has_unused_gpu() { return has_nvidia_gpu() && !mx::is_available(mx::Device::gpu); }

bool on_gpu() { return mx::default_device() == mx::Device(mx::Device::gpu); }

}  // namespace

std::string version_text(const Globals& globals) {
  set_up_runtime(globals);
  const std::vector<std::string> features = cpu_features();
  if (globals.json) {
    std::vector<io::Tree> names(features.begin(), features.end());
    io::Tree document = {{"version", M2BERT_VERSION},
                         {"mlx", mx::version()},
                         {"mlx_build", mlx_build()},
                         {"commit", M2BERT_COMMIT},
                         {"device", device_name()},
                         {"threads", threads()},
                         {"cpu_features", io::Tree::list(std::move(names))},
                         {"kernels", ops::instruction_set()},
                         {"bfloat16_products", ops::supports_bfloat16_gemm()},
                         {"int8_products", ops::supports_int8_gemm()}};
    if (on_gpu()) document.set("gpu_kernels", ops::backend_for({}).name());
    if (has_unused_gpu()) document.set("gpu_unused", why_no_gpu());
    return io::to_json(document) + "\n";
  }
  std::string joined;
  for (const std::string& feature : features) joined += (joined.empty() ? "" : " ") + feature;
  return "m2bert " M2BERT_VERSION " (" M2BERT_COMMIT ")\nMLX " + std::string(mx::version()) + " (" + mlx_build() + ")\ndevice " +
         device_name() + "\nthreads " + std::to_string(threads()) + "\ncpu features " + (joined.empty() ? "none known" : joined) +
         "\nkernels " + ops::instruction_set() + (ops::supports_bfloat16_gemm() ? ", bfloat16 products" : "") +
         (ops::supports_int8_gemm() ? ", int8 products" : "") + "\n" +
         (on_gpu() ? std::string("gpu kernels ") + ops::backend_for({}).name() + "\n" : "") +
         (has_unused_gpu() ? "GPU not used: " + why_no_gpu() + "\n" : "");
}

}  // namespace m2bert::cli
