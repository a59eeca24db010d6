// Uses every library of the package: libm2bert, libm2bert_ops and MLX.
#include <iostream>

#include "m2bert/nn/linear.h"
#include "m2bert/ops/monarch.h"
#include "m2bert/tokenize/wordpiece.h"
#include "m2bert/version.h"

int main() {
  const auto encoding = m2bert::tokenize::WordPiece::builtin().encode("Monarchs migrate south.", {});
  auto y = m2bert::ops::blockdiag_multiply(m2bert::mx::ones({1, 4}), m2bert::mx::ones({2, 3, 2}));
  y = m2bert::mx::matmul(m2bert::mx::reshape(y, {2, 3}), m2bert::mx::ones({3, 1}));
  std::cout << M2BERT_VERSION << " " << encoding.ids.size() << " tokens, " << m2bert::mx::sum(y).item<float>() << "\n";
}
