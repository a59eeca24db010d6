#pragma once
// Names of commands and options, for completions and for "did you mean".
#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace m2bert::cli {

std::vector<std::string> command_names(const CLI::App& app);

// Long options of a command, of its subcommands and of the program.
std::vector<std::string> option_names(const CLI::App& command, const CLI::App& program);

// "unknown command 'embd'; did you mean 'embed'?", the question only if a name is close.
std::string unknown_word(const std::string& kind, const std::string& word, const std::vector<std::string>& names);

}  // namespace m2bert::cli
