#include "cli/suggest.h"

#include <CLI/CLI.hpp>
#include <algorithm>

namespace m2bert::cli {
namespace {

// Letters to insert, delete or replace, and neighbours to swap, to get from a to b.
size_t edit_distance(const std::string& a, const std::string& b) {
  std::vector<std::vector<size_t>> d(a.size() + 1, std::vector<size_t>(b.size() + 1));
  for (size_t i = 0; i <= a.size(); ++i) {
    for (size_t j = 0; j <= b.size(); ++j) {
      if (i == 0 || j == 0) {
        d[i][j] = i + j;
        continue;
      }
      d[i][j] = std::min({d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)});
      const bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (swapped) d[i][j] = std::min(d[i][j], d[i - 2][j - 2] + 1);
    }
  }
  return d[a.size()][b.size()];
}

void append_long_options(const CLI::App& app, std::vector<std::string>& names) {
  for (const CLI::Option* option : app.get_options())
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
}

}  // namespace

std::vector<std::string> command_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* sub : app.get_subcommands([](const CLI::App*) { return true; })) names.push_back(sub->get_name());
  return names;
}

std::vector<std::string> option_names(const CLI::App& command, const CLI::App& program) {
  std::vector<std::string> names;
  append_long_options(command, names);
  for (const CLI::App* inner : command.get_subcommands([](const CLI::App*) { return true; })) append_long_options(*inner, names);
  append_long_options(program, names);
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  return names;
}

std::string unknown_word(const std::string& kind, const std::string& word, const std::vector<std::string>& names) {
  std::string text = "unknown " + kind + " '" + word + "'";
  const std::string bare = word.substr(0, std::min(word.size(), word.find('=')));
  const auto nearest = std::min_element(names.begin(), names.end(),
                                        [&](const auto& a, const auto& b) { return edit_distance(bare, a) < edit_distance(bare, b); });
  if (nearest != names.end() && edit_distance(bare, *nearest) <= std::max<size_t>(1, bare.size() / 3))
    text += "; did you mean '" + *nearest + "'?";
  return text;
}

}  // namespace m2bert::cli
