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
// Remove temporaries that a killed program has left: those of a file, beside it, or all in a folder. Only where no other program writes
// that file, or into that folder.
void remove_abandoned(const std::filesystem::path& file);
void remove_abandoned_in(const std::filesystem::path& folder);
// Removes all that currently exist. Async-signal-safe.
void remove_temporaries() noexcept;

}  // namespace m2bert::io
