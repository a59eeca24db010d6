#pragma once
// The checkpoints in the folder of a training run (save_folder), by their names.
#include <cstdint>
#include <filesystem>
#include <optional>
#include <vector>

namespace m2bert::checkpoint {

// The metadata that a checkpoint of a run has, and what stands before the names of its averaged weights.
inline constexpr const char* kRunState = "m2bert.run";
inline constexpr const char* kRunAverage = "algorithms.ema";

// Every ep0-ba100.safetensors in a folder, the latest batch first.
std::vector<std::filesystem::path> run_checkpoints(const std::filesystem::path& folder);

// The first of them that is complete, by its header; others cause a warning. nullopt if there are no checkpoints. Error if all are damaged.
std::optional<std::filesystem::path> newest_run_checkpoint(const std::filesystem::path& folder);

}  // namespace m2bert::checkpoint
