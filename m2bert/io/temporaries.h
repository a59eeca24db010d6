#pragma once
// The temporary files and folders that currently exist, for a signal handler that ends the program.
#include <string>

namespace m2bert::io {

void remember_temporary(const std::string& file);
void forget_temporary(const std::string& file);
// Removes all of them. Async-signal-safe.
void remove_temporaries() noexcept;

}  // namespace m2bert::io
