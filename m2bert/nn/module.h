#pragma once
// Modules without a registry: the members are the only truth, visit() names each of them once, and every use is a visitor.
#include <functional>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "m2bert/mx.h"

namespace m2bert::nn {

class Module;

// What a name means in a checkpoint.
enum class Role {
  parameter,  // trained
  buffer,     // saved, not trained (position_ids, pos_emb.t, modulation.deltas)
  alias,      // a second name for an array that another name owns (tied weights, the shared freq of the filters)
};

// Walks a module tree and calls on_array once per name, with the dotted names of upstream's state_dict.
class Visitor {
 public:
  using Callback = std::function<void(const std::string& name, mx::array& a, Role role)>;
  using OnMatrix = std::function<void(const std::string& name, mx::array& weight, std::optional<mx::array>& scale)>;
  explicit Visitor(Callback on_array, OnMatrix on_matrix = {}) : on_array_(std::move(on_array)), on_matrix_(std::move(on_matrix)) {}

  void operator()(const std::string& name, mx::array& a) { on_array_(prefix_ + name, a, Role::parameter); }
  void operator()(const std::string& name, std::optional<mx::array>& a) {
    if (a) (*this)(name, *a);
  }
  void buffer(const std::string& name, mx::array& a) { on_array_(prefix_ + name, a, Role::buffer); }
  void alias(const std::string& name, mx::array& a) { on_array_(prefix_ + name, a, Role::alias); }
  // A matrix that may be int8 with a scale per row; `name`_scale is then a buffer (ops/quantized.h).
  void matrix(const std::string& name, mx::array& weight, std::optional<mx::array>& scale);
  void operator()(const std::string& name, Module& m);

  template <class M>
  void operator()(const std::string& name, std::optional<M>& m) {
    if (m) (*this)(name, *m);
  }
  template <class M>
  void operator()(const std::string& name, std::vector<M>& ms) {
    for (size_t i = 0; i < ms.size(); ++i) (*this)(name + "." + std::to_string(i), ms[i]);
  }

 private:
  Callback on_array_;
  OnMatrix on_matrix_;
  std::string prefix_;
};

class Module {
 public:
  virtual ~Module() = default;
  virtual void visit(Visitor& v) = 0;
};

// A name in the model and its member.
struct NamedArray {
  std::string name;
  mx::array* array;
  Role role;
};

// All names in visiting order, including aliases and buffers. Pointers stay valid until the module is moved.
std::vector<NamedArray> named_arrays(Module& m);

// A matrix of the model, which may be int8.
struct NamedMatrix {
  std::string name;
  mx::array* weight;
  std::optional<mx::array>* scale;
};
std::vector<NamedMatrix> matrices(Module& m);

// Only names with Role::parameter: the trained arrays, each once.
std::vector<NamedArray> parameters(Module& m);

// The number of trained values.
size_t count_parameters(Module& m);

using Arrays = std::vector<mx::array>;

// The value of loss() and its gradient with respect to every array of params, which are traced in place and restored afterwards.
struct ValueAndGrad {
  mx::array value;
  Arrays grads;  // in the order of params
};
ValueAndGrad value_and_grad(const std::vector<NamedArray>& params, const std::function<mx::array()>& loss);
// The same at other values of params, in their order.
ValueAndGrad value_and_grad(const std::vector<NamedArray>& params, const Arrays& values, const std::function<mx::array()>& loss);

}  // namespace m2bert::nn
