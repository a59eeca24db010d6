#include "m2bert/train/placeholders.h"

#include <map>

#include "m2bert/error.h"

namespace m2bert::train {

std::string filled_in(std::string_view path, const Placeholders& values, const std::string& where) {
  const std::map<std::string, std::string, std::less<>> known = {{"run_name", values.run_name},
                                                                 {"rank", std::to_string(values.rank)},
                                                                 {"local_rank", std::to_string(values.local_rank)},
                                                                 {"node_rank", std::to_string(values.node_rank)},
                                                                 {"world_size", std::to_string(values.world_size)},
                                                                 {"local_world_size", std::to_string(values.local_world_size)}};
  std::string out;
  for (size_t i = 0; i < path.size(); ++i) {
    const char c = path[i];
    if (c != '{' && c != '}') {
      out += c;
    } else if (i + 1 < path.size() && path[i + 1] == c) {
      out += path[i++];
    } else {
      const size_t end = path.find('}', i);
      require(c == '{' && end != std::string_view::npos, where, "a single ", c, " in \"", path, "\"; write ", c, c, " for a plain brace");
      const auto name = path.substr(i + 1, end - i - 1);
      const auto value = known.find(name);
      require(
          value != known.end(), where, "the placeholder {", name,
          "} is not known; there are {run_name}, {rank}, {local_rank}, {node_rank}, {world_size} and {local_world_size}, and {{ and }} are "
          "plain braces");
      out += value->second;
      i = end;
    }
  }
  return out;
}

}  // namespace m2bert::train
