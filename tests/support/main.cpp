#include "tests/support/run_tests.h"

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  return m2bert::test::run_tests();
}
