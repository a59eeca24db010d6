#include "m2bert/train/distributed.h"

#ifdef __linux__
#include <dlfcn.h>
#endif

#include <chrono>
#include <cstdlib>
#include <future>
#include <thread>

#include "m2bert/error.h"
#include "m2bert/io/interrupt.h"
#include "m2bert/io/json.h"

namespace m2bert::train {

namespace {

bool is_set(const char* name) {
  const char* value = std::getenv(name);
  return value && *value;
}

int number_in(const char* name, int fallback) { return is_set(name) ? std::atoi(std::getenv(name)) : fallback; }

void check_address(const io::Tree& address) {
  const std::string& text = address.string();
  const size_t colon = text.rfind(':');
  const int port = colon == std::string::npos ? 0 : std::atoi(text.c_str() + colon + 1);
  if (colon == 0 || port < 1 || port > 65535) address.wants("an address and port like \"10.0.0.1:5000\"");
}

// MLX opens libmpi.so. Distributions install that name with Open MPI's development files, not with mpirun.
void name_mpi_library() {
#ifdef __linux__
  if (is_set("MLX_MPI_LIBNAME")) return;
  if (void* library = ::dlopen("libmpi.so", RTLD_LAZY)) {
    ::dlclose(library);
    return;
  }
  ::setenv("MLX_MPI_LIBNAME", "libmpi.so.40", 1);
#endif
}

// MLX waits for the other processes without end, or half a minute if one refuses the connection. It does so on a thread of its own here,
// which is abandoned if a signal comes.
mx::distributed::Group join_ring(double timeout) {
  std::promise<mx::distributed::Group> promise;
  auto joined = promise.get_future();
  std::thread([promise = std::move(promise)]() mutable {
    try {
      promise.set_value(mx::distributed::init(true, "ring"));
    } catch (...) {
      promise.set_exception(std::current_exception());
    }
  }).detach();
  const auto start = std::chrono::steady_clock::now();
  while (joined.wait_for(std::chrono::milliseconds(20)) != std::future_status::ready) {
    io::throw_if_interrupted();
    if (is_process_lost()) throw ProcessLost("another process of this run is gone");
    if (std::chrono::steady_clock::now() - start > std::chrono::duration<double>(timeout))
      throw ProcessTimeout("waited " + std::to_string(int64_t(timeout)) + " s for the other processes of this run (dist_timeout)");
  }
  try {
    return joined.get();
  } catch (const std::exception& e) {
    throw ProcessLost("cannot reach the other processes, at the addresses of " + std::string(std::getenv("MLX_HOSTFILE")) + ": " +
                      e.what());
  }
}

}  // namespace

std::string backend_of_environment() {
  const bool gpu = mx::default_device() == mx::Device(mx::Device::gpu);
  if (gpu && is_set("NCCL_HOST_IP") && is_set("MLX_RANK")) return "nccl";
  if (is_set("MLX_HOSTFILE") && is_set("MLX_RANK")) return "ring";
  if (number_in("OMPI_COMM_WORLD_SIZE", 1) > 1) return "mpi";
  return "";
}

Processes join_processes(double timeout) {
  const std::string backend = backend_of_environment();
  if (backend.empty()) return {};
  if (backend == "ring") use_hostfile(std::getenv("MLX_HOSTFILE"), number_in("MLX_RANK", 0));
  if (backend == "mpi") name_mpi_library();
  try {
    Processes processes(backend == "ring" ? join_ring(timeout) : mx::distributed::init(true, backend), timeout);
    processes.set_local_size(number_in("M2BERT_LOCAL_PROCESSES", number_in("OMPI_COMM_WORLD_LOCAL_SIZE", 1)));
    return processes;
  } catch (const Error&) {
    throw;
  } catch (const std::exception& e) {
    fail("cannot join the other processes (", backend, "): ", e.what());
  }
}

void use_hostfile(const std::filesystem::path& hostfile, int rank) {
  const io::Tree hosts = io::read_json(hostfile);
  if (!hosts.is_list() || hosts.size() == 0) hosts.wants("a list with the addresses of each process, [[\"10.0.0.1:5000\"], ...]");
  for (const auto& host : hosts.items()) {
    if (!host.is_list() || host.size() == 0) host.wants("a list of addresses, [\"10.0.0.1:5000\"]");
    for (const auto& address : host.items()) check_address(address);
  }
  require(rank >= 0 && rank < int(hosts.size()), hostfile.string(), ": has ", hosts.size(), " processes, so ranks from 0 to ",
          hosts.size() - 1, "; this one is to be ", rank);
  ::setenv("MLX_HOSTFILE", hostfile.c_str(), 1);
  ::setenv("MLX_RANK", std::to_string(rank).c_str(), 1);
}

}  // namespace m2bert::train
