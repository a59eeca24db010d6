#include "m2bert/io/yaml_writer.h"

#include <algorithm>

#include "m2bert/io/json.h"
#include "m2bert/io/yaml_scalar.h"

namespace m2bert::io {

namespace {

bool is_plain(const std::string& text) {
  auto letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); };
  auto fits = [&](char c) { return letter(c) || (c >= '0' && c <= '9') || c == '_' || c == '.' || c == '/' || c == '-'; };
  if (text.empty() || !(letter(text[0]) || text[0] == '_' || text[0] == '/')) return false;
  return std::ranges::all_of(text, fits) && resolve_yaml_scalar(text).is_string();
}

// A backslash before ${ keeps it literal; existing backslashes are doubled.
std::string without_interpolations(const std::string& text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text.compare(i, 2, "${") == 0) {
      const size_t before = out.size() - std::min(out.size(), out.find_last_not_of('\\') + 1);
      out.append(before + 1, '\\');
    }
    out += text[i];
  }
  return out;
}

std::string scalar(const Tree& value) {
  if (value.is_missing()) return "???";
  if (!value.is_string()) return to_json(value);
  std::string text = value.string();
  if (is_plain(text)) return text;
  return to_json(Tree(without_interpolations(text)));
}

void write(std::string& out, const Tree& value, const std::string& indent);

// What follows "key:" or "-": a value on the same line, or a block below it.
void write_member(std::string& out, const Tree& value, const std::string& indent) {
  if (value.size() > 0) {
    out += "\n";
    write(out, value, indent + "  ");
  } else {
    out += " " + (value.is_map() ? "{}" : value.is_list() ? "[]" : scalar(value)) + "\n";
  }
}

void write(std::string& out, const Tree& value, const std::string& indent) {
  if (value.is_map()) {
    for (const auto& member : value.members()) {
      out += indent + scalar(Tree(member.key)) + ":";
      write_member(out, member.value, indent);
    }
  } else {
    for (const auto& item : value.items()) {
      out += indent + "-";
      write_member(out, item, indent);
    }
  }
}

}  // namespace

std::string to_yaml(const Tree& tree) {
  std::string out;
  if (tree.size() > 0) write(out, tree, "");
  else write_member(out, tree, "");
  return out;
}

}  // namespace m2bert::io
