#pragma once
// -log softmax(x)[label] of rows: host memory only, no MLX. T: float, or uint16_t for bfloat16.
#include <cstdint>

namespace m2bert::ops::cpu {

// loss[r] = log_sums[r] - x[r, labels[r]], log_sums[r] = log(sum exp(x[r])); x [rows, classes]. NaN where a label is none of the classes.
template <class T>
void cross_entropy_rows(const T* x, const int32_t* labels, int64_t rows, int64_t classes, float* loss, float* log_sums, int threads);

// dx of sum(loss * dy).
template <class T>
void cross_entropy_gradient(const T* x, const int32_t* labels, const float* log_sums, const float* dy, int64_t rows, int64_t classes, T* dx,
                            int threads);

}  // namespace m2bert::ops::cpu
