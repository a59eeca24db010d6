#include "m2bert/train/run_state.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <set>

#include "m2bert/allocate.h"
#include "m2bert/checkpoint/run_checkpoints.h"
#include "m2bert/checkpoint/safetensors.h"
#include "m2bert/error.h"
#include "m2bert/io/hash.h"
#include "m2bert/io/json.h"

namespace m2bert::train {

namespace fs = std::filesystem;

std::vector<nn::NamedArray> owned_arrays(models::Model& model) {
  auto arrays = nn::named_arrays(model);
  std::erase_if(arrays, [](const nn::NamedArray& a) { return a.role == nn::Role::alias; });
  return arrays;
}

namespace {

constexpr const char* kHash = "m2bert.hash";
constexpr int64_t kVersion = 1;
constexpr const char* kOtherRecipe = "; it was made with another recipe (load_weights_only=true starts a new run from its weights alone)";

// All arrays of a run under their names in the file. Aliases are the same arrays and are not stored twice.
std::vector<nn::NamedArray> arrays_of(const Trained& trained) {
  auto all = owned_arrays(trained.model);
  for (auto a : trained.optimizer.state()) all.push_back({"optimizer." + a.name, a.array, a.role});
  for (const auto& a : trained.task) all.push_back({"callbacks." + a.name, a.array, a.role});
  if (!trained.average) return all;
  for (auto a : trained.average->state()) all.push_back({std::string(checkpoint::kRunAverage) + "." + a.name, a.array, a.role});
  return all;
}

// mx::copy would share the memory.
mx::array deep_copy(const mx::array& a) {
  mx::array copy(allocate(a.nbytes()), a.shape(), a.dtype());
  std::memcpy(copy.data<char>(), a.data<char>(), a.nbytes());
  return copy;
}

std::string_view bytes_of(const mx::array& a) { return {a.data<char>(), a.nbytes()}; }

std::string hash_of(const std::map<std::string, mx::array>& arrays) {
  io::Hasher hasher;
  for (const auto& [name, a] : arrays) {
    hasher.update(name);
    hasher.update(bytes_of(a));
  }
  return hasher.hash128();
}

io::Tree to_tree(const optim::Timestamp& t) { return {{"batch", t.batch}, {"epoch", t.epoch}, {"sample", t.sample}, {"token", t.token}}; }

constexpr int64_t kMost = int64_t{1} << 53;

optim::Timestamp timestamp_of(const io::Tree& tree) {
  auto get = [&](const char* name) { return tree.at(name).integer(0, kMost); };
  return {get("batch"), get("epoch"), get("sample"), get("token")};
}

io::Tree metadata_of(const checkpoint::TensorFile& file, const fs::path& path) {
  const auto it = file.metadata().find(checkpoint::kRunState);
  require(it != file.metadata().end(), path.string(),
          ": holds weights alone, no state of a run; with load_weights_only: true a new run starts ", "from them");
  io::Tree tree = io::parse_json(it->second, path.string() + ", its state of the run");
  const int64_t version = tree.at("version").integer();
  require(version == kVersion, path.string(), ": its state of the run has version ", version, ", this program reads version ", kVersion);
  return tree;
}

std::map<std::string, mx::array> read_arrays(checkpoint::TensorFile& file) {
  std::map<std::string, mx::array> all;
  for (const auto& tensor : file.tensors()) all.emplace(tensor.name, file.read(tensor));
  return all;
}

void check_arrays(const fs::path& path, const std::vector<nn::NamedArray>& wanted, const std::map<std::string, mx::array>& found) {
  for (const auto& w : wanted) {
    const auto it = found.find(w.name);
    require(it != found.end(), path.string(), ": has no ", w.name, kOtherRecipe);
    require(it->second.shape() == w.array->shape() && it->second.dtype() == w.array->dtype(), path.string(), ": ", w.name, " is ",
            it->second.dtype(), " ", it->second.shape(), ", this run wants ", w.array->dtype(), " ", w.array->shape(), kOtherRecipe);
  }
  require(found.size() == wanted.size(), path.string(), ": has ", found.size(), " arrays, this run has ", wanted.size(), kOtherRecipe);
}

}  // namespace

io::Tree to_tree(const RunState& s, int64_t optimizer_steps) {
  io::Tree best;
  if (s.best) best = {{"value", s.best->value}, {"batch", s.best->batch}, {"evaluations_since", s.best->evaluations_since}};
  return {{"version", kVersion},
          {"time", to_tree(s.time)},
          {"position", {{"epoch", s.position.epoch}, {"samples", s.position.samples}}},
          {"attempts", s.attempts},
          {"optimizer_steps", optimizer_steps},
          {"microbatch_rows", s.microbatch_rows},
          {"log_bytes", s.log_bytes},
          {"seconds", s.seconds},
          {"evaluated", s.evaluated},
          {"evaluation_due", s.evaluation_due},
          {"best", best},
          {"evaluations_without_value", s.evaluations_without_value},
          {"stopped_early", s.stopped_early},
          {"guard", s.guard},
          {"recipe", s.recipe},
          {"data", s.data},
          {"eval_data", s.eval_data}};
}

RunState state_of(const io::Tree& tree) {
  RunState s;
  s.time = timestamp_of(tree.at("time"));
  s.position.epoch = uint64_t(tree.at("position").at("epoch").integer(0, kMost));
  s.position.samples = uint64_t(tree.at("position").at("samples").integer(0, kMost));
  s.attempts = tree.at("attempts").integer(0, kMost);
  s.microbatch_rows = int(tree.at("microbatch_rows").integer(0, 1 << 30));
  s.log_bytes = uint64_t(tree.at("log_bytes").integer(0, kMost));
  s.seconds = tree.at("seconds").number();
  s.evaluated = tree.at("evaluated").boolean();
  s.evaluation_due = tree.at("evaluation_due").boolean();
  if (const io::Tree* best = tree.find("best"); best && !best->is_null())
    s.best = Best{best->at("value").number(), best->at("batch").integer(0, kMost), best->at("evaluations_since").integer(0, kMost)};
  s.evaluations_without_value = tree.get<int64_t>("evaluations_without_value", 0);
  s.stopped_early = tree.get<bool>("stopped_early", false);
  s.guard = tree.at("guard");
  s.recipe = tree.at("recipe");
  s.data = tree.get<std::string>("data", "");            // absent in older checkpoints
  s.eval_data = tree.get<std::string>("eval_data", "");  // the same
  return s;
}

checkpoint::TensorMap separate_tensors(const std::vector<nn::NamedArray>& arrays) {
  nn::Arrays all;
  for (const auto& a : arrays) all.push_back(mx::contiguous(*a.array));
  mx::eval(all);
  checkpoint::TensorMap tensors;
  std::set<const void*> seen;
  for (size_t i = 0; i < arrays.size(); ++i) {
    const bool first = seen.insert(all[i].data<char>()).second;
    tensors.emplace_back(arrays[i].name, first ? all[i] : deep_copy(all[i]));
  }
  return tensors;
}

void save_run(const fs::path& file, const Trained& trained, const RunState& state) {
  const auto tensors = separate_tensors(arrays_of(trained));
  const std::map<std::string, mx::array> sorted(tensors.begin(), tensors.end());
  const auto tree = to_tree(state, trained.optimizer.steps());
  checkpoint::save_safetensors(file, tensors, {{checkpoint::kRunState, io::to_json(tree)}, {kHash, hash_of(sorted)}});
}

RunState load_run(const fs::path& path, const Trained& trained) {
  const auto file = checkpoint::open_safetensors(path);
  const io::Tree tree = metadata_of(*file, path);
  auto found = read_arrays(*file);
  const auto wanted = arrays_of(trained);
  check_arrays(path, wanted, found);
  const auto hash = file->metadata().find(kHash);
  require(hash != file->metadata().end() && hash->second == hash_of(found), path.string(),
          ": the values are not those that were saved (their checksum differs): the file is damaged");
  const RunState state = state_of(tree);
  const int64_t steps = tree.at("optimizer_steps").integer(0, kMost);
  for (const auto& w : wanted) *w.array = found.at(w.name);
  trained.optimizer.set_steps(steps);
  return state;
}

std::optional<RunState> broadcast_run(const std::optional<RunState>& state, const Trained& trained, const Processes& processes) {
  const auto text = processes.broadcast(state ? io::to_json(to_tree(*state, trained.optimizer.steps())) : "");
  std::vector<mx::array*> all;
  for (const auto& a : arrays_of(trained)) all.push_back(a.array);
  processes.broadcast(all);
  if (text.empty()) return std::nullopt;
  const io::Tree tree = io::parse_json(text, "the state of the run");
  trained.optimizer.set_steps(tree.at("optimizer_steps").integer());
  return state_of(tree);
}

bool is_run(const fs::path& path) {
  const auto file = checkpoint::TensorFile::open(path);
  return file->metadata().contains(checkpoint::kRunState);
}

RunState state_of_run(const fs::path& path) {
  const auto file = checkpoint::open_safetensors(path);
  return state_of(metadata_of(*file, path));
}

}  // namespace m2bert::train
