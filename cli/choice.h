#pragma once
// Options with a fixed set of words or a range, which their help texts show.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <map>
#include <sstream>
#include <string>
#include <type_traits>
#include <vector>

namespace m2bert::cli {

// --name a|b|c. The words are the option's type, which help and completions show.
inline CLI::Option* add_choice(CLI::App& app, const std::string& name, std::string& value, const std::vector<std::string>& words,
                               const std::string& what) {
  std::string type;
  for (const std::string& word : words) type += (type.empty() ? "" : "|") + word;
  const auto problem = [words, type](const std::string& text) {
    return std::find(words.begin(), words.end(), text) != words.end() ? "" : "wants " + type + ", got '" + text + "'";
  };
  return app.add_option(name, value, what)->type_name(type)->check(problem);
}

// --dtype: names of dtypes, or the recipes' short names.
inline CLI::Option* add_dtype(CLI::App& app, std::string& value, const std::string& what) {
  const std::map<std::string, std::string> short_names{{"fp32", "float32"}, {"bf16", "bfloat16"}, {"fp16", "float16"}};
  return add_choice(app, "--dtype", value, {"float32", "bfloat16", "float16", "int8"}, what)
      ->transform(CLI::Transformer(short_names).description(""));
}

// --name N with low <= N <= high; no NaN.
template <class Number>
CLI::Option* add_number(CLI::App& app, const std::string& name, Number& value, Number low, Number high, const std::string& what) {
  const auto problem = [low, high](const std::string& text) -> std::string {
    Number number{};
    if (CLI::detail::lexical_cast(text, number) && number >= low && number <= high) return "";
    std::ostringstream message;
    message << "wants a " << (std::is_integral_v<Number> ? "whole number" : "number") << " from " << low << " to " << high << ", got '"
            << text << "'";
    return message.str();
  };
  return app.add_option(name, value, what)->type_name("N")->check(problem);
}

}  // namespace m2bert::cli
