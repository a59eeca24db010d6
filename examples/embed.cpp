// Embeds texts with a trained model.
//   embed MODEL "a text" "another"     prints the vector of each text on a line
//   embed MODEL < texts.txt            the same for the lines of a file
// MODEL is a model folder, or a checkpoint file with its recipe (config.yaml) beside it.
#include <iostream>
#include <limits>
#include <string>
#include <vector>

#include "m2bert/error.h"
#include "m2bert/infer/embedder.h"
#include "m2bert/threads.h"

int main(int argc, char** argv) try {
  m2bert::limit_spinning(argv);  // faster beside other programs
  if (argc < 2) m2bert::fail("usage: embed MODEL [TEXT...]");
  std::vector<std::string> texts(argv + 2, argv + argc);
  if (texts.empty()) {
    for (std::string line; std::getline(std::cin, line);) texts.push_back(line);
  }

  // The model folder defines pooling, length and padding. EmbedOptions overrides them.
  const m2bert::infer::Embedder embedder(m2bert::models::load_pretrained(argv[1]), {.batch_size = 8});
  const m2bert::infer::Embeddings rows = embedder(texts);

  std::cout.precision(std::numeric_limits<float>::max_digits10);
  for (size_t i = 0; i < texts.size(); ++i) {
    for (int j = 0; j < rows.dim; ++j) std::cout << (j == 0 ? "" : " ") << rows.vectors[i * rows.dim + j];
    std::cout << "\n";
    if (rows.truncated[i]) std::cerr << "note: text " << i + 1 << " was truncated to " << embedder.pretrained().max_length << " tokens\n";
  }
} catch (const m2bert::Error& e) {
  std::cerr << "error: " << e.what() << "\n";
  return 1;
}
