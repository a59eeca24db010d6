#pragma once
// CUDA's driver and cuBLASLt, for what MLX has no operation for. Both are loaded when they are first used: MLX's CUDA library brings them.
#include <cuda.h>

#include <string>
#include <type_traits>

#include "m2bert/ops/backend/cuda/pass_plan.h"

namespace m2bert::ops::cuda {

// The first GPU, which MLX computes on, with a stream of its own beside MLX's.
class Driver {
 public:
  // Null if a library or a function is missing, or if this MLX is not the one whose arrays address() knows.
  static Driver* get();

  // All throw Error if CUDA reports one.
  void make_current() const;  // before the others, in each thread
  bool try_make_current() const noexcept;
  CUdeviceptr allocate(size_t bytes) const;
  void* allocate_on_host(size_t bytes) const;  // pinned
  void free(CUdeviceptr memory) const noexcept;
  void free_on_host(void* memory) const noexcept;
  void copy_to_device(CUdeviceptr to, const void* from, size_t bytes) const;
  void copy(CUdeviceptr to, CUdeviceptr from, size_t bytes) const;
  void launch(const KernelCall& call, const std::vector<CUdeviceptr>& arrays);
  // arrays: weight, x, y
  void launch(const Product& product, const std::vector<CUdeviceptr>& arrays) const;
  void synchronize() const;

  // What is launched between these becomes a graph.
  void begin_capture() const;
  CUgraphExec end_capture() const;
  void launch(CUgraphExec graph) const;
  void free(CUgraphExec graph) const noexcept;

 private:
  struct Functions;
  struct Blas;

  explicit Driver(const Functions& functions, const Blas& blas);
  void check(CUresult result, const char* call) const;
  CUfunction function_of(const KernelCall& call);

  const Functions& f_;
  const Blas& blas_;
  CUcontext context_ = nullptr;
  CUstream stream_ = nullptr;
  void* blas_handle_ = nullptr;
  CUdeviceptr workspace_ = 0;  // of products
  std::map<std::string, CUmodule> modules_;
  std::map<std::string, std::pair<CUfunction, int>> functions_;  // by fatbin and kernel; with the shared memory it may have
};

// The device memory of an evaluated array. MLX moves it when the host reads the array.
CUdeviceptr address(const mx::array& a);

}  // namespace m2bert::ops::cuda
