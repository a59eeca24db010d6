#pragma once
// Options with a fixed set of words or a range, which their help texts show.
#include <CLI/CLI.hpp>
#include <map>
#include <string>
#include <vector>

namespace m2bert::cli {

// --name a|b|c. The words are the option's type, which help and completions show.
inline CLI::Option* add_choice(CLI::App& app, const std::string& name, std::string& value, const std::vector<std::string>& words,
                               const std::string& what) {
  std::string type;
  for (const std::string& word : words) type += (type.empty() ? "" : "|") + word;
  return app.add_option(name, value, what)->type_name(type)->check(CLI::IsMember(words).description(""));
}

// --dtype: names of dtypes, or the recipes' short names.
inline CLI::Option* add_dtype(CLI::App& app, std::string& value, const std::string& what) {
  const std::map<std::string, std::string> short_names{{"fp32", "float32"}, {"bf16", "bfloat16"}, {"fp16", "float16"}};
  return add_choice(app, "--dtype", value, {"float32", "bfloat16", "float16", "int8"}, what)
      ->transform(CLI::Transformer(short_names).description(""));
}

// --name N with low <= N <= high.
template <class Number>
CLI::Option* add_number(CLI::App& app, const std::string& name, Number& value, Number low, Number high, const std::string& what) {
  return app.add_option(name, value, what)->type_name("N")->check(CLI::Range(low, high).description(""));
}

}  // namespace m2bert::cli
