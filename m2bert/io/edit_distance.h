#pragma once
// Which known name a misspelt one probably stands for.
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace m2bert::io {

// Letters to insert, delete, replace or swap with their neighbour to get from a to b (optimal string alignment).
size_t edit_distance(std::string_view a, std::string_view b);

// The nearest of the names, if it is at most `most` edits away.
std::optional<std::string> nearest_name(std::string_view word, const std::vector<std::string>& names, size_t most);

}  // namespace m2bert::io
