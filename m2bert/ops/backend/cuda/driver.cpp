#include "m2bert/ops/backend/cuda/driver.h"

#include <dlfcn.h>

#include <algorithm>
#include <cstring>
#include <memory>

#include "m2bert/error.h"
#include "m2bert/version.h"

namespace m2bert::ops::cuda {

namespace {

// What a function is called in the library: cuda.h renames some to a later version.
#define M2BERT_TEXT(name) #name
#define M2BERT_NAME(name) M2BERT_TEXT(name)

template <typename Function>
bool load(void* library, const char* name, Function& function) {
  function = library ? reinterpret_cast<Function>(::dlsym(library, name)) : nullptr;
  return function != nullptr;
}

constexpr size_t kWorkspaceBytes = size_t(32) << 20;

}  // namespace

struct Driver::Functions {
  decltype(&cuInit) init;
  decltype(&cuDevicePrimaryCtxRetain) retain_context;
  decltype(&cuCtxSetCurrent) set_context;
  decltype(&cuGetErrorString) error_text;
  decltype(&cuStreamCreate) create_stream;
  decltype(&cuStreamSynchronize) synchronize;
  decltype(&cuStreamBeginCapture) begin_capture;
  decltype(&cuStreamEndCapture) end_capture;
  decltype(&cuGraphInstantiate) instantiate;
  decltype(&cuGraphDestroy) destroy_graph;
  decltype(&cuGraphLaunch) launch_graph;
  decltype(&cuGraphExecDestroy) destroy_exec;
  decltype(&cuMemAlloc) allocate;
  decltype(&cuMemFree) free;
  decltype(&cuMemHostAlloc) allocate_on_host;
  decltype(&cuMemFreeHost) free_on_host;
  decltype(&cuMemcpyHtoDAsync) copy_to_device;
  decltype(&cuMemcpyDtoDAsync) copy;
  decltype(&cuModuleLoadData) load_module;
  decltype(&cuModuleGetFunction) get_function;
  decltype(&cuFuncSetAttribute) set_attribute;
  decltype(&cuLaunchKernel) launch;

  // Never freed, like the driver.
  static const Functions* find() {
    static const auto* found = []() -> const Functions* {
      void* library = ::dlopen("libcuda.so.1", RTLD_LAZY);
      auto f = std::make_unique<Functions>();
      const bool complete =
          load(library, M2BERT_NAME(cuInit), f->init) && load(library, M2BERT_NAME(cuDevicePrimaryCtxRetain), f->retain_context) &&
          load(library, M2BERT_NAME(cuCtxSetCurrent), f->set_context) && load(library, M2BERT_NAME(cuGetErrorString), f->error_text) &&
          load(library, M2BERT_NAME(cuStreamCreate), f->create_stream) && load(library, M2BERT_NAME(cuStreamSynchronize), f->synchronize) &&
          load(library, M2BERT_NAME(cuStreamBeginCapture), f->begin_capture) &&
          load(library, M2BERT_NAME(cuStreamEndCapture), f->end_capture) && load(library, "cuGraphInstantiateWithFlags", f->instantiate) &&
          load(library, M2BERT_NAME(cuGraphDestroy), f->destroy_graph) && load(library, M2BERT_NAME(cuGraphLaunch), f->launch_graph) &&
          load(library, M2BERT_NAME(cuGraphExecDestroy), f->destroy_exec) && load(library, M2BERT_NAME(cuMemAlloc), f->allocate) &&
          load(library, M2BERT_NAME(cuMemFree), f->free) && load(library, M2BERT_NAME(cuMemHostAlloc), f->allocate_on_host) &&
          load(library, M2BERT_NAME(cuMemFreeHost), f->free_on_host) && load(library, M2BERT_NAME(cuMemcpyHtoDAsync), f->copy_to_device) &&
          load(library, M2BERT_NAME(cuMemcpyDtoDAsync), f->copy) && load(library, M2BERT_NAME(cuModuleLoadData), f->load_module) &&
          load(library, M2BERT_NAME(cuModuleGetFunction), f->get_function) &&
          load(library, M2BERT_NAME(cuFuncSetAttribute), f->set_attribute) && load(library, M2BERT_NAME(cuLaunchKernel), f->launch);
      return complete ? f.release() : nullptr;
    }();
    return found;
  }
};

// cublasLt.h, as far as it is needed: it is not part of the compiler's packages. Source: NVIDIA's cuBLAS documentation.
struct Driver::Blas {
  using Status = int;
  using Object = void*;
  struct Algorithm {
    uint64_t data[8];
  };
  struct Heuristic {
    Algorithm algorithm;
    size_t workspace;
    Status status;
    float waves;
    int reserved[4];
  };
  static constexpr int kComputeFloat32 = 68, kFloat32 = 0, kBFloat16 = 14;    // cublasComputeType_t, cudaDataType
  static constexpr int kBatchCount = 5, kBatchStride = 6, kMaxWorkspace = 1;  // attributes
  Status (*create)(Object*);
  Status (*create_operation)(Object*, int compute, int scale);
  Status (*destroy_operation)(Object);
  Status (*create_layout)(Object*, int type, uint64_t rows, uint64_t columns, int64_t leading);
  Status (*set_layout)(Object, int attribute, const void*, size_t);
  Status (*destroy_layout)(Object);
  Status (*create_preference)(Object*);
  Status (*set_preference)(Object, int attribute, const void*, size_t);
  Status (*destroy_preference)(Object);
  Status (*get_heuristic)(Object, Object operation, Object a, Object b, Object c, Object d, Object preference, int wanted, Heuristic*,
                          int* found);
  Status (*matmul)(Object, Object operation, const void* alpha, const void* a, Object a_layout, const void* b, Object b_layout,
                   const void* beta, const void* c, Object c_layout, void* d, Object d_layout, const Algorithm*, void* workspace,
                   size_t workspace_bytes, CUstream);

  static const Blas* find() {
    static const auto* found = []() -> const Blas* {
      void* library = ::dlopen("libcublasLt.so.13", RTLD_LAZY);
      auto b = std::make_unique<Blas>();
      const bool complete = load(library, "cublasLtCreate", b->create) && load(library, "cublasLtMatmulDescCreate", b->create_operation) &&
                            load(library, "cublasLtMatmulDescDestroy", b->destroy_operation) &&
                            load(library, "cublasLtMatrixLayoutCreate", b->create_layout) &&
                            load(library, "cublasLtMatrixLayoutSetAttribute", b->set_layout) &&
                            load(library, "cublasLtMatrixLayoutDestroy", b->destroy_layout) &&
                            load(library, "cublasLtMatmulPreferenceCreate", b->create_preference) &&
                            load(library, "cublasLtMatmulPreferenceSetAttribute", b->set_preference) &&
                            load(library, "cublasLtMatmulPreferenceDestroy", b->destroy_preference) &&
                            load(library, "cublasLtMatmulAlgoGetHeuristic", b->get_heuristic) && load(library, "cublasLtMatmul", b->matmul);
      return complete ? b.release() : nullptr;
    }();
    return found;
  }
};

namespace {

void check_blas(int status, const char* call) { require(status == 0, "[cuda] ", call, " failed with ", status); }

}  // namespace

Driver* Driver::get() {
  // Never freed: CUDA may be gone before.
  static Driver* driver = []() -> Driver* {
    const auto* functions = Functions::find();
    const auto* blas = Blas::find();
    const bool known = std::strcmp(mx::version(), M2BERT_MLX_VERSION) == 0;
    if (!functions || !blas || !known) return nullptr;
    try {
      return new Driver(*functions, *blas);
    } catch (const Error&) {  // such as no memory for its workspace
      return nullptr;
    }
  }();
  return driver;
}

Driver::Driver(const Functions& functions, const Blas& blas) : f_(functions), blas_(blas) {
  check(f_.init(0), "cuInit");
  check(f_.retain_context(&context_, 0), "cuDevicePrimaryCtxRetain");
  make_current();
  check(f_.create_stream(&stream_, CU_STREAM_NON_BLOCKING), "cuStreamCreate");
  check_blas(blas_.create(&blas_handle_), "cublasLtCreate");
  workspace_ = allocate(kWorkspaceBytes);
}

void Driver::check(CUresult result, const char* call) const {
  if (result == CUDA_SUCCESS) return;
  const char* text = nullptr;
  f_.error_text(result, &text);
  fail("[cuda] ", call, ": ", text ? text : "unknown error", " (", int(result), ")");
}

void Driver::make_current() const { check(f_.set_context(context_), "cuCtxSetCurrent"); }
bool Driver::try_make_current() const noexcept { return f_.set_context(context_) == CUDA_SUCCESS; }

CUdeviceptr Driver::allocate(size_t bytes) const {
  CUdeviceptr memory = 0;
  check(f_.allocate(&memory, bytes), "cuMemAlloc");
  return memory;
}

void* Driver::allocate_on_host(size_t bytes) const {
  void* memory = nullptr;
  check(f_.allocate_on_host(&memory, bytes, 0), "cuMemHostAlloc");
  return memory;
}

void Driver::free(CUdeviceptr memory) const noexcept { f_.free(memory); }
void Driver::free_on_host(void* memory) const noexcept { f_.free_on_host(memory); }

void Driver::copy_to_device(CUdeviceptr to, const void* from, size_t bytes) const {
  check(f_.copy_to_device(to, from, bytes, stream_), "cuMemcpyHtoDAsync");
}

void Driver::copy(CUdeviceptr to, CUdeviceptr from, size_t bytes) const { check(f_.copy(to, from, bytes, stream_), "cuMemcpyDtoDAsync"); }

CUfunction Driver::function_of(const KernelCall& call) {
  const auto code = fatbins().find(call.fatbin);
  require(code != fatbins().end(), "[cuda] there is no kernel \"", call.fatbin, "\"");
  auto [module, is_new] = modules_.try_emplace(call.fatbin);
  if (is_new) check(f_.load_module(&module->second, code->second.data()), "cuModuleLoadData");
  auto [found, first] = functions_.try_emplace(call.fatbin + "/" + call.kernel);
  auto& [function, shared_bytes] = found->second;
  if (first) check(f_.get_function(&function, module->second, call.kernel.c_str()), "cuModuleGetFunction");
  constexpr int always_allowed = 48 * 1024;
  if (call.shared_bytes > std::max(shared_bytes, always_allowed)) {
    check(f_.set_attribute(function, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, call.shared_bytes), "cuFuncSetAttribute");
    shared_bytes = call.shared_bytes;
  }
  return function;
}

void Driver::launch(const KernelCall& call, const std::vector<CUdeviceptr>& arrays) {
  auto scalars = call.scalars;
  std::vector<void*> parameters;
  for (const auto& a : arrays) parameters.push_back(const_cast<CUdeviceptr*>(&a));
  for (auto& scalar : scalars) std::visit([&](auto& value) { parameters.push_back(&value); }, scalar);
  check(f_.launch(function_of(call), unsigned(call.blocks_x), unsigned(call.blocks_y), 1, unsigned(call.threads), 1, 1,
                  unsigned(call.shared_bytes), stream_, parameters.data(), nullptr),
        call.kernel.c_str());
}

// Column by column, as cuBLAS reads: y^T [T, rows] = x^T [T, inputs] W^T [inputs, rows].
void Driver::launch(const Product& p, const std::vector<CUdeviceptr>& arrays) const {
  for (const auto a : arrays) require(a % 256 == 0, "[cuda] cuBLASLt expects matrices at multiples of 256 bytes");
  const int type = p.dtype == mx::float32 ? Blas::kFloat32 : Blas::kBFloat16;
  auto layout = [&](int rows, int columns) {
    Blas::Object made = nullptr;
    check_blas(blas_.create_layout(&made, type, uint64_t(rows), uint64_t(columns), rows), "cublasLtMatrixLayoutCreate");
    const int64_t stride = int64_t(rows) * columns;
    check_blas(blas_.set_layout(made, Blas::kBatchCount, &p.blocks, sizeof p.blocks), "cublasLtMatrixLayoutSetAttribute");
    check_blas(blas_.set_layout(made, Blas::kBatchStride, &stride, sizeof stride), "cublasLtMatrixLayoutSetAttribute");
    return std::unique_ptr<void, Blas::Status (*)(Blas::Object)>(made, blas_.destroy_layout);
  };
  const auto x = layout(p.T, p.inputs), weight = layout(p.inputs, p.rows), y = layout(p.T, p.rows);
  Blas::Object made = nullptr;
  check_blas(blas_.create_operation(&made, Blas::kComputeFloat32, Blas::kFloat32), "cublasLtMatmulDescCreate");
  const std::unique_ptr<void, Blas::Status (*)(Blas::Object)> operation(made, blas_.destroy_operation);
  check_blas(blas_.create_preference(&made), "cublasLtMatmulPreferenceCreate");
  const std::unique_ptr<void, Blas::Status (*)(Blas::Object)> preference(made, blas_.destroy_preference);
  check_blas(blas_.set_preference(preference.get(), Blas::kMaxWorkspace, &kWorkspaceBytes, sizeof kWorkspaceBytes),
             "cublasLtMatmulPreferenceSetAttribute");
  Blas::Heuristic best{};
  int found = 0;
  check_blas(
      blas_.get_heuristic(blas_handle_, operation.get(), x.get(), weight.get(), y.get(), y.get(), preference.get(), 1, &best, &found),
      "cublasLtMatmulAlgoGetHeuristic");
  require(found > 0, "[cuda] cublasLtMatmulAlgoGetHeuristic knows no algorithm");
  const float alpha = 1, beta = 0;
  auto pointer = [](CUdeviceptr p) { return reinterpret_cast<void*>(p); };
  check_blas(blas_.matmul(blas_handle_, operation.get(), &alpha, pointer(arrays[1]), x.get(), pointer(arrays[0]), weight.get(), &beta,
                          pointer(arrays[2]), y.get(), pointer(arrays[2]), y.get(), &best.algorithm, pointer(workspace_), kWorkspaceBytes,
                          stream_),
             "cublasLtMatmul");
}

void Driver::synchronize() const { check(f_.synchronize(stream_), "cuStreamSynchronize"); }

void Driver::begin_capture() const { check(f_.begin_capture(stream_, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL), "cuStreamBeginCapture"); }

CUgraphExec Driver::end_capture() const {
  CUgraph graph = nullptr;
  check(f_.end_capture(stream_, &graph), "cuStreamEndCapture");
  CUgraphExec exec = nullptr;
  const auto result = f_.instantiate(&exec, graph, 0);
  f_.destroy_graph(graph);
  check(result, "cuGraphInstantiate");
  return exec;
}

void Driver::launch(CUgraphExec graph) const { check(f_.launch_graph(graph, stream_), "cuGraphLaunch"); }
void Driver::free(CUgraphExec graph) const noexcept { f_.destroy_exec(graph); }

CUdeviceptr address(const mx::array& a) {
  // MLX's buffer is a pointer to a struct that begins with the address (mlx/backend/cuda/allocator.h).
  const auto* buffer = static_cast<const CUdeviceptr*>(a.buffer().ptr());
  return *buffer + CUdeviceptr(a.offset());
}

}  // namespace m2bert::ops::cuda
