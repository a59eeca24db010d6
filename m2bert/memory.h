#pragma once
#include <cstddef>

namespace m2bert {

// Tells the C library to keep freed memory for the next buffers instead of giving it back to the system: a forward pass frees and takes
// the same large buffers in every layer, and fresh pages cost more than the arithmetic between them. For programs, at their start, before
// other threads run; the process then holds its peak until it ends. Does nothing where the C library is not glibc.
void keep_freed_memory();

// Bytes of memory that this process may use at most: the machine's, or a container's limit.
size_t physical_memory();

// Memory that shows a file, never written to: its pages may go back to the system, and come again from the file when they are read.
// Thread-safe; at: where the file's memory begins.
void add_file_memory(const void* at, size_t bytes);
void remove_file_memory(const void* at);
// Gives back the pages of a range where it shows a file; leaves other memory as it is.
void release_file_memory(const void* at, size_t bytes);

}  // namespace m2bert
