#include "cli/command_tree.h"

#include <CLI/CLI.hpp>
#include <sstream>

namespace m2bert::cli {

const CLI::App& program_of(const CLI::App& app) { return app.get_parent() == nullptr ? app : program_of(*app.get_parent()); }

std::vector<const CLI::App*> commands_of(const CLI::App& app) {
  return app.get_subcommands([](const CLI::App*) { return true; });
}

std::string full_name(const CLI::App& app, const std::string& between) {
  return (app.get_parent() ? full_name(*app.get_parent(), between) + between : "") + app.get_name();
}

std::vector<std::string> choices_of(const CLI::Option& option) {
  std::vector<std::string> choices;
  const std::string type = option.get_type_name();
  if (type.find('|') == std::string::npos) return choices;
  std::istringstream words(type);
  for (std::string word; std::getline(words, word, '|');) choices.push_back(word);
  return choices;
}

std::string joined(const std::vector<std::string>& words, const std::string& between) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : between) + word;
  return text;
}

}  // namespace m2bert::cli
