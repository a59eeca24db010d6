#include "m2bert/ops/backend/cuda/kernel.h"

#include <cctype>
#include <climits>
#include <cstdlib>
#include <mutex>
#include <variant>

#include "m2bert/error.h"
#include "m2bert/ops/backend/cuda/pass_plan.h"

namespace m2bert::ops::cuda {

const std::string& architecture() {
  static const std::string name = [] {
    const auto& info = mx::device_info(mx::Device::gpu);
    const auto found = info.find("architecture");
    return found == info.end() ? std::string() : std::get<std::string>(found->second);
  }();
  return name;
}

int shared_memory_limit() {
  const auto& name = architecture();
  const int KiB = name == "sm_80" || name == "sm_87" ? 163 : name == "sm_90" || name == "sm_100" || name == "sm_103" ? 227 : 99;
  return KiB * 1024;
}

std::string_view best_code(std::string_view gpu, std::initializer_list<ArchitectureCode> all) {
  // Of "sm_86": 86. Machine code runs on its own generation (tens), from its own number on; code with a suffix on its own number alone.
  auto number = [](std::string_view digits) { return std::atoi(std::string(digits).c_str()); };
  const int own = gpu.size() > 3 ? number(gpu.substr(3)) : 0;
  const ArchitectureCode* best = all.end() - 1;
  for (const auto* c = all.begin(); c < all.end() - 1; ++c) {
    const int n = number(c->architecture);
    const bool suffix = std::isalpha(static_cast<unsigned char>(c->architecture.back())) != 0;
    const bool runs = n == own || (!suffix && n / 10 == own / 10 && n < own);
    if (runs && (best == all.end() - 1 || n > number(best->architecture))) best = c;
  }
  return best->code;
}

namespace {

// MLX lets a kernel have the shared memory of its first launch and no more. With another amount it has to be another module to MLX, which
// tells modules apart by their code: zeros behind a fatbin are no part of it.
const std::string& code_of(const Launch& launch, const std::string& fatbin) {
  constexpr int always_allowed = 48000;
  if (launch.shared_bytes <= always_allowed) return fatbin;
  static std::mutex mutex;
  static auto* all = new std::map<std::string, std::map<int, std::string>>;  // by kernel and amount
  const std::lock_guard lock(mutex);
  auto& amounts = (*all)[launch.kernel];
  const size_t zeros = 16 * (amounts.size() + 1);
  const auto [found, is_new] = amounts.try_emplace(launch.shared_bytes);
  if (is_new) found->second = fatbin + std::string(zeros, '\0');
  return found->second;
}

}  // namespace

std::vector<mx::array> run(const Launch& launch, const std::vector<mx::array>& inputs, const std::vector<mx::Shape>& shapes,
                           const std::vector<mx::Dtype>& dtypes, const Scalars& scalars, mx::Stream s) {
  const auto code = fatbins().find(launch.fatbin);
  require(code != fatbins().end(), "[cuda] there is no kernel \"", launch.fatbin, "\"");
  require(int64_t(launch.blocks_x) * launch.threads <= INT_MAX && launch.blocks_y <= 65535, "[cuda] ", launch.kernel, " would take ",
          launch.blocks_x, " x ", launch.blocks_y, " blocks; use smaller batches");
  const auto threads = std::make_tuple(launch.blocks_x * launch.threads, launch.blocks_y, 1);  // of the whole grid
  auto outputs = mx::fast::precompiled_cuda_kernel(launch.kernel, code_of(launch, code->second), inputs, shapes, dtypes, scalars, threads,
                                                   {launch.threads, 1, 1}, launch.shared_bytes, std::nullopt, true, s);
  if (Recording::is_on()) {
    Recording::note(KernelCall{std::string(launch.fatbin), launch.kernel, launch.blocks_x, launch.blocks_y, launch.threads,
                               launch.shared_bytes, scalars},
                    inputs, outputs);
  }
  return outputs;
}

mx::array run(const Launch& launch, const std::vector<mx::array>& inputs, const mx::Shape& shape, mx::Dtype dtype, const Scalars& scalars,
              mx::Stream s) {
  return run(launch, inputs, std::vector{shape}, std::vector{dtype}, scalars, s)[0];
}

}  // namespace m2bert::ops::cuda
