#pragma once
// The cross entropy -log softmax(x)[label] of rows, and its gradient. Host memory only; thread-safe. T: float, or uint16_t for bfloat16.
#include <cstdint>

namespace m2bert::ops::cpu {

// loss[r] = log_sum_exp[r] - x[r, labels[r]] with log_sum_exp[r] = log(sum exp(x[r])); x [rows, classes]. NaN if a label is not in [0,
// classes).
template <class T>
void cross_entropy_rows(const T* x, const int32_t* labels, int64_t rows, int64_t classes, float* loss, float* log_sum_exp, int threads);

// The gradient dx [rows, classes] of sum(loss * dy).
template <class T>
void cross_entropy_gradient(const T* x, const int32_t* labels, const float* log_sum_exp, const float* dy, int64_t rows, int64_t classes,
                            T* dx, int threads);

}  // namespace m2bert::ops::cpu
