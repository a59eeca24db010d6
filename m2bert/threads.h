#pragma once
// The size of the one OpenMP pool that OpenBLAS, oneDNN and our own kernels share.

namespace m2bert {

// n >= 1; 0: as many as the process may use (affinity and cgroup limits count). Call from the thread that computes.
void set_threads(int n);
// The size set, or the machine's.
int threads();
// CPUs this process may use, at least 1.
int available_cpus();

}  // namespace m2bert
