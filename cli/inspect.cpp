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
#include "m2bert/io/utf8.h"

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

io::Tree groups_tree(const std::vector<checkpoint::TensorGroup>& groups) {
  io::Tree list = io::Tree::list();
  for (const auto& g : groups) list.push_back({{"name", g.name}, {"tensors", g.tensors}, {"values", g.values}, {"bytes", g.bytes}});
  return list;
}

io::Tree facts_tree(const std::vector<std::pair<std::string, std::string>>& facts) {
  io::Tree map = io::Tree::map();
  for (const auto& [name, value] : facts) map.set(name, value);
  return map;
}

io::Tree inspection_tree(const Inspection& found, bool summary) {
  io::Tree dtypes = io::Tree::map(), metadata = io::Tree::map(), skipped = io::Tree::list();
  for (const auto& [name, count] : found.dtypes) dtypes.set(name, count);
  for (const auto& [key, value] : found.metadata) metadata.set(key, value);
  for (const auto& object : found.skipped) skipped.push_back({{"path", object.path}, {"what", object.what}, {"tensor", object.tensor}});
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
                       {"mask_padding", found.mask_padding},
                       {"file_bytes", found.file_bytes},
                       {"tensor_count", found.tensors.size()},
                       {"weight_tensors", found.weight_tensors},
                       {"weight_values", found.weight_values},
                       {"weight_bytes", found.weight_bytes},
                       {"total_bytes", found.total_bytes},
                       {"modules", groups_tree(found.modules)},
                       {"states", groups_tree(found.states)},
                       {"optimizer", facts_tree(found.optimizer)},
                       {"position", facts_tree(found.position)},
                       {"recipe", facts_tree(found.recipe)},
                       {"dtypes", dtypes},
                       {"metadata", metadata},
                       {"skipped", skipped}};
  if (!summary) document.set("tensors", tensors_tree(found));
  return document;
}

// Names come from the file, and may hold control characters.
std::string shown(const std::string& name) { return io::printable(name, 4 * name.size()); }

void print_tensors(const Inspection& found) {
  size_t name_width = 4, shape_width = 5;
  for (const TensorInfo& tensor : found.tensors) {
    name_width = std::max(name_width, shown(tensor.name).size());
    shape_width = std::max(shape_width, shape_text(tensor).size());
  }
  for (const TensorInfo& tensor : found.tensors) {
    std::string name = shown(tensor.name), shape = shape_text(tensor), dtype = tensor.dtype;
    name.resize(name_width + 2, ' ');
    shape.resize(shape_width + 2, ' ');
    dtype.resize(std::max<size_t>(dtype.size(), 9) + 1, ' ');
    std::cout << name << dtype << shape << tensor.nbytes << "\n";
  }
  std::cout << "\n";
}

void print_groups(const std::vector<checkpoint::TensorGroup>& groups, const std::string& indent) {
  size_t width = 0;
  for (const auto& g : groups) width = std::max(width, shown(g.name).size());
  for (const auto& g : groups) {
    std::string name = shown(g.name);
    name.resize(width + 2, ' ');
    std::cout << indent << name << g.tensors << (g.tensors == 1 ? " tensor, " : " tensors, ") << g.values << " values, "
              << io::show_bytes(g.bytes) << "\n";
  }
}

void print_facts(const std::string& title, const std::vector<std::pair<std::string, std::string>>& facts) {
  if (facts.empty()) return;
  std::cout << "  " << title << ":";
  for (size_t i = 0; i < facts.size(); ++i)
    std::cout << (i ? ", " : " ") << io::printable(facts[i].first) << " " << io::printable(facts[i].second);
  std::cout << "\n";
}

// The state of a run is printed as position and recipe.
void print_metadata(const std::map<std::string, std::string>& metadata) {
  constexpr size_t most = 200;
  for (const auto& [key, value] : metadata) {
    if (key.starts_with("m2bert.")) continue;
    std::cout << "  metadata " << io::printable(key) << ": " << io::printable(value, most) << "\n";
  }
}

void print_skipped(const Inspection& found) {
  size_t others = 0;
  const checkpoint::SkippedObject* first = nullptr;
  for (const auto& object : found.skipped) {
    if (object.tensor) std::cout << "  not readable: " << io::printable(object.path) << " is " << object.what << "\n";
    else if (++others == 1) first = &object;
  }
  if (first)
    std::cout << "  " << others << " other objects skipped, the first: " << first->what << " at "
              << (first->path.empty() ? "the top level" : io::printable(first->path)) << "\n";
}

void print_totals(const Inspection& found) {
  std::cout << found.path << "\n  " << found.format << ", " << io::show_bytes(found.file_bytes) << "\n  " << found.description << "\n  "
            << found.tensors.size() << " tensors, " << io::show_bytes(found.total_bytes);
  for (const auto& [name, count] : found.dtypes) std::cout << ", " << count << " " << name;
  std::cout << "\n  " << found.weight_tensors << " model weights, " << found.weight_values << " values, "
            << io::show_bytes(found.weight_bytes) << "\n";
  if (!found.architecture.empty()) print_groups(found.modules, "    ");
  print_groups(found.states, "  ");
  print_facts("optimizer", found.optimizer);
  print_facts("position", found.position);
  print_facts("recipe", found.recipe);
  print_metadata(found.metadata);
  print_skipped(found);
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
