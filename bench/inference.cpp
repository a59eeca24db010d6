// The m2bert side of bench/inference.py: runs the encoder of one model on one batch of ids.
//   m2bert-bench-inference FOLDER [DTYPE]      FOLDER: config.yaml, model.safetensors, inputs.safetensors (input_ids, and attention_mask
//                                              where texts are padded)
//                                              DTYPE: float32, bfloat16 or int8
// Prints "ready ..." and then answers requests, one a line on stdin: "run" (a forward pass; prints its seconds), "save FILE" (hidden states
// as safetensors), "profile" (a forward pass; prints JSON with seconds, flops and bytes of each stage), "gemm" (GFLOP/s of a large oneDNN
// matmul in the model's dtype), "memory" (peak bytes: of the process, or on a GPU of MLX's arrays), "quit".
#include <chrono>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <string>
#include <vector>

#include "m2bert/checkpoint/safetensors.h"
#include "m2bert/checkpoint/tensor_file.h"
#include "m2bert/error.h"
#include "m2bert/io/json.h"
#include "m2bert/memory.h"
#include "m2bert/models/pretrained.h"
#include "m2bert/ops/backend/cpu/simd/blockdiag_gemm_host.h"
#include "m2bert/ops/profile.h"
#include "m2bert/threads.h"
#include "m2bert/version.h"

namespace m2bert {
namespace {

namespace fs = std::filesystem;
namespace cpu = ops::cpu;

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

models::Pretrained read_model(const fs::path& folder, mx::Dtype dtype) {
  models::LoadOptions how;
  how.config = folder / "config.yaml";
  how.dtype = dtype;
  how.head = models::Head::masked_lm;
  return models::load_pretrained(folder / "model.safetensors", how);
}

models::Inputs read_inputs(const fs::path& folder) {
  auto file = checkpoint::TensorFile::open(folder / "inputs.safetensors");
  const auto *tensor = file->find("input_ids"), *mask = file->find("attention_mask");
  require(tensor != nullptr, "inputs.safetensors has no input_ids");
  auto ids = mx::astype(file->read(*tensor), mx::int32);
  return {ids, mask ? mx::astype(file->read(*mask), mx::int32) : mx::ones_like(ids), std::nullopt};
}

class Bench {
 public:
  Bench(const fs::path& folder, mx::Dtype dtype) : pretrained_(read_model(folder, dtype)), inputs_(read_inputs(folder)) {}

  mx::array forward() const { return pretrained_.model->hidden_states(inputs_); }

  double run() const {
    const double start = now();
    mx::eval(forward());
    return now() - start;
  }

  void save(const fs::path& file) const { checkpoint::save_safetensors(file, {{"sequence_output", mx::astype(forward(), mx::float32)}}); }

  io::Tree profile() const {
    ops::set_profiling(true);
    const double seconds = run();
    ops::set_profiling(false);
    io::Tree stages = io::Tree::list();
    for (const auto& s : ops::profiled_stages()) {
      stages.push_back(io::Tree{{"name", s.name}, {"seconds", s.seconds / threads()}, {"flops", s.flops}, {"bytes", s.bytes}});
    }
    return io::Tree{{"seconds", seconds}, {"stages", stages}};
  }

  // For int8 models too this is the rate in bfloat16, which the record compares with.
  double gemm_rate() const {
    constexpr size_t n = 4096;
    const auto dtype = pretrained_.dtype == mx::float32 ? cpu::HostDtype::float32 : cpu::HostDtype::bfloat16;
    std::vector<char> a(n * n * cpu::size_of(dtype)), b(a.size()), c(a.size());
    for (size_t i = 0; i < a.size(); ++i) a[i] = b[i] = char(i % 2 == 0 ? i / 64 : 0x3c);  // numbers about 0.01, in both dtypes
    double best = 0;
    for (int i = 0; i < 4; ++i) {
      const double start = now();
      cpu::matmul(dtype, {a.data(), n, n}, {b.data(), n, n}, nullptr, c.data());
      best = std::max(best, 2e-9 * double(n * n * n) / (now() - start));
    }
    return best;
  }

 private:
  models::Pretrained pretrained_;
  models::Inputs inputs_;
};

size_t peak_memory() {
  std::ifstream status("/proc/self/status");
  std::string word;
  while (status >> word) {
    if (size_t kilobytes; word == "VmHWM:" && status >> kilobytes) return kilobytes * 1024;
  }
  fail("/proc/self/status has no VmHWM: peak memory can be measured on Linux only");
}

bool on_gpu() { return mx::default_device() == mx::Device(mx::Device::gpu); }

int serve(const Bench& bench) {
  std::string line;
  while (std::getline(std::cin, line) && line != "quit") {
    if (line == "run") std::cout << bench.run() << std::endl;
    else if (line == "profile") std::cout << io::to_json(bench.profile()) << std::endl;
    else if (line == "gemm") std::cout << bench.gemm_rate() << std::endl;
    else if (line == "memory") std::cout << (on_gpu() ? mx::get_peak_memory() : peak_memory()) << std::endl;
    else if (line.starts_with("save ")) bench.save(line.substr(5)), std::cout << "saved" << std::endl;
    else fail("unknown request: ", line);
  }
  return 0;
}

}  // namespace
}  // namespace m2bert

int main(int count, char** arguments) {
  try {
    if (!m2bert::on_gpu()) m2bert::keep_freed_memory();
    m2bert::require(count >= 2, "usage: m2bert-bench-inference FOLDER [float32|bfloat16|int8]");
    const std::string dtype = count >= 3 ? arguments[2] : "float32";
    const m2bert::Bench bench(arguments[1], m2bert::checkpoint::to_mlx_dtype(dtype, "dtype"));
    std::cout << "ready m2bert " << M2BERT_VERSION << ", MLX " << M2BERT_MLX_VERSION << ", " << dtype << std::endl;
    return m2bert::serve(bench);
  } catch (const std::exception& e) {
    std::cerr << "error: " << e.what() << "\n";
    return 1;
  }
}
