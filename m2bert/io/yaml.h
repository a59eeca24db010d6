#pragma once
// YAML as OmegaConf reads it: YAML 1.1 booleans, 1e-3 is a number, ${a.b}, ${oc.env:NAME,default} and ${oc.select:key,default} are
// resolved.
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "m2bert/io/tree.h"

namespace m2bert::io {

struct YamlLimits {
  size_t bytes = size_t{8} << 20;
  size_t values = size_t{1} << 20;  // after anchors and interpolations are expanded
  int depth = 100;
};

// overrides: "key.path=value" in OmegaConf's dot notation, the value as YAML; applied before interpolations are resolved.
// Keys that are absent are added. An empty document is an empty map.
// An interpolation without a target is Kind::missing: an error, with file and line, when it is read, as in OmegaConf.
// Errors (file:line): bad YAML, duplicate keys, cyclic interpolations, not UTF-8, limits.
Tree read_yaml(const std::filesystem::path& file, const std::vector<std::string>& overrides = {}, const YamlLimits& limits = {});
Tree parse_yaml(std::string_view text, const std::string& name, const std::vector<std::string>& overrides = {},
                const YamlLimits& limits = {});

}  // namespace m2bert::io
