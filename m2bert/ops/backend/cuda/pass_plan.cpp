#include "m2bert/ops/backend/cuda/pass_plan.h"

#include <mlx/primitives.h>

#include <algorithm>
#include <map>
#include <string_view>
#include <unordered_map>
#include <utility>

namespace m2bert::ops::cuda {

namespace {

thread_local std::vector<Recording::Note>* current = nullptr;

// Memory by offsets; the first gap that is large enough is taken.
class Arena {
 public:
  size_t take(size_t bytes) {
    for (auto gap = gaps_.begin(); gap != gaps_.end(); ++gap) {
      if (gap->second < bytes) continue;
      const auto [offset, size] = *gap;
      gaps_.erase(gap);
      if (size > bytes) gaps_.emplace(offset + bytes, size - bytes);
      return offset;
    }
    return std::exchange(size_, size_ + bytes);
  }

  void give_back(size_t offset, size_t bytes) {
    auto gap = gaps_.emplace(offset, bytes).first;
    if (const auto next = std::next(gap); next != gaps_.end() && offset + bytes == next->first) {
      gap->second += next->second;
      gaps_.erase(next);
    }
    if (gap == gaps_.begin()) return;
    if (const auto before = std::prev(gap); before->first + before->second == offset) {
      before->second += gap->second;
      gaps_.erase(gap);
    }
  }

  size_t size() const { return size_; }

 private:
  std::map<size_t, size_t> gaps_;  // offset, bytes
  size_t size_ = 0;
};

mx::Strides contiguous_strides(const mx::Shape& shape) {
  mx::Strides strides(shape.size());
  int64_t stride = 1;
  for (size_t i = shape.size(); i-- > 0;) strides[i] = std::exchange(stride, stride * shape[i]);
  return strides;
}

// The values of an array in a buffer: an input, a constant, or an output of a step.
struct View {
  int buffer;
  mx::Shape shape;
  mx::Strides strides;

  bool is_contiguous() const {
    const auto wanted = contiguous_strides(shape);
    for (size_t i = 0; i < shape.size(); ++i) {
      if (shape[i] != 1 && strides[i] != wanted[i]) return false;
    }
    return true;
  }
};

// By name: MLX's library does not export the types.
bool is_reshape(const mx::Primitive& p) {
  const std::string_view name = p.name();
  return name == "Reshape" || name == "Flatten" || name == "Unflatten" || name == "ExpandDims" || name == "Squeeze";
}

// A matrix [rows, columns] whose rows are next to one another, column by column: the step that transposes it.
std::optional<KernelCall> transposition(View view, mx::Dtype dtype) {
  mx::Shape shape;
  mx::Strides strides;
  for (size_t i = 0; i < view.shape.size(); ++i) {  // with adjacent axes as one
    if (view.shape[i] == 1) continue;
    if (!shape.empty() && strides.back() == view.strides[i] * view.shape[i]) {
      shape.back() *= view.shape[i], strides.back() = view.strides[i];
    } else {
      shape.push_back(view.shape[i]), strides.push_back(view.strides[i]);
    }
  }
  const bool known = dtype == mx::bfloat16 || dtype == mx::float32;
  if (!known || shape.size() != 2 || strides[0] != 1 || strides[1] != shape[0]) return std::nullopt;
  const int rows = shape[0], columns = shape[1];
  return KernelCall{"transpose",
                    dtype == mx::float32 ? "transpose_float32" : "transpose_bfloat16",
                    ceil_div(columns, 32),
                    ceil_div(rows, 32),
                    256,
                    32 * 33 * int(mx::size_of(dtype)),
                    {rows, columns}};
}

bool is_transpose(const mx::Primitive& p) { return std::string_view(p.name()) == "Transpose"; }

class Planner {
 public:
  Planner(const std::vector<Recording::Note>& notes, const std::vector<mx::array>& inputs) : notes_(notes) {
    for (size_t i = 0; i < inputs.size(); ++i) {
      add_buffer(inputs[i], {Place::Kind::input, int(i), 0});
      varies_[inputs[i].id()] = true;
    }
    for (size_t n = 0; n < notes.size(); ++n) {
      for (const auto& out : notes[n].outputs) producer_[out.id()] = n;
    }
  }

  std::optional<PassPlan> plan(const mx::array& output) {
    const auto result = view_of(output);
    if (!result || !buffers_[size_t(result->buffer)].step) return std::nullopt;
    mx::eval(plan_.constants);
    for (const auto& c : plan_.constants) {
      if (!c.flags().row_contiguous) return std::nullopt;
    }
    buffers_[size_t(result->buffer)].last_use = steps_.size();
    place_outputs();
    for (const auto& step : steps_) {
      PassPlan::Step placed{step.work, {}, {}};
      for (const int b : step.inputs) placed.inputs.push_back(buffers_[size_t(b)].place);
      for (const int b : step.outputs) placed.outputs.push_back(buffers_[size_t(b)].place);
      plan_.steps.push_back(std::move(placed));
    }
    plan_.output = buffers_[size_t(result->buffer)].place;
    plan_.output_values = output.size();
    plan_.shape = result->shape, plan_.strides = result->strides, plan_.dtype = output.dtype();
    return std::move(plan_);
  }

 private:
  struct Buffer {
    Place place;
    size_t bytes;
    std::optional<size_t> step;  // that writes it
    size_t last_use = 0;         // the last step that reads it
  };
  struct Step {
    Work work;
    std::vector<int> inputs, outputs;  // buffers
  };

  int add_buffer(const mx::array& a, Place place, std::optional<size_t> step = {}) {
    buffers_.push_back({place, aligned_bytes(a.nbytes()), step, step.value_or(0)});
    views_[a.id()] = View{int(buffers_.size()) - 1, a.shape(), contiguous_strides(a.shape())};
    return int(buffers_.size()) - 1;
  }

  // Whether it depends on an input.
  bool varies(const mx::array& a) {
    if (const auto found = varies_.find(a.id()); found != varies_.end()) return found->second;
    const bool result = std::ranges::any_of(a.inputs(), [&](const mx::array& in) { return varies(in); });
    varies_[a.id()] = result;
    return result;
  }

  std::optional<View> view_of(const mx::array& a) {
    if (const auto found = views_.find(a.id()); found != views_.end()) return found->second;
    if (!varies(a)) {
      plan_.constants.push_back(a);
      add_buffer(a, {Place::Kind::constant, int(plan_.constants.size()) - 1, 0});
      return views_[a.id()];
    }
    if (const auto found = producer_.find(a.id()); found != producer_.end()) {
      if (!add_step(found->second)) return std::nullopt;
      return views_[a.id()];
    }
    const auto view = a.has_primitive() && a.inputs().size() == 1 ? view_of(a.inputs()[0]) : std::nullopt;
    if (!view) return std::nullopt;
    if (is_transpose(a.primitive())) {
      View moved{view->buffer, a.shape(), {}};
      for (const int axis : static_cast<mx::Transpose&>(a.primitive()).state()) moved.strides.push_back(view->strides[size_t(axis)]);
      return views_[a.id()] = moved;
    }
    if (!is_reshape(a.primitive())) return std::nullopt;
    if (view->is_contiguous()) return views_[a.id()] = View{view->buffer, a.shape(), contiguous_strides(a.shape())};
    auto moves = transposition(*view, a.dtype());
    if (!moves) return std::nullopt;
    buffers_[size_t(view->buffer)].last_use = steps_.size();
    steps_.push_back({std::move(*moves), {view->buffer}, {add_buffer(a, {Place::Kind::arena, 0, 0}, steps_.size())}});
    return views_[a.id()];
  }

  // After the steps that its inputs come from.
  bool add_step(size_t note) {
    const auto& n = notes_[note];
    for (const auto& out : n.outputs) {
      if (out.status() != mx::array::unscheduled) return false;  // it was evaluated: what the host made of it is not known
    }
    Step step{n.work, {}, {}};
    for (const auto& in : n.inputs) {
      const auto view = view_of(in);
      if (!view || !view->is_contiguous()) return false;
      step.inputs.push_back(view->buffer);
    }
    for (const int b : step.inputs) buffers_[size_t(b)].last_use = steps_.size();
    for (const auto& out : n.outputs) step.outputs.push_back(add_buffer(out, {Place::Kind::arena, 0, 0}, steps_.size()));
    steps_.push_back(std::move(step));
    return true;
  }

  void place_outputs() {
    Arena arena;
    for (size_t s = 0; s < steps_.size(); ++s) {
      for (const int b : steps_[s].outputs) {
        auto& buffer = buffers_[size_t(b)];
        buffer.place.offset = arena.take(buffer.bytes);
      }
      for (const auto& buffer : buffers_) {
        if (buffer.step && *buffer.step <= s && buffer.last_use == s) arena.give_back(buffer.place.offset, buffer.bytes);
      }
    }
    plan_.arena_bytes = arena.size();
  }

  const std::vector<Recording::Note>& notes_;
  std::unordered_map<std::uintptr_t, size_t> producer_;
  std::unordered_map<std::uintptr_t, bool> varies_;
  std::unordered_map<std::uintptr_t, View> views_;
  std::vector<Buffer> buffers_;
  std::vector<Step> steps_;
  PassPlan plan_;
};

}  // namespace

Recording::Recording() { current = &notes_; }
Recording::~Recording() { current = nullptr; }

bool Recording::is_on() { return current != nullptr; }

void Recording::note(Work work, std::vector<mx::array> inputs, std::vector<mx::array> outputs) {
  if (current) current->push_back({std::move(work), std::move(inputs), std::move(outputs)});
}

std::optional<PassPlan> plan_pass(const std::vector<Recording::Note>& notes, const std::vector<mx::array>& inputs,
                                  const mx::array& output) {
  return Planner(notes, inputs).plan(output);
}

}  // namespace m2bert::ops::cuda
