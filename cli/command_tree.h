#pragma once
// The table of commands and options, as CLI11 holds it, for what is generated from it: completions and man pages.
#include <string>
#include <vector>

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace m2bert::cli {

// The program that a command belongs to.
const CLI::App& program_of(const CLI::App& app);

// The commands of the program, or the subcommands of a command.
std::vector<const CLI::App*> commands_of(const CLI::App& app);

// "m2bert data build", or with "-" between the words "m2bert-data-build".
std::string full_name(const CLI::App& app, const std::string& between = " ");

// The words that an option allows, which its type lists as "max|longest|bucket"; none for a file or any text.
std::vector<std::string> choices_of(const CLI::Option& option);

std::string joined(const std::vector<std::string>& words, const std::string& between);

}  // namespace m2bert::cli
