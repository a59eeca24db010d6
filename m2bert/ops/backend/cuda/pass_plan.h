#pragma once
// What computes an array, as steps on buffers instead of MLX's graph.
#include <optional>
#include <variant>
#include <vector>

#include "m2bert/ops/backend/cuda/kernel.h"

namespace m2bert::ops::cuda {

struct KernelCall {
  std::string fatbin, kernel;
  int blocks_x, blocks_y, threads, shared_bytes;
  Scalars scalars;
};

// y_b = W_b x_b: weight [blocks, rows, inputs], x [blocks, inputs, T], y [blocks, rows, T], row-major.
struct Product {
  int blocks, rows, inputs, T;
  mx::Dtype dtype;
};

using Work = std::variant<KernelCall, Product>;

// Notes the work that is added to MLX's graph by this thread, for the lifetime of the object.
class Recording {
 public:
  struct Note {
    Work work;
    std::vector<mx::array> inputs, outputs;
  };

  Recording();
  ~Recording();
  Recording(const Recording&) = delete;
  Recording& operator=(const Recording&) = delete;

  // Without effect if this thread does not record.
  static bool is_on();
  static void note(Work work, std::vector<mx::array> inputs, std::vector<mx::array> outputs);

  const std::vector<Note>& notes() const { return notes_; }

 private:
  std::vector<Note> notes_;
};

// Buffers begin at multiples of 256 bytes.
constexpr size_t aligned_bytes(size_t bytes) { return (bytes + 255) / 256 * 256; }

// Where values begin: in an input or a constant (index), or in the arena; offset in bytes.
struct Place {
  enum class Kind { input, constant, arena } kind;
  int index;
  size_t offset;
};

struct PassPlan {
  struct Step {
    Work work;
    std::vector<Place> inputs, outputs;
  };

  std::vector<Step> steps;
  std::vector<mx::array> constants;  // evaluated, row-contiguous
  size_t arena_bytes = 0;            // of all that is computed; a place is used again once its values were read
  // The result: its place in the arena, where it stays until the end, and its strides there, in values.
  Place output{};
  size_t output_values = 0;
  mx::Shape shape;
  mx::Strides strides;
  mx::Dtype dtype = mx::float32;
};

// How the notes compute `output` from `inputs`, which are not evaluated here. Evaluates what does not depend on them: the constants. Where
// a reshape moves values, from [T, H] to [H, T], there is a step for it. Nullopt if anything in between is neither noted nor a reshape or
// transpose, or if a step reads values that are not row-contiguous.
std::optional<PassPlan> plan_pass(const std::vector<Recording::Note>& notes, const std::vector<mx::array>& inputs, const mx::array& output);

}  // namespace m2bert::ops::cuda
