// Stands in for NVIDIA's driver library, libcuda.so.1. FAKE_CUDA says how it behaves.
#include <cstdlib>
#include <cstring>
#include <string>

namespace {

std::string mode() {
  const char* value = std::getenv("FAKE_CUDA");
  return value ? value : "";
}

}  // namespace

extern "C" {

int cuDriverGetVersion(int* version) {
  *version = mode() == "old driver" ? 12040 : 13000;
  return 0;
}
int cuInit(unsigned) { return mode() == "no device" ? 100 : mode() == "error" ? 802 : 0; }
int cuGetErrorName(int code, const char** name) {
  *name = code == 802 ? "CUDA_ERROR_SYSTEM_NOT_READY" : "CUDA_ERROR_UNKNOWN";
  return 0;
}
int cuDeviceGetCount(int* count) {
  *count = mode() == "hidden" ? 0 : 1;
  return 0;
}
int cuDeviceGet(int* device, int index) {
  *device = index;
  return 0;
}
int cuDeviceGetName(char* name, int size, int) {
  std::strncpy(name, "Fake GPU", static_cast<size_t>(size));
  return 0;
}
int cuDeviceGetAttribute(int* value, int attribute, int) {
  const bool old = mode() == "old GPU";
  *value = attribute == 75 ? (old ? 7 : 9) : 0;  // the major and the minor number of the compute capability
  return 0;
}

}  // extern "C"
