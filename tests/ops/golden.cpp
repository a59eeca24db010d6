#include "golden.h"

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <numeric>
#include <regex>
#include <sstream>
#include <stdexcept>

namespace m2bert::testing_ops {

namespace {

const std::string folder = M2BERT_SOURCE_DIR "/tests/golden/ops/";

// Upstream's own float32 noise for a file. tolerances.json is one flat object of numbers.
double figure(const std::string& name) {
  std::ifstream in(folder + "tolerances.json");
  std::stringstream text;
  text << in.rdbuf();
  std::smatch found;
  const std::string content = text.str();
  if (!std::regex_search(content, found, std::regex("\"" + name + "\"\\s*:\\s*([-+.0-9eE]+)"))) {
    throw std::runtime_error("tolerances.json has no figure for " + name);
  }
  return std::stod(found[1]);
}

double largest(const mx::array& x) { return x.size() == 0 ? 0 : double(mx::max(mx::abs(x)).item<float>()); }

// Integers and booleans are compared as float32 (they are small); complex stays.
mx::array comparable(const mx::array& x) { return x.dtype() == mx::complex64 ? x : mx::astype(x, mx::float32); }

}  // namespace

mx::array to_complex(const mx::array& pairs) {
  auto parts = mx::split(pairs, 2, -1);
  return mx::squeeze(parts[0], -1) + mx::array(std::complex<float>(0, 1)) * mx::squeeze(parts[1], -1);
}

mx::array to_pairs(const mx::array& z) { return mx::stack({mx::real(z), mx::imag(z)}, -1); }

Golden::Golden(const std::string& name) : name_(name), tensors_(mx::load_safetensors(folder + name + ".safetensors").first), tolerance_(0) {
  tolerance_ = 8 * figure(name) + 2e-6;
  if (const char* list = std::getenv("M2BERT_GOLDEN_USED")) {  // read by golden_used.cmake
    static std::ofstream used(list);
    used << name << std::endl;
  }
}

bool Golden::has(const std::string& key) const { return tensors_.count(key) > 0; }

mx::array Golden::real(const std::string& key) const {
  auto found = tensors_.find(key);
  if (found == tensors_.end()) throw std::runtime_error(name_ + ".safetensors has no " + key);
  return found->second;
}

mx::array Golden::complex(const std::string& key) const { return to_complex(real(key)); }

int Golden::attr(const std::string& key) const { return int(mx::astype(real("attr." + key), mx::int32).item<int>()); }

void Golden::expect_near(const mx::array& ours, const std::string& key) const {
  SCOPED_TRACE(name_ + ".safetensors " + key);
  const auto golden = ours.dtype() == mx::complex64 ? complex(key) : real(key);
  ASSERT_EQ(ours.shape(), golden.shape());
  if (golden.size() == 0) return;
  const auto a = comparable(ours), b = comparable(golden);
  const double error = largest(a - b), allowed = tolerance_ * largest(b);
  EXPECT_TRUE(error <= allowed) << "differs by " << error << ", allowed is " << allowed;  // a NaN fails too
}

Layout complex_layout() {
  return {[](const mx::array& x, const std::string&) { return to_complex(x); },
          [](const mx::array& x, const std::string&) { return to_pairs(x); }};
}

void expect_golden(const std::string& file, const std::vector<std::string>& inputs,
                   const std::function<mx::array(const std::vector<mx::array>&)>& f, const std::string& out, const Layout& layout) {
  Golden golden(file);
  auto load = [&](const mx::array& x, const std::string& name) { return layout.load ? layout.load(x, name) : x; };
  auto store = [&](const mx::array& x, const std::string& name) { return layout.store ? layout.store(x, name) : x; };
  std::vector<mx::array> arguments;
  std::vector<int> traced;
  for (const auto& name : inputs) {
    if (golden.has("grad." + name)) traced.push_back(int(arguments.size()));
    arguments.push_back(load(golden.real("in." + name), name));
  }
  golden.expect_near(store(f(arguments), out), "out." + out);
  if (traced.empty()) return;
  const auto cotangent = golden.real("cot." + out);
  auto loss = [&](const std::vector<mx::array>& in) { return mx::sum(mx::astype(store(f(in), out), mx::float32) * cotangent); };
  const auto gradients = mx::grad(loss, traced)(arguments);
  for (size_t i = 0; i < traced.size(); ++i) {
    const auto& name = inputs[size_t(traced[i])];
    golden.expect_near(store(gradients[i], name), "grad." + name);
  }
}

}  // namespace m2bert::testing_ops
