#pragma once
// Paths as users give them: links, devices, and clear errors for those that cannot be used.
#include <exception>
#include <filesystem>
#include <string>
#include <system_error>

namespace m2bert::io {

// The file that writing to the path changes: the target of a symbolic link, which need not exist yet. Error: the links are a loop.
std::filesystem::path follow_links(std::filesystem::path path);

// Whether the path is a pipe, a device, or a descriptor (/dev/stdout, /dev/fd/N): something that is written in order and cannot be
// replaced.
bool is_stream(const std::filesystem::path& path);

// Opens such a path for writing and returns the descriptor. /dev/stdout and /dev/fd/N go on where the process's own descriptor is.
int open_stream(const std::filesystem::path& path);

// follow_links, checked: throws, with the reason, unless a file of this name can be made or replaced. The name is not empty and no
// folder's, and its folder exists.
std::filesystem::path writable_path(const std::filesystem::path& path);

// Why a path cannot be used: "permission denied", "is a loop of symbolic links", else the system's own words.
std::string reason_of(const std::error_code& error);

// The message of an exception. Those of the standard library's file functions become "PATH: reason".
std::string message_of(const std::exception& error);

}  // namespace m2bert::io
