#include "cli/suggest.h"

#include <CLI/CLI.hpp>
#include <algorithm>

#include "m2bert/io/edit_distance.h"

namespace m2bert::cli {
namespace {

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
  if (const auto nearest = io::nearest_name(bare, names, std::max<size_t>(1, bare.size() / 3)))
    text += "; did you mean '" + *nearest + "'?";
  return text;
}

}  // namespace m2bert::cli
