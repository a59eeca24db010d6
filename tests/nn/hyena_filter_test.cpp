#include "m2bert/nn/hyena_filter.h"

#include <map>

#include "golden.h"
#include "m2bert/error.h"
#include "near.h"

namespace m2bert {
namespace {

using namespace testing_ops;

nn::HyenaFilterOptions options(const Golden& golden, int d_model, int order) {
  return {.d_model = d_model, .emb_dim = 5, .order = order, .l_max = golden.attr("seq_len"), .w_mod = float(golden.attr("w_mod"))};
}

// k and k_rev as [H, L], from a filter whose members are set to the inputs.
std::vector<mx::array> filters(const Golden& golden, const std::vector<std::string>& names, const std::vector<mx::array>& in) {
  nn::HyenaFilter filter(options(golden, 10, 8));
  std::map<std::string, mx::array*> members;
  for (const auto& member : nn::named_arrays(filter)) members[member.name] = member.array;
  for (size_t i = 0; i < names.size(); ++i) *members.at(names[i]) = in[i];
  const int L = golden.attr("L");
  return {mx::transpose(filter.filter(L)), mx::transpose(*filter.filter_rev(L))};
}

TEST(HyenaFilter, GoldenWithGradients) {
  for (const char* file : {"hyena_filter", "hyena_filter_wmod"}) {
    const Golden golden(file);
    std::vector<std::string> names{"pos_emb.z", "implicit_filter.1.freq"};
    for (std::string net : {"implicit_filter", "implicit_filter_rev"}) {
      for (const char* layer : {"0.weight", "0.bias", "2.weight", "2.bias", "4.weight", "4.bias", "6.weight"})
        names.push_back(net + "." + layer);
    }
    std::vector<mx::array> in;
    std::vector<int> all;
    for (const auto& name : names) {
      all.push_back(int(in.size()));
      in.push_back(golden.real("in." + name));
    }
    const auto y = filters(golden, names, in);
    golden.expect_near(y[0], "out.k");
    golden.expect_near(y[1], "out.k_rev");
    auto loss = [&](const std::vector<mx::array>& x) {
      const auto k = filters(golden, names, x);
      return mx::sum(k[0] * golden.real("cot.k")) + mx::sum(k[1] * golden.real("cot.k_rev"));
    };
    const auto gradients = mx::grad(loss, all)(in);
    for (size_t i = 0; i < names.size(); ++i) golden.expect_near(gradients[i], "grad." + names[i]);
  }
}

TEST(HyenaFilter, GoldenOfInitialPositions) {
  for (int L : {8, 32, 128}) {
    const Golden golden("posemb_L" + std::to_string(L));
    const nn::HyenaFilter filter({.d_model = 12, .emb_dim = golden.attr("emb_dim"), .order = 4, .l_max = L});
    golden.expect_near(filter.z, "out.z");
    golden.expect_near(filter.t, "out.t");
    golden.expect_near(filter.deltas, "out.deltas");
  }
}

TEST(Modulate, Golden) {
  expect_golden("exp_modulation", {"x", "t", "deltas"}, [](const auto& in) { return nn::modulate(in[0], in[1], in[2]); });
}

TEST(Modulate, AddsItsShift) {
  auto x = random({1, 4, 3}, 1), t = random({1, 4, 1}, 2), deltas = random({1, 1, 3}, 3);
  expect_near(nn::modulate(x, t, deltas, 0.5f), nn::modulate(x, t, deltas) + mx::array(0.5f) * x, 1e-6);
}

TEST(HyenaFilter, LengthsItWasMadeFor) {
  nn::HyenaFilter filter({.d_model = 4, .order = 4, .l_max = 8, .bidirectional = false});
  EXPECT_EQ(filter.filter(1).shape(), mx::Shape({1, 4}));
  EXPECT_EQ(filter.filter(8).shape(), mx::Shape({8, 4}));
  EXPECT_FALSE(filter.filter_rev(8));
  EXPECT_THROW(filter.filter(0), Error);
  EXPECT_THROW(filter.filter(9), Error);
}

}  // namespace
}  // namespace m2bert
