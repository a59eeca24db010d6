#include "m2bert/nn/module.h"

namespace m2bert::nn {

void Visitor::operator()(const std::string& name, Module& m) {
  auto outer = prefix_;
  prefix_ += name + ".";
  m.visit(*this);
  prefix_ = outer;
}

void Visitor::matrix(const std::string& name, mx::array& weight, std::optional<mx::array>& scale) {
  (*this)(name, weight);
  if (scale) buffer(name + "_scale", *scale);
  if (on_matrix_) on_matrix_(prefix_ + name, weight, scale);
}

std::vector<NamedArray> named_arrays(Module& m) {
  std::vector<NamedArray> all;
  Visitor collect([&](const std::string& name, mx::array& a, Role role) { all.push_back({name, &a, role}); });
  m.visit(collect);
  return all;
}

std::vector<NamedMatrix> matrices(Module& m) {
  std::vector<NamedMatrix> all;
  Visitor collect(
      [](const std::string&, mx::array&, Role) {},
      [&](const std::string& name, mx::array& weight, std::optional<mx::array>& scale) { all.push_back({name, &weight, &scale}); });
  m.visit(collect);
  return all;
}

std::vector<NamedArray> parameters(Module& m) {
  auto all = named_arrays(m);
  std::erase_if(all, [](const NamedArray& n) { return n.role != Role::parameter; });
  return all;
}

size_t count_parameters(Module& m) {
  size_t count = 0;
  for (const auto& p : parameters(m)) count += p.array->size();
  return count;
}

ValueAndGrad value_and_grad(const std::vector<NamedArray>& params, const std::function<mx::array()>& loss) {
  Arrays now;
  for (const auto& p : params) now.push_back(*p.array);
  return value_and_grad(params, now, loss);
}

ValueAndGrad value_and_grad(const std::vector<NamedArray>& params, const Arrays& values, const std::function<mx::array()>& loss) {
  Arrays now;
  std::vector<int> which;
  for (const auto& p : params) {
    which.push_back(int(now.size()));
    now.push_back(*p.array);
  }
  struct Restore {  // even if loss throws
    const std::vector<NamedArray>& params;
    const Arrays& old;
    ~Restore() {
      for (size_t i = 0; i < params.size(); ++i) *params[i].array = old[i];
    }
  };
  auto traced = [&](const Arrays& in) {
    Restore restore{params, now};
    for (size_t i = 0; i < params.size(); ++i) *params[i].array = in[i];
    return Arrays{loss()};
  };
  auto [value, grads] = mx::value_and_grad(std::function<Arrays(const Arrays&)>(traced), which)(values);
  return {value[0], std::move(grads)};
}

}  // namespace m2bert::nn
