#pragma once
#include <cstddef>

namespace m2bert {

// Tells the C library to keep freed memory for later buffers instead of returning it to the system: a forward pass frees and allocates the
// same large buffers in every layer, and fresh pages cost more than the arithmetic between them. Programs that compute on the CPU call it
// at their start, before other threads run; the process then holds its peak memory until it ends. Not for a GPU, where the threads that
// build, launch and free graphs would wait for one another: all of them share one heap then. Does nothing unless the C library is glibc.
void keep_freed_memory();
// The same for a process that is not m2bert's alone, such as Python: raises the limits up to which the C library keeps freed memory to the
// values that it may also take by itself, 32 MiB for a buffer and 64 MiB for what is free at the end of a heap. Does nothing if the
// environment has settings of its own (MALLOC_TRIM_THRESHOLD_, MALLOC_MMAP_THRESHOLD_, GLIBC_TUNABLES, ...), or without glibc. Thread-safe.
void keep_freed_buffers();

// The memory that this process may use, in bytes: the machine's, or a container's limit.
size_t physical_memory();

// Registers or removes a read-only mapping of a file. Its pages can be released, and are read from the file again when needed. at: the
// start of the mapping. Thread-safe.
void add_file_memory(const void* at, size_t bytes);
void remove_file_memory(const void* at);
// Releases the pages of a range that lie in such a mapping; other memory is unaffected.
void release_file_memory(const void* at, size_t bytes);

}  // namespace m2bert
