#pragma once
// The shards of a run that several processes share. Each process computes some of the windows into OUT.shard-I-of-N, and one of them joins
// the shards into the file that a single process would have written.
//
// A shard is a ResumableFile that keeps its state: once it is finished, OUT.shard-I-of-N.part.state says from which input and with which
// settings it was made.
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

#include "cli/resumable_file.h"
#include "m2bert/io/tree.h"

namespace m2bert::cli {

// Which windows a process computes: those whose number modulo `count` is `index`.
struct Shard {
  uint64_t index = 0, count = 1;
};

// Reads "I/N", with I from 0. UsageError for anything else.
Shard shard_named(const std::string& text);
std::string name_of(const Shard& shard);  // "0 of 4"

// OUT.shard-I-of-N.
std::filesystem::path shard_file(const std::filesystem::path& out, const Shard& shard);

// The settings of a run with those of the shard.
io::Tree shard_settings(io::Tree settings, const Shard& shard);

// A window in a shard's file: its counts, its rows, and its part of the index. `window` counts this window alone.
std::string frame_of(const Done& window, std::string_view rows, std::string_view index);

// Error if shards of another number of processes lie beside the output. resume: those of `count` processes may be there. overwrite: removes
// the others instead.
void check_other_shards(const std::filesystem::path& out, uint64_t count, bool resume, bool overwrite);

// Waits until all shards are finished. Looks at one file now and then, so that neither a processor nor a file server is kept busy. Returns
// false if `stop` became true before.
bool wait_for_shards(const std::filesystem::path& out, uint64_t count, const io::Tree& settings, const std::function<bool()>& stop);

// Appends the windows of all shards in the order of the input, beginning behind those that the output already has. Returns the progress of
// the output. Error: a shard is missing, unfinished, damaged, or was made with other settings.
Done join_shards(ResumableFile& out, const std::filesystem::path& name, uint64_t count, const io::Tree& settings);

void remove_shards(const std::filesystem::path& out, uint64_t count);

}  // namespace m2bert::cli
