#pragma once
// Runs of the model of tests/golden/trainlog, 2 layers of 64 channels, on its ready batches.
#include <gtest/gtest.h>

#include <fstream>

#include "m2bert/io/json.h"
#include "m2bert/tasks/masked_lm.h"
#include "m2bert/train/run.h"
#include "tests/models/golden.h"
#include "tests/support/scratch.h"

namespace m2bert::train {

inline golden::fs::path trainlog() { return golden::source_dir() / "tests/golden/trainlog"; }

// How far a parameter may be from upstream's, from its entry in tolerances.json: the noise of float32, and its largest value. GPUs have
// been seen at 10.6 times the noise: they add up everything in another order.
inline double allowed_difference(const io::Tree& entry) {
  const double factor = mx::default_device() == mx::Device::gpu ? 12 : 8;
  return factor * entry.items()[0].number() + 2e-6 * entry.items()[1].number();
}

// Parameters after this many steps equal upstream's within the tolerances in the fixture's README.md. Most steps have no stored parameters.
template <class Find>
void expect_upstream_parameters(int steps, const Find& parameter) {
  const std::string number = std::to_string(steps);
  const auto file = trainlog() / ("params_after_" + number + ".safetensors");
  if (!golden::fs::exists(file)) return;
  SCOPED_TRACE("after step " + number);
  static const auto tolerances = io::read_json(trainlog() / "tolerances.json");
  const io::Tree& noise = tolerances.at("params_after").at(number);
  for (const auto& [name, expected] : golden::load_tensors(file)) {
    EXPECT_LE(mx::max(mx::abs(parameter(name) - expected)).template item<float>(), allowed_difference(noise.at(name))) << name;
  }
}

// The fixture's recipe, completed for a run: data, initial weights, folder.
inline std::string trainlog_recipe(const golden::fs::path& folder, const std::string& loader = "") {
  std::ifstream in(trainlog() / "config.yaml");
  std::string text((std::istreambuf_iterator<char>(in)), {});
  const std::string batches = "{name: batches, file: " + (trainlog() / "inputs.safetensors").string() + "}";
  text += "train_loader: " + (loader.empty() ? batches : loader) + "\n";
  text += "load_path: " + (trainlog() / "checkpoint.pt").string() + "\n";
  text += "save_folder: " + (folder / "run").string() + "\nprogress_bar: false\n";
  return text;
}

// Writes the recipe into the scratch folder and runs it.
inline RunResult run_trainlog(const test::Scratch& scratch, const std::vector<std::string>& overrides = {},
                              const std::string& loader = "") {
  scratch.put("recipe.yaml", trainlog_recipe(scratch / "", loader));
  const auto recipe = read_recipe(scratch / "recipe.yaml", overrides);
  return run(recipe, tasks::MaskedLM(recipe.model), Processes());
}

inline std::string bytes_of(const golden::fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  EXPECT_TRUE(in.good()) << file;
  return {std::istreambuf_iterator<char>(in), {}};
}

}  // namespace m2bert::train
