// Checkpoints as dicts of arrays, and configurations.
#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "m2bert/checkpoint/folder.h"
#include "m2bert/checkpoint/run_checkpoints.h"
#include "m2bert/checkpoint/safetensors.h"
#include "m2bert/checkpoint/tensor_file.h"
#include "m2bert/checkpoint/torch_file.h"
#include "m2bert/checkpoint/weights.h"
#include "m2bert/error.h"
#include "m2bert/io/json.h"
#include "m2bert/models/config.h"
#include "m2bert/models/pretrained.h"
#include "m2bert/mx.h"
#include "python/bindings/bind.h"
#include "python/bindings/runtime.h"

namespace m2bert::python {
namespace {

namespace fs = std::filesystem;
using checkpoint::TensorMap;

// Every tensor of a file under its name there.
TensorMap stored_tensors(const std::string& path) {
  require(!fs::is_directory(path), path, ": is a folder; stored names are those of one file");
  const auto file = checkpoint::TensorFile::open(path);
  TensorMap tensors;
  for (const auto& tensor : file->tensors()) tensors.emplace_back(tensor.name, file->read(tensor));
  return tensors;
}

TensorMap load_checkpoint(const std::string& path, const std::string& copy, bool stored_names) {
  return computed(mx::Device(mx::Device::cpu), [&](const Stop&) {
    auto tensors = stored_names ? stored_tensors(path) : checkpoint::load_weights(path, copy);
    std::vector<mx::array> arrays;
    for (const auto& [name, array] : tensors) arrays.push_back(array);
    mx::eval(arrays);
    return tensors;
  });
}

void save_checkpoint(const std::string& path, const TensorMap& tensors, const std::map<std::string, std::string>& metadata) {
  const auto ending = fs::path(path).extension();
  const bool torch = ending == ".pt" || ending == ".pth" || ending == ".bin";
  require(torch || ending == ".safetensors", path, ": the name of a checkpoint ends in .safetensors, .pt, .pth or .bin");
  require(!torch || metadata.empty(), path, ": metadata is for .safetensors");
  compute(mx::Device(mx::Device::cpu), [&](const Stop&) {
    if (torch) checkpoint::save_composer_pt(path, tensors);
    else checkpoint::save_safetensors(path, tensors, metadata);
  });
}

// What describes the model of a file or folder.
fs::path config_of(const fs::path& path) {
  const auto ending = path.extension();
  if (ending == ".json" || ending == ".yaml" || ending == ".yml") return path;
  const auto found = fs::is_directory(path) ? models::find_config(checkpoint::read_folder(path)) : models::find_config_beside(path);
  require(found.has_value(), path.string(), ": there is no config.json and no recipe");
  return *found;
}

// The fields as JSON.
std::string read_config(const std::string& path, const std::vector<std::string>& overrides) {
  const nb::gil_scoped_release released;
  return io::to_json(models::read_config(config_of(path), overrides).to_tree());
}

}  // namespace

void bind_checkpoint(nb::module_& m) {
  m.def("load_checkpoint", &load_checkpoint, "path"_a, "copy"_a, "stored_names"_a);
  m.def("save_checkpoint", &save_checkpoint, "path"_a, "tensors"_a, "metadata"_a);
  m.def("read_config", &read_config, "path"_a, "overrides"_a);
}

}  // namespace m2bert::python
