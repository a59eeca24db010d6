#pragma once
// Joins the processes of a run through MLX's backends: ring (TCP), MPI, NCCL.
#include <filesystem>
#include <string>

#include "m2bert/train/processes.h"

namespace m2bert::train {

// The backend that the environment selects, with the variables of MLX's own launcher: "nccl" (NCCL_HOST_IP, NCCL_PORT, MLX_RANK,
// MLX_WORLD_SIZE; on a GPU), "ring" (MLX_HOSTFILE, MLX_RANK), "mpi" (under mpirun), "" for a single process.
std::string backend_of_environment();

// Waits for all processes and joins them; a signal (io/interrupt.h) ends the wait with an error. timeout: seconds to wait for them, here
// and in every collective operation. ProcessLost: one cannot be reached or is gone. Error: the backend is not available, or the hostfile is
// invalid.
Processes join_processes(double timeout = 600);

// Checks an MLX hostfile, [["10.0.0.1:5000"], ["10.0.0.2:5000"]] with one entry a process in the order of ranks, and sets the environment
// for it. Error that names the file and the invalid entry, or a rank that it does not have.
void use_hostfile(const std::filesystem::path& hostfile, int rank);

}  // namespace m2bert::train
