#include "cli/mlx_library.h"

#include <dlfcn.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <vector>

#include "m2bert/error.h"
#include "m2bert/io/file.h"
#include "m2bert/mx.h"
#include "m2bert/restart.h"
#include "m2bert/threads.h"

namespace m2bert::cli {

#ifdef __linux__
namespace {

namespace fs = std::filesystem;

// What the CUDA wheel of MLX 0.32.4 and our kernels need.
constexpr int kDriverVersion = 13000, kComputeCapability = 80;
constexpr const char* kLibraries[] = {"libcublasLt.so.13", "libcudnn.so.9",  "libcufft.so.12",
                                      "libcusolver.so.12", "libnvrtc.so.13", "libnccl.so.2"};
constexpr const char* kHeader = "include/cuda_fp16.h";  // one of those that MLX's run-time compiler includes
constexpr const char* kAdvice = "run script/bootstrap --cuda";

// What an earlier start of this process found: its id, and after a space why the CUDA library is not used.
constexpr const char* kFound = "M2BERT_MLX_FOUND";

std::string why;

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

bool is_there(const fs::path& file) {
  std::error_code none;
  return fs::exists(file, none);
}

// ---- the driver ----

// The functions of libcuda.so.1 that are used here, as in cuda.h.
struct Driver {
  int (*version)(int*) = nullptr;
  int (*initialize)(unsigned) = nullptr;
  int (*error_name)(int, const char**) = nullptr;
  int (*count)(int*) = nullptr;
  int (*device)(int*, int) = nullptr;
  int (*name)(char*, int, int) = nullptr;
  int (*attribute)(int*, int, int) = nullptr;
};

template <class Function>
bool bind(void* library, const char* name, Function& function) {
  function = reinterpret_cast<Function>(::dlsym(library, name));
  return function != nullptr;
}

std::optional<Driver> open_driver() {
  void* library = ::dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  Driver driver;
  const bool complete = library && bind(library, "cuDriverGetVersion", driver.version) && bind(library, "cuInit", driver.initialize) &&
                        bind(library, "cuGetErrorName", driver.error_name) && bind(library, "cuDeviceGetCount", driver.count) &&
                        bind(library, "cuDeviceGet", driver.device) && bind(library, "cuDeviceGetName", driver.name) &&
                        bind(library, "cuDeviceGetAttribute", driver.attribute);
  return complete ? std::optional(driver) : std::nullopt;
}

std::string version_text(int cuda_version) { return std::to_string(cuda_version / 1000) + "." + std::to_string(cuda_version % 1000 / 10); }

std::string error_text(const Driver& driver, int code) {
  const char* name = nullptr;
  return driver.error_name(code, &name) == 0 && name ? name : "error " + std::to_string(code);
}

std::string hidden_by() {
  const char* visible = std::getenv("CUDA_VISIBLE_DEVICES");
  return visible ? std::string(" (CUDA_VISIBLE_DEVICES is \"") + visible + "\")" : "";
}

std::string device_problem(const Driver& driver) {
  constexpr int kMajor = 75, kMinor = 76;  // CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR
  int device = 0, major = 0, minor = 0;
  char name[128] = "the GPU";
  if (const int code = driver.device(&device, 0); code != 0) return "the NVIDIA driver reports " + error_text(driver, code);
  driver.name(name, sizeof name, device);
  driver.attribute(&major, kMajor, device);
  driver.attribute(&minor, kMinor, device);
  if (10 * major + minor >= kComputeCapability) return "";
  return std::string(name) + " has compute capability " + std::to_string(major) + "." + std::to_string(minor) +
         ", and 8.0 or newer is needed";
}

std::string driver_problem() {
  const auto driver = open_driver();
  if (!driver) return "the NVIDIA driver's library libcuda.so.1 was not found: install the driver, version 580 or newer";
  int version = 0, count = 0;
  driver->version(&version);
  if (version < kDriverVersion)
    return "the NVIDIA driver supports CUDA " + version_text(version) + ", and MLX needs " + version_text(kDriverVersion) +
           ": update the driver to version 580 or newer";
  constexpr int kNoDevice = 100;  // CUDA_ERROR_NO_DEVICE
  int code = driver->initialize(0);
  if (code == 0) code = driver->count(&count);
  if (code == kNoDevice || (code == 0 && count == 0)) return "the NVIDIA driver finds no GPU" + hidden_by();
  if (code != 0) return "the NVIDIA driver reports " + error_text(*driver, code);
  return device_problem(*driver);
}

// ---- MLX's CUDA library ----

fs::path cuda_folder() {
  std::error_code none;
  const fs::path program = fs::read_symlink("/proc/self/exe", none);
  return (program.parent_path().parent_path() / "lib/m2bert/cuda").lexically_normal();
}

std::string installed_version(const fs::path& mlx) {
  const fs::path header = mlx / "include/mlx/version.h";
  if (!is_there(header)) return "";
  const std::string text = io::read_file(header);
  std::string version;
  for (const char* part : {"MLX_VERSION_MAJOR ", "MLX_VERSION_MINOR ", "MLX_VERSION_PATCH "}) {
    const size_t at = text.find(part);
    if (at == std::string::npos) return "";
    version += (version.empty() ? "" : ".") + std::to_string(std::atoi(text.c_str() + at + std::string(part).size()));
  }
  return version;
}

// The folders where the loader will look for NVIDIA's libraries.
std::vector<fs::path> library_folders(const fs::path& cuda) {
  std::vector<fs::path> folders;
  std::error_code none;
  for (const auto& package : fs::directory_iterator(cuda / "nvidia", none)) folders.push_back(package.path() / "lib");
  const std::string given = variable("LD_LIBRARY_PATH");
  for (size_t begin = 0; begin < given.size();) {
    const size_t end = std::min(given.find(':', begin), given.size());
    if (end > begin) folders.emplace_back(given.substr(begin, end - begin));
    begin = end + 1;
  }
  for (const char* usual : {"/usr/local/cuda/lib64", "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib"})
    folders.emplace_back(usual);
  return folders;
}

std::string libraries_problem(const std::vector<fs::path>& folders) {
  for (const char* library : kLibraries) {
    bool found = false;
    for (const auto& folder : folders) found = found || is_there(folder / library);
    if (!found)
      return std::string("NVIDIA's ") + library + ", which MLX needs, was not found: " + kAdvice +
             ", or name its folder in LD_LIBRARY_PATH";
  }
  return "";
}

// CUDA's headers for kernels that MLX compiles at run time. It finds those beside it, in CUDA_HOME, CUDA_PATH or /usr/local/cuda by itself.
std::string headers_problem(const fs::path& cuda, const std::vector<fs::path>& folders) {
  if (is_there(cuda / "nvidia/cu13" / kHeader)) return "";
  for (const char* name : {"CUDA_HOME", "CUDA_PATH"})
    if (const std::string home = variable(name); !home.empty() && is_there(fs::path(home) / kHeader)) return "";
  if (is_there(fs::path("/usr/local/cuda") / kHeader)) return "";
  for (const auto& folder : folders) {
    if (!is_there(folder.parent_path() / kHeader)) continue;
    ::setenv("CUDA_HOME", folder.parent_path().c_str(), 1);
    return "";
  }
  return std::string("CUDA's headers, which MLX compiles kernels with, were not found: ") + kAdvice +
         ", or name CUDA's folder in CUDA_HOME";
}

std::string library_problem(const fs::path& cuda) {
  const fs::path mlx = cuda / "mlx";
  if (!is_there(mlx / "lib/libmlx.so")) return "MLX's CUDA library is not installed in " + cuda.string() + ": " + kAdvice;
  if (const std::string version = installed_version(mlx); version != mx::version())
    return "MLX's CUDA library in " + cuda.string() + " has version " + (version.empty() ? "unknown" : version) +
           ", and the program needs " + mx::version() + ": " + kAdvice;
  const auto folders = library_folders(cuda);
  const std::string problem = libraries_problem(folders);
  return problem.empty() ? headers_problem(cuda, folders) : problem;
}

// ---- the choice ----

// MLX keeps the kernels that it compiles at run time in /tmp/mlx, which belongs to the first user who computes.
void name_kernel_cache() {
  const std::string cache = variable("XDG_CACHE_HOME"), home = variable("HOME");
  if (!cache.empty() || !home.empty())
    ::setenv("MLX_PTX_CACHE_DIR", ((cache.empty() ? fs::path(home) / ".cache" : fs::path(cache)) / "m2bert/mlx" / mx::version()).c_str(),
             0);
}

// The threads that build, launch and free graphs allocate much at the same time, which jemalloc does without their waiting for one another.
// Nothing is different without it but the speed.
void preload_jemalloc() {
  if (std::getenv("LD_PRELOAD") != nullptr) return;  // also an empty one, which says not to
  for (const auto& folder : library_folders(cuda_folder())) {
    if (!is_there(folder / "libjemalloc.so.2")) continue;
    ::setenv("LD_PRELOAD", (folder / "libjemalloc.so.2").c_str(), 1);
    return;
  }
}

void load_cuda_library(char** argv) {
  preload_jemalloc();
  const std::string given = variable("LD_LIBRARY_PATH");
  ::setenv("LD_LIBRARY_PATH", ((cuda_folder() / "mlx/lib").string() + (given.empty() ? "" : ":" + given)).c_str(), 1);
  limit_spinning(argv);  // starts anew with this environment too, unless it has nothing to set
  restart(argv);
}

std::string problem_of(const std::string& wanted) {
  if (wanted == "cpu") return "M2BERT_MLX=cpu is set";
  if (wanted != "cuda" && !has_nvidia_gpu()) return "there is no NVIDIA GPU (/dev/nvidiactl)";
  if (!can_restart()) return "the program was started through a loader or with raised privileges";
  const std::string problem = driver_problem();
  return problem.empty() ? library_problem(cuda_folder()) : problem;
}

// What an earlier start of this process found; a child process looks itself.
std::optional<std::string> found_before() {
  const std::string text = variable(kFound), mine = std::to_string(::getpid()) + " ";
  return text.starts_with(mine) ? std::optional(text.substr(mine.size())) : std::nullopt;
}

void remember(const std::string& problem) { ::setenv(kFound, (std::to_string(::getpid()) + " " + problem).c_str(), 1); }

}  // namespace

void choose_mlx_library(char** argv, const Globals& globals) {
  const std::string wanted = variable("M2BERT_MLX");
  require(wanted.empty() || wanted == "cpu" || wanted == "cuda", "M2BERT_MLX=", wanted, ": it can be cpu or cuda");
  if (mx::cu::is_available()) {
    require(wanted != "cpu", "M2BERT_MLX=cpu: LD_LIBRARY_PATH names the folder of MLX's CUDA library; take it out");
    name_kernel_cache();
    return;
  }
  if (globals.device == "cpu") return;
  const auto before = found_before();
  why = before ? *before : problem_of(wanted);
  if (!before) {
    remember(why);
    if (why.empty()) load_cuda_library(argv);
  }
  if (why.empty()) why = "the loader did not take MLX's CUDA library in " + cuda_folder().string();
  require(wanted != "cuda", "M2BERT_MLX=cuda: ", why);
}

std::string why_no_gpu() {
  if (mx::cu::is_available()) return "MLX's CUDA library finds no GPU" + hidden_by();
  return why.empty() ? "no GPU was looked for" : why;
}

bool has_nvidia_gpu() { return is_there("/dev/nvidiactl") || is_there("/dev/nvidia0") || is_there("/dev/dxg"); }
#else
void choose_mlx_library(char**, const Globals&) {}
std::string why_no_gpu() { return "MLX finds no GPU here"; }
bool has_nvidia_gpu() { return false; }
#endif

const char* mlx_build() { return mx::cu::is_available() ? "cuda" : mx::metal::is_available() ? "metal" : "cpu"; }

}  // namespace m2bert::cli
