#include <cstdlib>

#include "m2bert/restart.h"
#include "m2bert/threads.h"

namespace m2bert {

namespace {

// 0.1 to 0.3 ms: longer than the pauses between the loops of a layer. With 0, each loop would begin with waking its threads.
constexpr const char* kSpinCount = "5000";

bool is_set(const char* variable) {
  const char* value = std::getenv(variable);
  return value != nullptr && *value != '\0';
}

}  // namespace

void limit_spinning(char** argv) {
  if (is_set("GOMP_SPINCOUNT") || is_set("OMP_WAIT_POLICY") || !can_restart()) return;
  ::setenv("GOMP_SPINCOUNT", kSpinCount, 1);
  restart(argv);
}

}  // namespace m2bert
