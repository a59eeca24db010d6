#include "m2bert/train/run_folder.h"

#include <filesystem>

#include "m2bert/checkpoint/weights.h"
#include "m2bert/io/json.h"
#include "m2bert/models/pretrained.h"
#include "tiny_run.h"

namespace m2bert::train {
namespace {

namespace fs = std::filesystem;
using test::error_of;
using test::has;
using test::Scratch;

// A model with an optimizer whose state is not all zeros.
struct Pair {
  explicit Pair(uint64_t seed)
      : model(models::read_config(trainlog() / "config.yaml"), models::Head::masked_lm),
        optimizer(initialised(seed), optim::make_groups(nn::parameters(model), {1e-3, 1e-5, std::nullopt, false}), {}) {
    nn::Arrays grads;
    for (const auto& p : optimizer.parameters()) grads.push_back(mx::full(p.array->shape(), 0.01f * float(seed)));
    optimizer.step(grads, 1, {}, 1);
  }
  std::vector<nn::NamedArray> initialised(uint64_t seed) {
    model.init(seed);
    return nn::parameters(model);
  }
  Trained trained() { return {model, optimizer}; }
  models::Model model;
  optim::AdamW optimizer;
};

RunState state_at(int64_t batch) {
  RunState s;
  s.time = {batch, 0, 8 * batch, 256 * batch};
  s.position = {0, uint64_t(8 * batch)};
  s.attempts = batch;
  s.microbatch_rows = 4;
  s.log_bytes = 123;
  s.seconds = 1.5;
  s.guard = io::Tree::list({io::Tree(6.5)});
  s.recipe = {{"seed", 17}};
  return s;
}

bool same(Pair& a, Pair& b) {
  const auto x = nn::parameters(a.model), y = nn::parameters(b.model);
  bool equal = a.optimizer.steps() == b.optimizer.steps();
  for (size_t i = 0; i < x.size(); ++i) equal = equal && mx::array_equal(*x[i].array, *y[i].array).item<bool>();
  const auto m = a.optimizer.state(), n = b.optimizer.state();
  for (size_t i = 0; i < m.size(); ++i) equal = equal && mx::array_equal(*m[i].array, *n[i].array).item<bool>();
  return equal;
}

TEST(RunState, ComesBackWhole) {
  const Scratch scratch;
  Pair one(1), two(2);
  save_run(scratch / "a.safetensors", one.trained(), state_at(5));
  EXPECT_FALSE(same(one, two));
  const auto state = load_run(scratch / "a.safetensors", two.trained());
  EXPECT_TRUE(same(one, two));
  EXPECT_EQ(io::to_json(to_tree(state, 1)), io::to_json(to_tree(state_at(5), 1)));
  EXPECT_TRUE(is_run(scratch / "a.safetensors"));
  EXPECT_EQ(state_of_run(scratch / "a.safetensors").recipe.at("seed").integer(), 17);
  size_t owners = 0;
  for (const auto& a : nn::named_arrays(one.model)) owners += a.role != nn::Role::alias;
  EXPECT_EQ(checkpoint::load_weights(scratch / "a.safetensors").size(), owners);  // the model's alone: no optimizer
}

TEST(RunState, RefusesDamageAndOtherModels) {
  const Scratch scratch;
  Pair one(1), two(2);
  save_run(scratch / "a.safetensors", one.trained(), state_at(5));
  const std::string good = bytes_of(scratch / "a.safetensors");
  std::string flipped = good;
  flipped[flipped.size() - 1000] ^= 1;
  scratch.put("flipped.safetensors", flipped);
  EXPECT_PRED2(has, error_of([&] { load_run(scratch / "flipped.safetensors", two.trained()); }), "the file is damaged");
  for (const size_t size : {size_t{0}, size_t{7}, size_t{100}, good.size() / 2, good.size() - 1}) {
    scratch.put("cut.safetensors", good.substr(0, size));
    EXPECT_PRED2(has, error_of([&] { load_run(scratch / "cut.safetensors", two.trained()); }), "cut.safetensors");
  }
  EXPECT_FALSE(same(one, two));
  auto config = one.model.config();
  config.num_hidden_layers = 1;
  models::Model small(config, models::Head::masked_lm);
  optim::AdamW optimizer(nn::parameters(small), optim::make_groups(nn::parameters(small), {}), {});
  EXPECT_PRED2(has, error_of([&] { load_run(scratch / "a.safetensors", {small, optimizer}); }), "it was made with another recipe");
  const auto weights_only = fs::path(trainlog() / "params_after_1.safetensors");
  EXPECT_PRED2(has, error_of([&] { load_run(weights_only, two.trained()); }), "load_weights_only: true");
}

TEST(RunFolder, KeepsTheNewestAndPointsToIt) {
  const Scratch scratch;
  Pair one(1);
  RunFolder folder(scratch / "run", 2);
  for (const int64_t batch : {2, 9, 10, 100}) folder.save(one.trained(), state_at(batch));
  const auto files = folder.checkpoints();
  ASSERT_EQ(files.size(), 2U);
  EXPECT_EQ(files[0].filename(), "ep0-ba100.safetensors");
  EXPECT_EQ(files[1].filename(), "ep0-ba10.safetensors");
  EXPECT_EQ(fs::read_symlink(scratch / "run/latest.safetensors"), "ep0-ba100.safetensors");
}

TEST(RunFolder, GoesBackToTheLastThatIsWhole) {
  const Scratch scratch;
  Pair one(1), two(2);
  RunFolder folder(scratch / "run", -1);
  EXPECT_FALSE(folder.load_latest(two.trained()).has_value());
  folder.save(one.trained(), state_at(5));
  folder.save(one.trained(), state_at(6));
  fs::resize_file(scratch / "run/ep0-ba6.safetensors", 5000);
  const auto state = folder.load_latest(two.trained());
  ASSERT_TRUE(state.has_value());
  EXPECT_EQ(state->time.batch, 5);
  fs::resize_file(scratch / "run/ep0-ba5.safetensors", 5000);
  EXPECT_PRED2(has, error_of([&] { folder.load_latest(two.trained()); }), "none of its checkpoints can be read");
}

TEST(RunFolder, TheBestWeightsAreOfOneEvaluation) {
  const Scratch scratch;
  Pair one(1), two(2);
  const RunFolder folder(scratch / "run", -1);
  folder.save_best(one.model, {.value = 0.1, .batch = 20});
  folder.load_best(two.model, {.value = 0.1, .batch = 20, .evaluations_since = 3});
  EXPECT_PRED2(has, error_of([&] { folder.load_best(two.model, {.value = 0.2, .batch = 10}); }),
               "holds the weights of the evaluation after batch 20, and this run's best one is that after batch 10");
}

TEST(RunFolder, IsOneRunsAlone) {
  const Scratch scratch;
  RunFolder first(scratch / "run", -1);
  EXPECT_PRED2(has, error_of([&] { RunFolder(scratch / "run", -1); }), "another run is writing into this folder");
}

TEST(RunFolder, RemovesWhatAKilledRunLeft) {
  const Scratch scratch;
  fs::create_directories(scratch / "run");
  scratch.put("run/ep0-ba5.safetensors.part-12-0", "half");
  const RunFolder folder(scratch / "run", -1);
  EXPECT_FALSE(fs::exists(scratch / "run/ep0-ba5.safetensors.part-12-0"));
}

TEST(RunFolder, OldCheckpointsGoWhenANewOneIsThere) {
  const Scratch scratch;
  Pair one(1);
  {
    RunFolder folder(scratch / "run", -1);
    folder.save(one.trained(), state_at(50));
  }
  RunFolder folder(scratch / "run", -1);
  folder.replace_old();
  EXPECT_EQ(folder.checkpoints().size(), 1U);
  folder.save(one.trained(), state_at(1));
  EXPECT_EQ(folder.checkpoints().size(), 1U);
  EXPECT_EQ(folder.checkpoints()[0].filename(), "ep0-ba1.safetensors");
}

}  // namespace
}  // namespace m2bert::train
