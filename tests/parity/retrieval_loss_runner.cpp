// Computes retrieval losses for test_retrieval_loss.py.
//   m2bert-parity-retrieval-loss FOLDER...
// Each folder has config.yaml (`loss`, and `columns`, their number) and inputs.safetensors (column.N, labels, scores, teacher.N, guide.N,
// extra). Writes ours.safetensors: loss [1] and grad.N of each column.
#include <filesystem>
#include <iostream>
#include <string>

#include "m2bert/checkpoint/safetensors.h"
#include "m2bert/io/tree.h"
#include "m2bert/io/yaml.h"
#include "m2bert/nn/grad_cache.h"
#include "m2bert/train/retrieval_objective_keys.h"

namespace m2bert {
namespace {

namespace fs = std::filesystem;

class Case {
 public:
  explicit Case(const fs::path& folder)
      : folder_(folder), tree_(io::read_yaml(folder / "config.yaml")), file_(checkpoint::TensorFile::open(folder / "inputs.safetensors")) {}

  void run() const {
    const auto objective = train::read_objective(tree_.at("loss"));
    tasks::RetrievalEmbeddings inputs{
        .labels = one("labels"), .scores = one("scores"), .teacher = all("teacher"), .guide = all("guide"), .extra = one("extra")};
    const auto result = nn::loss_and_grad(all("column"), [&](const nn::Arrays& columns) {
      auto e = inputs;
      e.columns = columns;
      return tasks::retrieval_loss(objective, e);
    });
    checkpoint::TensorMap found;
    found.emplace_back("loss", mx::reshape(result.value, {1}));
    for (size_t i = 0; i < result.grads.size(); ++i) found.emplace_back("grad." + std::to_string(i), mx::contiguous(result.grads[i]));
    checkpoint::save_safetensors(folder_ / "ours.safetensors", found);
  }

 private:
  std::optional<mx::array> one(const std::string& name) const {
    const auto* tensor = file_->find(name);
    if (!tensor) return std::nullopt;
    return file_->read(*tensor);
  }
  nn::Arrays all(const std::string& name) const {
    nn::Arrays arrays;
    while (auto next = one(name + "." + std::to_string(arrays.size()))) arrays.push_back(*next);
    return arrays;
  }

  fs::path folder_;
  io::Tree tree_;
  std::unique_ptr<checkpoint::TensorFile> file_;
};

}  // namespace
}  // namespace m2bert

int main(int count, char** arguments) {
  for (int i = 1; i < count; ++i) {
    try {
      m2bert::Case(arguments[i]).run();
    } catch (const std::exception& error) {
      std::cerr << arguments[i] << ": " << error.what() << "\n";
      return 1;
    }
  }
  return 0;
}
