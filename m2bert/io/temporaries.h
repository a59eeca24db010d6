#pragma once
// Names of temporary files and folders, and those that currently exist, for a signal handler that ends the program.
#include <filesystem>
#include <string>

namespace m2bert::io {

void remember_temporary(const std::string& file);
void forget_temporary(const std::string& file);
// The end of a temporary file's name, ".part-1f03a2c9". Random: processes of other containers or machines, which may have the same id, can
// write into the same folder. Whoever uses it still has to make the file with O_EXCL.
std::string temporary_ending();
// Removes the temporaries of a file that a killed program has left beside it. Only where no other program writes that file.
void remove_abandoned(const std::filesystem::path& file) noexcept;
// Removes all that currently exist. Async-signal-safe.
void remove_temporaries() noexcept;

}  // namespace m2bert::io
