#pragma once
// JSON to and from Tree. Strict: RFC 8259, UTF-8, no duplicate keys, no NaN or infinity, bounded depth.
#include <filesystem>
#include <string>
#include <string_view>

#include "m2bert/io/tree.h"

namespace m2bert::io {

struct JsonLimits {
  int depth = 200;                  // nesting of maps and lists
  size_t values = size_t{1} << 26;  // values in the document
};

// name: what errors call the text. Errors: "name:line:column: what is wrong".
// Integers beyond 64 bits become numbers.
Tree parse_json(std::string_view text, const std::string& name, const JsonLimits& limits = {});
Tree read_json(const std::filesystem::path& file, const JsonLimits& limits = {});

// The value at a path such as "text" or "doc.body.0"; nullptr if there is none. A key that has the dots of the path in it is found before
// nested ones: with "doc.body" the key "doc.body", and only without it the key "body" in "doc".
const Tree* find_json(const Tree& tree, std::string_view path);
// The string at such a path, read without building the rest of the document. For JSONL.
// where: "file:line", put in front of errors (no such field, not a string, bad JSON).
std::string json_string_at(std::string_view text, std::string_view path, const std::string& where, const JsonLimits& limits = {});

// indent < 0: one line. Invalid UTF-8 becomes U+FFFD. Error on NaN and infinity, which JSON cannot represent.
std::string to_json(const Tree& tree, int indent = -1);

// Parts for writers of long JSON lines.
void append_json_string(std::string& out, std::string_view text);  // with quotes
void append_json_number(std::string& out, double value);           // shortest text that reads back to the same value
void append_json_number(std::string& out, float value);

}  // namespace m2bert::io
