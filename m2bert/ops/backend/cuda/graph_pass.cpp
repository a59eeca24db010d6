// Recorded passes as CUDA graphs.
#include <algorithm>
#include <cstring>
#include <mutex>

#include "m2bert/error.h"
#include "m2bert/ops/backend/cuda/cuda_backend.h"
#include "m2bert/ops/backend/cuda/driver.h"

namespace m2bert::ops {

namespace cuda {
namespace {

// The driver has one stream, and products one workspace, for all threads.
std::mutex& stream_mutex() {
  static std::mutex mutex;
  return mutex;
}

// Memory for the lifetime of an object.
template <typename Address, Address (Driver::*allocate)(size_t) const, void (Driver::*free)(Address) const noexcept>
class Memory {
 public:
  Memory(const Driver& driver, size_t bytes) : driver_(driver), address_((driver.*allocate)(std::max<size_t>(bytes, 1))) {}
  ~Memory() { (driver_.*free)(address_); }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  Address address() const { return address_; }

 private:
  const Driver& driver_;
  Address address_;
};
using DeviceMemory = Memory<CUdeviceptr, &Driver::allocate, &Driver::free>;
using PinnedMemory = Memory<void*, &Driver::allocate_on_host, &Driver::free_on_host>;

// Results: an array is used again once nothing else refers to it. A few are kept.
class Results {
 public:
  static constexpr size_t kMost = 4;

  explicit Results(const PassPlan& plan)
      : values_(int(plan.output_values)), shape_(plan.shape), strides_(plan.strides), dtype_(plan.dtype) {}

  size_t bytes() const { return kMost * size_t(values_) * mx::size_of(dtype_); }  // at most

  mx::array next(mx::Stream s) {
    for (const auto& a : all_) {
      if (a.is_donatable()) return a;
    }
    if (all_.size() == kMost) all_.erase(all_.begin());
    all_.push_back(mx::as_strided(mx::zeros({values_}, dtype_, s), shape_, strides_, 0, s));
    mx::eval(all_.back());
    mx::synchronize(s);
    return all_.back();
  }

 private:
  int values_;
  mx::Shape shape_;
  mx::Strides strides_;
  mx::Dtype dtype_;
  std::vector<mx::array> all_;
};

class GraphPass final : public RecordedPass {
 public:
  GraphPass(Driver& driver, PassPlan plan, const std::vector<mx::array>& inputs, mx::Stream s)
      : driver_(driver), plan_(std::move(plan)), results_(plan_), arena_(driver, plan_.arena_bytes) {
    size_t bytes = 0;
    for (const auto& in : inputs) {
      inputs_.push_back({in.shape(), in.dtype(), in.nbytes(), bytes});
      bytes += aligned_bytes(in.nbytes());
    }
    staging_.emplace(driver, bytes);
    input_memory_.emplace(driver, bytes);
    staging_bytes_ = bytes;
    mx::synchronize(s);  // the constants are there
    for (const auto& c : plan_.constants) constants_.push_back(cuda::address(c));
    std::memset(staging_->address(), 0, bytes);
    launch_steps();  // loads all code, which a capture may not
    driver_.synchronize();
    driver_.begin_capture();
    try {
      launch_steps();
    } catch (...) {
      driver_.free(driver_.end_capture());
      throw;
    }
    graph_ = driver_.end_capture();
  }
  ~GraphPass() override {
    driver_.try_make_current();  // the memory is freed after this
    driver_.free(graph_);
  }

  std::optional<mx::array> operator()(const std::vector<mx::array>& inputs) override {
    require(inputs.size() == inputs_.size(), "[recorded_pass] got ", inputs.size(), " inputs, was recorded with ", inputs_.size());
    for (size_t i = 0; i < constants_.size(); ++i) {
      if (cuda::address(plan_.constants[i]) != constants_[i]) return std::nullopt;
    }
    const auto s = mx::default_stream(mx::Device::gpu);  // this thread's
    driver_.make_current();
    for (size_t i = 0; i < inputs.size(); ++i) {
      const auto& wanted = inputs_[i];
      auto in = inputs[i];
      require(in.shape() == wanted.shape && in.dtype() == wanted.dtype, "[recorded_pass] input ", i, " is ", in.shape(), " ", in.dtype(),
              ", was recorded as ", wanted.shape, " ", wanted.dtype);
      in.eval();
      if (!in.flags().row_contiguous) in = mx::contiguous(in, false, s), in.eval();
      std::memcpy(static_cast<char*>(staging_->address()) + wanted.offset, in.data<char>(), wanted.bytes);
    }
    const auto result = results_.next(s);
    const std::lock_guard lock(stream_mutex());
    driver_.launch(graph_);
    driver_.copy(cuda::address(result), arena_.address() + plan_.output.offset, plan_.output_values * mx::size_of(plan_.dtype));
    driver_.synchronize();
    return result;
  }

  size_t bytes() const override { return plan_.arena_bytes + staging_bytes_ + results_.bytes(); }

 private:
  struct Input {
    mx::Shape shape;
    mx::Dtype dtype;
    size_t bytes, offset;
  };

  CUdeviceptr address(const Place& place) const {
    switch (place.kind) {
      case Place::Kind::input: return input_memory_->address() + inputs_[size_t(place.index)].offset;
      case Place::Kind::constant: return constants_[size_t(place.index)];
      case Place::Kind::arena: break;
    }
    return arena_.address() + place.offset;
  }

  void launch_steps() {
    driver_.copy_to_device(input_memory_->address(), staging_->address(), staging_bytes_);
    for (const auto& step : plan_.steps) {
      std::vector<CUdeviceptr> arrays;
      for (const auto* places : {&step.inputs, &step.outputs}) {
        for (const auto& place : *places) arrays.push_back(address(place));
      }
      std::visit([&](const auto& work) { driver_.launch(work, arrays); }, step.work);
    }
  }

  Driver& driver_;
  PassPlan plan_;
  Results results_;
  DeviceMemory arena_;
  std::vector<Input> inputs_;
  size_t staging_bytes_ = 0;
  std::optional<PinnedMemory> staging_;
  std::optional<DeviceMemory> input_memory_;
  std::vector<CUdeviceptr> constants_;
  CUgraphExec graph_ = nullptr;
};

}  // namespace
}  // namespace cuda

// The driver's context is that of the first GPU.
bool CudaBackend::records_passes(mx::Stream s) const { return s.device.index == 0 && cuda::Driver::get(); }

std::unique_ptr<RecordedPass> CudaBackend::record_pass(const std::vector<mx::array>& inputs, const PassFunction& f, mx::Stream s) const {
  if (!records_passes(s)) return nullptr;
  auto* driver = cuda::Driver::get();
  std::optional<cuda::PassPlan> plan;
  {
    const cuda::Recording recording;
    const auto output = f(inputs);
    plan = cuda::plan_pass(recording.notes(), inputs, output);
  }
  if (!plan) return nullptr;
  const std::lock_guard lock(cuda::stream_mutex());
  driver->make_current();
  return std::make_unique<cuda::GraphPass>(*driver, std::move(*plan), inputs, s);
}

}  // namespace m2bert::ops
