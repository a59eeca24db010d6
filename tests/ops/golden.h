#pragma once
// Upstream's golden tensors, tests/golden/ops (tests/golden/ops/README.md lists them): in.*, out.*, cot.* (cotangent of out.*),
// grad.* (of sum(out * cot) by in.*) and attr.* (integers). Complex tensors are stored with a trailing axis (re, im).
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "m2bert/mx.h"

namespace m2bert::testing_ops {

class Golden {
 public:
  explicit Golden(const std::string& name);  // Throws if there is no tests/golden/ops/<name>.safetensors.

  bool has(const std::string& key) const;           // "in.x", "grad.x", ...
  mx::array real(const std::string& key) const;     // as stored
  mx::array complex(const std::string& key) const;  // [..., 2] float32 -> [...] complex64
  int attr(const std::string& key) const;           // "attr.rank" is attr("rank")

  // |ours - golden| <= (8 * the file's figure in tolerances.json + 2e-6) * max |golden|. Complex arrays are compared as complex.
  void expect_near(const mx::array& ours, const std::string& key) const;

 private:
  std::string name_;
  std::unordered_map<std::string, mx::array> tensors_;
  double tolerance_;
};

// Compares f's value with out.<out>, and the gradients of sum(f * cot.<out>) with grad.<input>. `inputs` name in.*; f gets them in this
// order, and those without a stored gradient are constants. `load` converts a stored tensor to an argument (transposed, complex), `store`
// converts a result or a gradient back to the layout of the file; both default to the identity.
struct Layout {
  std::function<mx::array(const mx::array&, const std::string& input)> load;
  std::function<mx::array(const mx::array&, const std::string& input_or_out)> store;
};
void expect_golden(const std::string& file, const std::vector<std::string>& inputs,
                   const std::function<mx::array(const std::vector<mx::array>&)>& f, const std::string& out = "y",
                   const Layout& layout = {});

// A Layout for files whose tensors are complex, stored with a trailing axis 2: load makes them complex64, store converts back.
// The gradient convention is torch's: dL/d(re) + i dL/d(im).
Layout complex_layout();

// [..., 2] float32 <-> [...] complex64
mx::array to_complex(const mx::array& pairs);
mx::array to_pairs(const mx::array& z);

}  // namespace m2bert::testing_ops
