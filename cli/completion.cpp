// m2bert completion SHELL: a completion script, generated from the command table.
#include <CLI/CLI.hpp>
#include <iostream>
#include <map>
#include <memory>
#include <sstream>

#include "cli/choice.h"
#include "cli/command.h"
#include "cli/command_tree.h"
#include "cli/suggest.h"

namespace m2bert::cli {
namespace {

// The long options of a command, of its subcommands and of the program.
std::vector<const CLI::Option*> options_of(const CLI::App& command, const CLI::App& program) {
  std::vector<const CLI::Option*> options;
  std::map<std::string, bool> seen;
  std::vector<const CLI::App*> apps = commands_of(command);
  apps.insert(apps.begin(), &command);
  apps.push_back(&program);
  for (const CLI::App* app : apps)
    for (const CLI::Option* option : app->get_options())
      if (!option->get_lnames().empty() && !seen[option->get_lnames().front()]) {
        seen[option->get_lnames().front()] = true;
        options.push_back(option);
      }
  return options;
}

std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

// Quotes text for a shell script.
std::string shell_quoted(const std::string& text) {
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? "'\\''" : std::string(1, c);
  return out + "'";
}

// The subcommands of a command, for bash: " -W 'build split show'".
std::string inner_words(const CLI::App& command) {
  const auto names = command_names(command);
  return names.empty() ? "" : " -W " + shell_quoted(joined(names, " "));
}

std::string bash_script(const CLI::App& program) {
  std::ostringstream out;
  out << "# bash completion for m2bert\n_m2bert() {\n  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} command= word\n"
      << "  COMPREPLY=()\n  for word in \"${COMP_WORDS[@]:1:COMP_CWORD-1}\"; do\n    case $word in\n      "
      << joined(command_names(program), "|") << ") command=$word; break ;;\n    esac\n  done\n  case $command:$prev in\n";
  for (const CLI::App* command : commands_of(program))
    for (const CLI::Option* option : options_of(*command, program))
      if (const auto choices = choices_of(*option); !choices.empty())
        out << "    " << command->get_name() << ":--" << option->get_lnames().front() << ") COMPREPLY=($(compgen -W "
            << shell_quoted(joined(choices, " ")) << " -- \"$cur\")); return ;;\n";
  out << "  esac\n  case $command in\n    '')\n      COMPREPLY=($(compgen -W "
      << shell_quoted(joined(command_names(program), " ") + " " + joined(option_names(program, program), " ")) << " -- \"$cur\")) ;;\n";
  for (const CLI::App* command : commands_of(program))
    out << "    " << command->get_name() << ")\n      if [[ $cur == -* ]]; then COMPREPLY=($(compgen -W "
        << shell_quoted(joined(option_names(*command, program), " ")) << " -- \"$cur\")); else COMPREPLY=($(compgen -f"
        << inner_words(*command) << " -- \"$cur\")); fi ;;\n";
  out << "  esac\n}\ncomplete -o filenames -F _m2bert m2bert\n";
  return out.str();
}

// Escapes brackets and colons for a zsh option description.
std::string zsh_text(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '[' || c == ']' || c == ':' || c == '\\') out += '\\';
    out += c;
  }
  return out;
}

std::string zsh_option(const CLI::Option& option) {
  std::string spec = "--" + option.get_lnames().front() + "[" + zsh_text(first_line(option.get_description())) + "]";
  const auto choices = choices_of(option);
  if (!choices.empty()) spec += ":value:(" + joined(choices, " ") + ")";
  else if (option.get_items_expected_max() > 0) spec += ":value:_files";
  return (option.get_items_expected_max() > 1 ? "'*'" : "") + shell_quoted(spec);
}

std::string zsh_script(const CLI::App& program) {
  std::ostringstream out;
  out << "#compdef m2bert\n# zsh completion for m2bert\n_m2bert() {\n  local context state state_descr line\n  typeset -A opt_args\n"
      << "  _arguments -C '1:command:->command' '*::argument:->argument'\n  case $state in\n    command)\n      local -a commands=(\n";
  for (const CLI::App* command : commands_of(program))
    out << "        " << shell_quoted(command->get_name() + ":" + zsh_text(command->get_description())) << "\n";
  out << "      )\n      _describe command commands ;;\n    argument)\n      case $line[1] in\n";
  for (const CLI::App* command : commands_of(program)) {
    out << "        " << command->get_name() << ") _arguments";
    for (const CLI::Option* option : options_of(*command, program)) out << " \\\n          " << zsh_option(*option);
    if (const auto inner = command_names(*command); !inner.empty()) out << " \\\n          '1:what:(" << joined(inner, " ") << ")'";
    out << " \\\n          '*:file:_files' ;;\n";
  }
  // zsh reads a file of its fpath at the first completion, as the body of the function that completes.
  out << "      esac ;;\n  esac\n}\ncompdef _m2bert m2bert\nif [ \"$funcstack[1]\" = _m2bert ]; then _m2bert; fi\n";
  return out.str();
}

std::string fish_script(const CLI::App& program) {
  std::ostringstream out;
  out << "# fish completion for m2bert\n";
  for (const CLI::App* command : commands_of(program))
    out << "complete -c m2bert -f -n __fish_use_subcommand -a " << command->get_name() << " -d " << shell_quoted(command->get_description())
        << "\n";
  for (const CLI::App* command : commands_of(program)) {
    for (const CLI::App* inner : commands_of(*command))
      out << "complete -c m2bert -n '__fish_seen_subcommand_from " << command->get_name() << "' -a " << inner->get_name() << " -d "
          << shell_quoted(inner->get_description()) << "\n";
    for (const CLI::Option* option : options_of(*command, program)) {
      out << "complete -c m2bert -n '__fish_seen_subcommand_from " << command->get_name() << "' -l " << option->get_lnames().front();
      if (const auto choices = choices_of(*option); !choices.empty()) out << " -x -a " << shell_quoted(joined(choices, " "));
      else if (option->get_items_expected_max() > 0) out << " -r";
      out << " -d " << shell_quoted(first_line(option->get_description())) << "\n";
    }
  }
  return out.str();
}

}  // namespace

Run completion_command(CLI::App& app, const Globals&) {
  const auto shell = std::make_shared<std::string>();
  add_choice(app, "shell", *shell, {"bash", "zsh", "fish"}, "The shell")->required();
  return [shell, &app] {
    const CLI::App& program = program_of(app);
    std::cout << (*shell == "bash" ? bash_script(program) : *shell == "zsh" ? zsh_script(program) : fish_script(program));
  };
}

}  // namespace m2bert::cli
