#include <cstdlib>

#include "m2bert/threads.h"

#ifdef __linux__
#include <sys/auxv.h>
#include <unistd.h>
#endif

namespace m2bert {

#ifdef __linux__
namespace {

// 0.1 to 0.3 ms: longer than the pauses between the loops of a layer. With 0, each loop would begin with waking its threads.
constexpr const char* kSpinCount = "5000";

bool is_set(const char* variable) {
  const char* value = std::getenv(variable);
  return value != nullptr && *value != '\0';
}

}  // namespace

std::string program_file() {
  const auto* name = reinterpret_cast<const char*>(::getauxval(AT_EXECFN));
  return name != nullptr ? name : "";
}

void limit_spinning(char** argv) {
  if (is_set("GOMP_SPINCOUNT") || is_set("OMP_WAIT_POLICY")) return;
  const bool started_by_kernel = ::getauxval(AT_BASE) != 0;  // else through a loader: its options are not in argv
  if (!started_by_kernel || ::getauxval(AT_SECURE) != 0) return;
  ::setenv("GOMP_SPINCOUNT", kSpinCount, 1);
  ::execv(program_file().c_str(), argv);
  ::execv("/proc/self/exe", argv);  // where the file was renamed since
}
#else
std::string program_file() { return ""; }
void limit_spinning(char**) {}
#endif

}  // namespace m2bert
