#pragma once
// Metrics of numbers, equal to those of the same names in SciPy and scikit-learn. All functions throw Error on lengths that differ.
#include <span>
#include <vector>

namespace m2bert::metrics {

// Pearson correlation. NaN if either vector is constant or has a value that is not finite. Throws Error on fewer than two values.
double pearsonr(std::span<const double> x, std::span<const double> y);
// Spearman correlation: Pearson's of the ranks; equal values share their mean rank. NaN on fewer than two values, or if either vector is
// constant or has a NaN.
double spearmanr(std::span<const double> x, std::span<const double> y);
// The rank of each value, from 1; equal values share their mean rank. Wants no NaN.
std::vector<double> rankdata(std::span<const double> values);

// These throw Error without values, and on values that are not finite.
double mean_squared_error(std::span<const double> labels, std::span<const double> predictions);
double mean_absolute_error(std::span<const double> labels, std::span<const double> predictions);
// R², the coefficient of determination. If the labels are constant, 1 for exact predictions and else 0. NaN on fewer than two values.
double r2_score(std::span<const double> labels, std::span<const double> predictions);

}  // namespace m2bert::metrics
