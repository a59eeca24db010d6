#pragma once
// The size of the one OpenMP pool that OpenBLAS, oneDNN and our own kernels share.

namespace m2bert {

// n >= 1; 0: as many as the process may use, given CPU affinity and cgroup limits. Call it on the computing thread.
void set_threads(int n);
// The size that was set, or the machine's number of CPUs.
int threads();
// The number of CPUs that this process may use, at least 1.
int available_cpus();

}  // namespace m2bert
