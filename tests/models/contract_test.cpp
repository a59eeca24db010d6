// Names, order, roles and shapes of every recipe's model, against lists that the PyTorch model of tests/parity wrote.
#include <fstream>

#include "golden.h"
#include "m2bert/models/model.h"
#include "m2bert/models/pretrained.h"

namespace m2bert {
namespace {

struct Line {
  std::string role, name, shape;
  bool operator==(const Line&) const = default;
};

std::ostream& operator<<(std::ostream& out, const Line& l) { return out << l.role << " " << l.name << " " << l.shape; }

struct Contract {
  std::string recipe, head;  // "pretrain/x.yaml", "mlm"
  size_t trained_values = 0;
  std::vector<Line> lines;
};

// "# embeddings/x.yaml, head mlm: 718 tensors, 81947914 trained values. ..." and one line per tensor.
Contract read_contract(const golden::fs::path& file) {
  Contract c;
  std::ifstream in(file);
  std::string line;
  while (std::getline(in, line)) {
    if (line.starts_with("# role")) continue;
    if (line.starts_with("# ")) {
      c.recipe = line.substr(2, line.find(',') - 2);
      auto head = line.find("head ") + 5;
      c.head = line.substr(head, line.find(':') - head);
      c.trained_values = std::stoul(line.substr(line.find("tensors, ") + 9));
      continue;
    }
    std::istringstream words(line);
    Line l;
    words >> l.role >> l.name >> l.shape;
    c.lines.push_back(l);
  }
  return c;
}

std::vector<Line> lines_of(models::Model& model) {
  std::vector<Line> lines;
  for (const auto& a : nn::named_arrays(model)) {
    std::string shape;
    for (int n : a.array->shape()) shape += (shape.empty() ? "" : "x") + std::to_string(n);
    lines.push_back({a.role == nn::Role::parameter ? "p" : a.role == nn::Role::buffer ? "b" : "a", a.name, shape});
  }
  return lines;
}

std::vector<golden::fs::path> contract_files() {
  std::vector<golden::fs::path> files;
  for (const auto& entry : golden::fs::directory_iterator(golden::source_dir() / "tests/golden/contract")) {
    if (entry.path().extension() == ".txt") files.push_back(entry.path());
  }
  std::ranges::sort(files);
  return files;
}

class RecipeContract : public ::testing::TestWithParam<golden::fs::path> {};

TEST_P(RecipeContract, NamesAndShapes) {
  const auto contract = read_contract(GetParam());
  const auto recipe = golden::shared_dir() / "yamls" / contract.recipe;
  if (!golden::fs::exists(recipe)) GTEST_SKIP() << "upstream's recipes are not beside this checkout: " << recipe;
  auto head = contract.head == "mlm"              ? models::Head::masked_lm
              : contract.head == "classification" ? models::Head::classification
                                                  : models::Head::embedding;
  models::Model model(models::read_config(recipe), head);
  const auto lines = lines_of(model);
  ASSERT_GT(contract.lines.size(), 100u);
  EXPECT_EQ(lines.size(), contract.lines.size());
  EXPECT_EQ(nn::count_parameters(model), contract.trained_values);
  for (size_t i = 0; i < std::min(lines.size(), contract.lines.size()); ++i) EXPECT_EQ(lines[i], contract.lines[i]);
}

INSTANTIATE_TEST_SUITE_P(All, RecipeContract, ::testing::ValuesIn(contract_files()), [](const auto& info) {
  auto name = info.param.stem().string();
  for (char& c : name) {
    if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
  }
  return name;
});

}  // namespace
}  // namespace m2bert
