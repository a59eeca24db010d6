#pragma once
// The size of the one OpenMP pool that OpenBLAS, oneDNN and our own kernels share.
#include <string>

namespace m2bert {

// n >= 1; 0: default_threads(). Call it on the computing thread.
void set_threads(int n);
// The size that was set, or what default_threads() was at the first call.
int threads();
// OMP_NUM_THREADS of the environment (of a list, the first number), or else available_cpus(). A value that is no number is ignored.
int default_threads();
// The number of CPUs that this process may use, given CPU affinity and cgroup limits, at least 1.
int available_cpus();

// Lets the pool's threads wait for their next loop only briefly before they sleep. GNU's OpenMP, left alone, lets them spin for
// milliseconds, which stalls every loop as soon as another program needs a core. It reads its environment when it is loaded, so this starts
// the program anew, once, with GOMP_SPINCOUNT set: call it at the start of main(), with main's argv, before input is read. It returns
// without doing so if the environment already has GOMP_SPINCOUNT or OMP_WAIT_POLICY, if the program cannot be started again (it was run
// through a loader, or with raised privileges), or on other systems than Linux. A program that does not call it can be started with
// GOMP_SPINCOUNT=5000 instead.
void limit_spinning(char** argv);
// The file of this program, as the system started it; empty if unknown.
std::string program_file();

}  // namespace m2bert
