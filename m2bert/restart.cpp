#include "m2bert/restart.h"

#include "m2bert/threads.h"

#ifdef __linux__
#include <sys/auxv.h>
#include <unistd.h>
#endif

namespace m2bert {

#ifdef __linux__
std::string program_file() {
  const auto* name = reinterpret_cast<const char*>(::getauxval(AT_EXECFN));
  return name != nullptr ? name : "";
}

bool can_restart() {
  const bool started_by_kernel = ::getauxval(AT_BASE) != 0;
  return started_by_kernel && ::getauxval(AT_SECURE) == 0;
}

void restart(char** argv) {
  if (!can_restart()) return;
  ::execv(program_file().c_str(), argv);
  ::execv("/proc/self/exe", argv);  // where the file was renamed since
}
#else
std::string program_file() { return ""; }
bool can_restart() { return false; }
void restart(char**) {}
#endif

}  // namespace m2bert
