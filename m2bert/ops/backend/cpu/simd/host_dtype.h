#pragma once
// The dtypes of the host memory that kernels read and write. In templates float stands for float32 and uint16_t for bfloat16.
#include <cstddef>
#include <cstdint>

namespace m2bert::ops::cpu {

enum class HostDtype { float32, bfloat16, int8 };

// Bytes of one value.
inline constexpr size_t size_of(HostDtype dtype) { return dtype == HostDtype::float32 ? 4 : dtype == HostDtype::bfloat16 ? 2 : 1; }

template <class T>
inline constexpr HostDtype dtype_of = sizeof(T) == 4   ? HostDtype::float32
                                      : sizeof(T) == 2 ? HostDtype::bfloat16
                                                       : HostDtype::int8;

}  // namespace m2bert::ops::cpu
