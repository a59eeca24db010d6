#pragma once
// Composer's placeholders in the paths of a recipe.
#include <string>
#include <string_view>

namespace m2bert::train {

// What they stand for. Ranks are those of this process.
struct Placeholders {
  std::string run_name;
  int rank = 0, local_rank = 0, node_rank = 0;
  int world_size = 1, local_world_size = 1;
};

// Fills in {run_name}, {rank}, {local_rank}, {node_rank}, {world_size} and {local_world_size}; {{ and }} are plain braces. Error that
// starts with `where` for another name or a single brace. Source: composer.utils.format_name_with_dist.
std::string filled_in(std::string_view path, const Placeholders& values, const std::string& where);

}  // namespace m2bert::train
