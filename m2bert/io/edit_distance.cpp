#include "m2bert/io/edit_distance.h"

#include <algorithm>
#include <numeric>
#include <utility>

namespace m2bert::io {

size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1), above(row.size()), above2;  // above2 is two rows up
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    above2 = std::exchange(above, row);
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min({above[j] + 1, row[j - 1] + 1, above[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) row[j] = std::min(row[j], above2[j - 2] + 1);
    }
  }
  return row[b.size()];
}

std::optional<std::string> nearest_name(std::string_view word, const std::vector<std::string>& names, size_t most) {
  const auto nearest =
      std::ranges::min_element(names, [&](const auto& a, const auto& b) { return edit_distance(word, a) < edit_distance(word, b); });
  if (nearest == names.end() || edit_distance(word, *nearest) > most) return std::nullopt;
  return *nearest;
}

}  // namespace m2bert::io
