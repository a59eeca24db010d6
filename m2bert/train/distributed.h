#pragma once
// Joining the other processes of a run through MLX's backends: ring (TCP), MPI, NCCL.
#include <filesystem>
#include <string>

#include "m2bert/train/processes.h"

namespace m2bert::train {

// Which backend the environment asks for, as MLX's own launcher sets it: "nccl" (NCCL_HOST_IP, NCCL_PORT, MLX_RANK, MLX_WORLD_SIZE; on a
// GPU), "ring" (MLX_HOSTFILE, MLX_RANK), "mpi" (under mpirun), "" for a process by itself.
std::string backend_of_environment();

// Waits until all processes are there, and joins them. Error: the backend cannot be had, the hostfile makes no sense.
Processes join_processes();

// Checks an MLX hostfile, [["10.0.0.1:5000"], ["10.0.0.2:5000"]] with one entry a process in the order of ranks, and sets the environment
// for it. Error that names the file and the entry, or a rank that is not there.
void use_hostfile(const std::filesystem::path& hostfile, int rank);

}  // namespace m2bert::train
