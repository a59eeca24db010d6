// Uses m2bert::ops only.
#include <iostream>

#include "m2bert/ops/monarch.h"

int main() {
  std::cout << m2bert::mx::sum(m2bert::ops::blockdiag_multiply(m2bert::mx::ones({1, 4}), m2bert::mx::ones({2, 3, 2}))).item<float>()
            << "\n";
}
