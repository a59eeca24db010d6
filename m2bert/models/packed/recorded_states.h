#pragma once
// Repeats an encoder's pass over few tokens without launching it anew (ops/recorded_pass.h).
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "m2bert/models/inputs.h"
#include "m2bert/ops/recorded_pass.h"

namespace m2bert::models::packed {

// Not thread-safe.
class RecordedStates {
 public:
  static constexpr int kMostTokens = 4096;               // B L; with more, the kernels are the longer part
  static constexpr size_t kMostBytes = size_t(1) << 30;  // of device memory, for the shapes used last

  // Whether passes of this shape are recorded: up to kMostTokens tokens, and both sizes powers of two. It depends on the shape alone, so
  // that a text's bits do not depend on the batches before it, and there are few such shapes.
  static bool records(const mx::Shape& shape);

  // states(inputs), which depend on input_ids and token_type_ids alone, evaluated. nullopt for other shapes, and where the device cannot
  // record the pass.
  std::optional<mx::array> operator()(const Inputs& inputs, const std::function<mx::array(const Inputs&)>& states);

 private:
  // Shape and dtypes of the inputs; no dtype stands for no types.
  struct Key {
    mx::Shape shape;
    mx::Dtype ids;
    std::optional<mx::Dtype> types;

    explicit Key(const Inputs& inputs);
    bool operator==(const Key&) const = default;
  };
  struct Entry {
    Key key;
    std::unique_ptr<ops::RecordedPass> pass;  // null if it cannot be recorded
  };

  std::unique_ptr<ops::RecordedPass> record(const Inputs& inputs, const std::function<mx::array(const Inputs&)>& states);
  void make_room();

  std::vector<Entry> entries_;  // most recently used last
};

}  // namespace m2bert::models::packed
