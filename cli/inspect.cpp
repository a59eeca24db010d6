// m2bert inspect: shows the contents of a checkpoint or model folder, from its headers only.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <iostream>
#include <memory>

#include "cli/command.h"
#include "cli/model_option.h"
#include "m2bert/checkpoint/inspect.h"
#include "m2bert/io/json.h"
#include "m2bert/io/progress.h"

namespace m2bert::cli {
namespace {

using checkpoint::Inspection;
using checkpoint::TensorInfo;

struct InspectOptions {
  std::string file;
  bool summary = false;
};

io::Tree shape_tree(const TensorInfo& tensor) { return io::Tree::list({tensor.shape.begin(), tensor.shape.end()}); }

std::string shape_text(const TensorInfo& tensor) {
  std::string text;
  for (const int64_t n : tensor.shape) text += (text.empty() ? "" : ", ") + std::to_string(n);
  return "[" + text + "]";
}

io::Tree tensors_tree(const Inspection& found) {
  io::Tree tensors = io::Tree::list();
  for (size_t i = 0; i < found.tensors.size(); ++i) {
    const TensorInfo& tensor = found.tensors[i];
    io::Tree row = {{"name", tensor.name},
                    {"dtype", tensor.dtype},
                    {"shape", shape_tree(tensor)},
                    {"bytes", tensor.nbytes},
                    {"storage", tensor.storage}};
    if (i < found.weight_names.size() && !found.weight_names[i].empty()) row.set("weight", found.weight_names[i]);
    tensors.push_back(std::move(row));
  }
  return tensors;
}

io::Tree inspection_tree(const Inspection& found, bool summary) {
  io::Tree dtypes = io::Tree::map(), metadata = io::Tree::map(), skipped = io::Tree::list();
  for (const auto& [name, count] : found.dtypes) dtypes.set(name, count);
  for (const auto& [key, value] : found.metadata) metadata.set(key, value);
  for (const auto& object : found.skipped) skipped.push_back({{"path", object.path}, {"what", object.what}});
  io::Tree document = {{"path", found.path},
                       {"format", found.format},
                       {"description", found.description},
                       {"architecture", found.architecture},
                       {"head", found.head},
                       {"layers", found.layers},
                       {"hidden", found.hidden},
                       {"length", found.length},
                       {"vocabulary", found.vocabulary},
                       {"labels", found.labels},
                       {"optimizer_state", found.optimizer_state},
                       {"file_bytes", found.file_bytes},
                       {"tensor_count", found.tensors.size()},
                       {"weight_tensors", found.weight_tensors},
                       {"weight_values", found.weight_values},
                       {"weight_bytes", found.weight_bytes},
                       {"total_bytes", found.total_bytes},
                       {"dtypes", dtypes},
                       {"metadata", metadata},
                       {"skipped", skipped}};
  if (!summary) document.set("tensors", tensors_tree(found));
  return document;
}

void print_tensors(const Inspection& found) {
  size_t name_width = 4, shape_width = 5;
  for (const TensorInfo& tensor : found.tensors) {
    name_width = std::max(name_width, tensor.name.size());
    shape_width = std::max(shape_width, shape_text(tensor).size());
  }
  for (const TensorInfo& tensor : found.tensors) {
    std::string name = tensor.name, shape = shape_text(tensor), dtype = tensor.dtype;
    name.resize(name_width + 2, ' ');
    shape.resize(shape_width + 2, ' ');
    dtype.resize(std::max<size_t>(dtype.size(), 9) + 1, ' ');
    std::cout << name << dtype << shape << tensor.nbytes << "\n";
  }
  std::cout << "\n";
}

void print_totals(const Inspection& found) {
  std::cout << found.path << "\n  " << found.format << ", " << io::show_bytes(found.file_bytes) << "\n  " << found.description << "\n  "
            << found.tensors.size() << " tensors, " << io::show_bytes(found.total_bytes);
  for (const auto& [name, count] : found.dtypes) std::cout << ", " << count << " " << name;
  std::cout << "\n  " << found.weight_tensors << " model weights, " << found.weight_values << " values, "
            << io::show_bytes(found.weight_bytes) << "\n";
  for (const auto& [key, value] : found.metadata) std::cout << "  metadata " << key << ": " << value << "\n";
  if (!found.skipped.empty())
    std::cout << "  " << found.skipped.size() << " other objects skipped, the first: " << found.skipped.front().what << " at "
              << found.skipped.front().path << "\n";
}

}  // namespace

Run inspect_command(CLI::App& app, const Globals& globals) {
  const auto options = std::make_shared<InspectOptions>();
  app.add_option("file", options->file, "Checkpoint (.pt, .pth, .bin, .safetensors), model folder, or ORG/NAME[@REVISION] on the hub")
      ->required()
      ->type_name("MODEL");
  app.add_flag("--summary", options->summary, "Leave out the list of tensors");
  return [options, &globals] {
    const Inspection found = checkpoint::inspect(find_model(options->file));
    if (globals.json) {
      std::cout << io::to_json(inspection_tree(found, options->summary)) << "\n";
      return;
    }
    if (!options->summary) print_tensors(found);
    print_totals(found);
  };
}

}  // namespace m2bert::cli
