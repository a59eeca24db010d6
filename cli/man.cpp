// m2bert man [COMMAND...]: man pages (macros of man(7)), generated from the command table.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cctype>
#include <filesystem>
#include <iostream>
#include <memory>
#include <sstream>

#include "cli/command.h"
#include "cli/command_tree.h"
#include "cli/suggest.h"
#include "m2bert/error.h"
#include "m2bert/io/file.h"
#include "m2bert/version.h"

namespace m2bert::cli {
namespace {

constexpr size_t line_width = 78;  // of the source

constexpr const char* program_text =
    "m2bert runs and trains Monarch Mixer BERT (M2-BERT) models, and attention models with BERT's architecture. It embeds, classifies, "
    "compares and searches texts, serves models over HTTP, pretrains, fine-tunes and evaluates models, and inspects and converts "
    "checkpoints.";

constexpr const char* exit_status_text =
    ".TP\n0\nSuccess.\n.TP\n1\nAn error; one message on standard error says what failed and where.\n"
    ".TP\n2\nAn invalid command line.\n.TP\n128 + signal\nStopped by a signal, such as Ctrl\\-C (130) or SIGTERM (143).\n";

// ---- troff ----
// Text that is copied from the page: hyphens and quotes stay ASCII.
std::string verbatim(const std::string& text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '\\': out += "\\e"; break;
      case '-': out += "\\-"; break;
      case '\'': out += "\\(aq"; break;
      case '`': out += "\\(ga"; break;
      case '^': out += "\\(ha"; break;
      case '~': out += "\\(ti"; break;
      default: out += c;
    }
  }
  return out;
}

std::string bold(const std::string& text) { return "\\fB" + verbatim(text) + "\\fR"; }
std::string italic(const std::string& text) { return "\\fI" + verbatim(text) + "\\fR"; }

// A word of a sentence. Options keep their hyphens.
std::string word_of_prose(const std::string& word) {
  const size_t letter = word.find_first_not_of("(\"'");
  if (letter != std::string::npos && word[letter] == '-') return verbatim(word);
  std::string out;
  for (const char c : word) out += c == '\\' ? "\\e" : c == '~' ? "\\(ti" : c == '^' ? "\\(ha" : c == '`' ? "\\(ga" : std::string(1, c);
  return out;
}

// Lines of words that troff fills. A line that begins with a dot or quote would be a request.
std::string filled(const std::vector<std::string>& words) {
  std::string out, line;
  const auto end_line = [&] {
    if (line.empty()) return;
    out += (line.front() == '.' || line.front() == '\'' ? "\\&" : "") + line + "\n";
    line.clear();
  };
  for (const std::string& word : words) {
    if (!line.empty() && line.size() + 1 + word.size() > line_width) end_line();
    line += (line.empty() ? "" : " ") + word;
  }
  end_line();
  return out;
}

std::vector<std::string> words_of(const std::string& text) {
  std::vector<std::string> words;
  std::istringstream in(text);
  for (std::string word; in >> word;) words.push_back(word);
  return words;
}

std::string prose(const std::string& text) {
  auto words = words_of(text);
  std::transform(words.begin(), words.end(), words.begin(), word_of_prose);
  return filled(words);
}

std::string example(const std::string& text) {
  std::string out = ".EX\n";
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) out += verbatim(line) + "\n";
  return out + ".EE\n";
}

std::string section(const std::string& title, const std::string& text) { return text.empty() ? "" : ".SH " + title + "\n" + text; }

// ---- options ----
bool is_shown(const CLI::Option& option) { return !option.get_group().empty(); }
bool takes_value(const CLI::Option& option) { return option.get_items_expected_max() > 0; }
bool takes_list(const CLI::Option& option) { return option.get_expected_max() == CLI::detail::expected_max_vector_size; }

// A word is written as it is, or in capitals if it stands for a value.
std::string value_word(const std::string& word) {
  const bool stands_for_a_value = std::none_of(word.begin(), word.end(), [](unsigned char c) { return std::islower(c); });
  return stands_for_a_value ? italic(word) : bold(word);
}

std::string value_text(const CLI::Option& option) {
  const auto choices = choices_of(option);
  if (choices.empty()) return value_word(option.get_type_name()) + (takes_list(option) ? " ..." : "");
  std::vector<std::string> words;
  for (const std::string& choice : choices) words.push_back(value_word(choice));
  return joined(words, "|") + (takes_list(option) ? " ..." : "");
}

std::string names_of(const CLI::Option& option) {
  std::vector<std::string> names;
  for (const std::string& name : option.get_snames()) names.push_back(bold("-" + name));
  for (const std::string& name : option.get_lnames()) names.push_back(bold("--" + name));
  return joined(names, ", ") + (takes_value(option) ? " " + value_text(option) : "");
}

std::string argument_of(const CLI::Option& option) { return italic(option.get_name(true)); }

// Whether a line of a description says what one of the option's choices means.
bool explains_choice(const std::string& line, const std::vector<std::string>& choices) {
  return std::find(choices.begin(), choices.end(), line.substr(0, std::min(line.size(), line.find(": ")))) != choices.end();
}

// A description. Its lines are joined, unless one begins a choice or a new sentence.
std::string description_of(const CLI::Option& option) {
  std::string out, paragraph;
  std::istringstream lines(option.get_description());
  for (std::string line; std::getline(lines, line);) {
    if (!paragraph.empty() && (paragraph.back() == '.' || explains_choice(line, choices_of(option)))) {
      out += prose(paragraph) + ".br\n";
      paragraph.clear();
    }
    paragraph += (paragraph.empty() ? "" : " ") + line;
  }
  if (!paragraph.empty() && paragraph.back() != '.') paragraph += '.';
  if (!option.get_default_str().empty()) paragraph += " Default: " + option.get_default_str() + ".";
  if (!option.get_envname().empty()) paragraph += " Environment: " + option.get_envname() + ".";
  return out + prose(paragraph);
}

std::string options_text(const CLI::App& app, const CLI::Option* without = nullptr) {
  std::string out;
  for (const CLI::Option* option : app.get_options()) {
    if (option != without && is_shown(*option) && !(option->get_snames().empty() && option->get_lnames().empty()))
      out += ".TP\n" + names_of(*option) + "\n" + description_of(*option);
  }
  return out;
}

std::vector<const CLI::Option*> arguments_of(const CLI::App& app) {
  return app.get_options([](const CLI::Option* option) { return is_shown(*option) && option->get_positional(); });
}

std::string arguments_text(const CLI::App& app) {
  std::string out;
  for (const CLI::Option* option : arguments_of(app))
    out +=
        ".TP\n" + argument_of(*option) + (choices_of(*option).empty() ? "" : ": " + value_text(*option)) + "\n" + description_of(*option);
  return out;
}

// ---- pages ----
std::string synopsis(const CLI::App& app) {
  std::vector<std::string> words{bold(full_name(app)), "[" + italic("OPTION") + "]..."};
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_required() && !option->get_positional()) words.push_back(names_of(*option));
  }
  if (!commands_of(app).empty()) words.push_back(italic("COMMAND") + " ...");
  for (const CLI::Option* option : arguments_of(app)) {
    const std::string argument = argument_of(*option) + (takes_list(*option) ? "..." : "");
    words.push_back(option->get_required() ? argument : "[" + argument + "]");
  }
  return filled(words);
}

std::string reference(const CLI::App& app) { return bold(full_name(app, "-")) + "(1)"; }

std::string commands_text(const CLI::App& app) {
  std::string out;
  for (const CLI::App* command : commands_of(app)) out += ".TP\n" + reference(*command) + "\n" + prose(command->get_description() + ".");
  return out;
}

std::string see_also(const CLI::App& app) {
  std::vector<std::string> pages;
  for (const CLI::App* parent = app.get_parent(); parent != nullptr; parent = parent->get_parent())
    pages.insert(pages.begin(), reference(*parent));
  std::string text;
  for (const std::string& page : pages) text += (text.empty() ? "" : ",\n") + page;
  return text.empty() ? "" : text + "\n";
}

// What stands under a command's help beside the global options: notes, and examples behind "Example:".
struct Footer {
  std::string notes, example;
};

Footer footer_of(const CLI::App& app) {
  constexpr const char* mark = "Example:\n";
  std::string text = app.get_footer();
  if (text.starts_with(global_options_text)) text.erase(0, std::string(global_options_text).size());
  Footer footer;
  const size_t at = text.find(mark);
  footer.notes = text.substr(0, at);
  if (at == std::string::npos) return footer;
  std::istringstream lines(text.substr(at + std::string(mark).size()));
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("  ")) footer.example += line.substr(2) + "\n";
    else footer.notes += " " + line;
  }
  return footer;
}

std::string name_text(const CLI::App& app) {
  std::string summary = app.get_description();
  if (summary.size() > 1 && !std::isupper(static_cast<unsigned char>(summary[1])))
    summary[0] = static_cast<char>(std::tolower(static_cast<unsigned char>(summary[0])));
  return filled({verbatim(full_name(app, "-")), "\\-", verbatim(summary)});
}

std::string page(const CLI::App& app) {
  const CLI::App& program = program_of(app);
  const bool is_program = &app == &program;
  const Footer footer = footer_of(app);
  std::string title = full_name(app, "-");
  std::transform(title.begin(), title.end(), title.begin(), [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return ".TH " + verbatim(title) + " 1 \"" M2BERT_DATE "\" \"m2bert " M2BERT_VERSION "\" \"User Commands\"\n" +
         section("NAME", is_program ? filled({"m2bert", "\\-", "Monarch", "Mixer", "BERT"}) : name_text(app)) +
         section("SYNOPSIS", synopsis(app)) +
         section("DESCRIPTION", is_program ? prose(program_text) + ".PP\n" + prose(model_text) : prose(app.get_description() + ".")) +
         (footer.notes.find_first_not_of(" \n") == std::string::npos ? "" : ".PP\n" + prose(footer.notes)) +
         section("COMMANDS", commands_text(app)) + section("ARGUMENTS", arguments_text(app)) + section("OPTIONS", options_text(app)) +
         section("GLOBAL OPTIONS", is_program ? "" : options_text(program, program.get_help_ptr())) +
         section("EXIT STATUS", exit_status_text) + section("EXAMPLES", footer.example.empty() ? "" : example(footer.example)) +
         section("SEE ALSO", see_also(app));
}

const CLI::App& command_named(const CLI::App& program, const std::vector<std::string>& words) {
  const CLI::App* app = &program;
  for (const std::string& word : words) {
    const auto commands = commands_of(*app);
    const auto found = std::find_if(commands.begin(), commands.end(), [&](const CLI::App* one) { return one->get_name() == word; });
    if (found == commands.end()) throw UsageError(unknown_word("command", word, command_names(*app)));
    app = *found;
  }
  return *app;
}

void write_pages(const CLI::App& app, const std::filesystem::path& folder) {
  io::write_file(folder / (full_name(app, "-") + ".1"), page(app));
  for (const CLI::App* command : commands_of(app)) write_pages(*command, folder);
}

void write_all_pages(const CLI::App& program, const std::filesystem::path& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  require(!error, "cannot create the folder ", folder.string(), ": ", error.message());
  write_pages(program, folder);
}

}  // namespace

Run man_command(CLI::App& app, const Globals&) {
  const auto words = std::make_shared<std::vector<std::string>>();
  const auto folder = std::make_shared<std::string>();
  CLI::Option* command =
      app.add_option("command", *words, "The command, with its subcommand if it has one (default: m2bert itself)")->type_name("COMMAND");
  app.add_option("--all", *folder, "Write the pages of all commands into this folder")->type_name("DIR")->excludes(command);
  return [words, folder, &app] {
    const CLI::App& program = program_of(app);
    if (folder->empty()) std::cout << page(command_named(program, *words));
    else write_all_pages(program, *folder);
  };
}

}  // namespace m2bert::cli
