#include "m2bert/threads.h"
#include "tests/support/run_tests.h"

int main(int argc, char** argv) {
  m2bert::limit_spinning(argv);
  ::testing::InitGoogleTest(&argc, argv);
  return m2bert::test::run_tests();
}
