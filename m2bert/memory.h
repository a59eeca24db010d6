#pragma once
#include <cstddef>

namespace m2bert {

// Tells the C library to keep freed memory for the next buffers instead of giving it back to the system: a forward pass frees and takes
// the same large buffers in every layer, and fresh pages cost more than the arithmetic between them. For programs, at their start, before
// other threads run; the process then holds its peak until it ends. Does nothing where the C library is not glibc.
void keep_freed_memory();

// Bytes of memory that this process may use at most: the machine's, or a container's limit.
size_t physical_memory();

}  // namespace m2bert
