// m2bert bench forward: what it prints, and how many threads compute.
#include <gtest/gtest.h>

#include <filesystem>
#include <set>

#include "m2bert/io/json.h"
#include "tests/cli/program.h"
#include "tests/support/scratch.h"
#include "tests/support/tiny_models.h"

namespace m2bert::test {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> bench(const std::string& model, std::vector<std::string> more) {
  more.insert(more.begin(), {"bench", "forward", "--model", model, "--device", "cpu"});
  return more;
}

io::Tree bench_json(const std::string& model, std::vector<std::string> more) {
  more.emplace_back("--json");
  const Outcome outcome = run(bench(model, more));
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  const auto lines = json_lines(outcome.out);
  EXPECT_EQ(lines.size(), 1u) << outcome.out;
  return lines.empty() ? io::Tree::map() : lines.front();
}

// 64 channels, so that the kernels of inference support the model.
models::Config wide(models::Config config) {
  config.hidden_size = 64;
  config.intermediate_size = 128;
  return config;
}

std::string wide_folder(const Scratch& scratch, const models::Config& config) {
  return write_folder((scratch / "wide").string(), wide(config), models::Head::embedding);
}

TEST(Bench, TellsWhatItRanAndHowFast) {
  const io::Tree out = bench_json(tiny_models().m2, {"--batch-size", "3", "--length", "20", "--runs", "4", "--threads", "1"});
  EXPECT_EQ(out.at("what").string(), "forward");
  EXPECT_EQ(out.at("batch_size").as<int>(), 3);
  EXPECT_EQ(out.at("length").as<int>(), 20);
  EXPECT_EQ(out.at("dtype").string(), "float32");
  EXPECT_EQ(out.at("threads").as<int>(), 1);
  const double best = out.at("best_seconds").number();
  EXPECT_GT(best, 0);
  EXPECT_LE(best, out.at("median_seconds").number());
  EXPECT_NEAR(out.at("tokens_per_second").number() * best, 60, 1e-6 * 60);
  EXPECT_FALSE(out.contains("stages"));
  const io::Tree padded = bench_json(tiny_models().m2, {"--length", "20", "--tokens", "5", "--pooling", "cls", "--batch-size", "3"});
  EXPECT_EQ(padded.at("tokens").as<int>(), 5);
  EXPECT_NEAR(padded.at("tokens_per_second").number() * padded.at("best_seconds").number(), 15, 1e-6 * 15);
  EXPECT_EQ(run(bench(tiny_models().m2, {"--length", "20", "--tokens", "21"})).code, 1);
  EXPECT_EQ(run(bench(tiny_models().m2, {"--pooling", "middle"})).code, 1);
  const Outcome text = run(bench(tiny_models().m2, {"--batch-size", "3", "--runs", "1"}));
  EXPECT_EQ(text.code, 0) << text.err;
  EXPECT_TRUE(has(text.out, "3 x 32 tokens, float32"));  // the model's maximum
  EXPECT_TRUE(has(text.out, "tokens/s"));
  EXPECT_FALSE(has(text.out, "GFLOP/s"));
}

#ifdef __linux__
TEST(Bench, SaysThatMemoryDoesNotSuffice) {
  const Scratch scratch;
  HowToRun how;
  how.most_memory = uint64_t(800) << 20;
  how.environment = {{"OMP_NUM_THREADS", "1"}};  // each thread has memory of its own, too
  // 512 MiB for the states of one layer.
  const Outcome outcome =
      run(bench(wide_folder(scratch, tiny_m2_config()), {"--batch-size", "65536", "--length", "32", "--runs", "1"}), how);
  EXPECT_EQ(outcome.code, 1);
  EXPECT_TRUE(has(outcome.err, "not enough memory")) << outcome.err;
}
#endif

TEST(Bench, ProfileNamesTheStages) {
  const Scratch scratch;
  const std::string model = wide_folder(scratch, tiny_m2_config());
  const io::Tree out = bench_json(model, {"--batch-size", "4", "--runs", "1", "--profile"});
  const double products = 2.0 * 4 * 32 * 2 / 4;  // 2 operations for each of 128 tokens in 2 layers, a quarter of the matrix each
  std::set<std::string> names;
  for (const io::Tree& stage : out.at("stages").items()) {
    const std::string name = stage.at("stage").string();
    EXPECT_TRUE(names.insert(name).second) << name;
    EXPECT_GE(stage.at("seconds").number(), 0) << name;
    if (name == "mlp.up") {
      EXPECT_EQ(stage.at("flops").number(), products * 64 * 256) << "twice the width: values and gates";
    }
    if (name == "mlp.down") {
      EXPECT_EQ(stage.at("flops").number(), products * 128 * 64);
    }
  }
  for (const char* name : {"mlp.up", "mlp.down", "mixing", "other operations, waiting"}) EXPECT_TRUE(names.contains(name)) << name;
  const Outcome text = run(bench(model, {"--runs", "1", "--profile"}));
  for (const char* part : {"share", "GFLOP/s", "GB/s", "calls", "mlp.up"}) EXPECT_TRUE(has(text.out, part));
}

TEST(Bench, TakesAFolderOfACheckpointWithItsRecipe) {
  const Scratch scratch;
  const std::string folder = wide_folder(scratch, tiny_m2_config());
  std::filesystem::rename(folder + "/config.json", folder + "/config.yaml");  // JSON is YAML
  for (const char* name : {"/vocab.txt", "/tokenizer.json"}) std::filesystem::remove(folder + name);
  EXPECT_EQ(bench_json(folder, {"--batch-size", "2", "--runs", "1"}).at("batch_size").integer(), 2);
  std::filesystem::remove(folder + "/config.yaml");
  const Outcome none = run(bench(folder, {"--runs", "1"}));
  EXPECT_EQ(none.code, 1);
  EXPECT_TRUE(has(none.err, "neither config.json nor config.yaml"));
}

TEST(Bench, TakesEveryDtype) {
  for (const auto& model : {tiny_models().m2, tiny_models().attention})
    for (const char* dtype : {"float32", "bfloat16", "float16", "int8"})
      EXPECT_EQ(bench_json(model, {"--batch-size", "2", "--runs", "1", "--dtype", dtype}).at("dtype").string(), dtype);
}

TEST(Bench, ARecipeAloneGetsRandomWeights) {
  const std::string recipe = tiny_models().checkpoint + "/recipe.yaml";
  const Outcome outcome = run({"bench", "forward", "--config", recipe, "--batch-size", "2", "--runs", "1", "--json"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_TRUE(has(outcome.err, "random weights"));
  EXPECT_EQ(json_lines(outcome.out).size(), 1u);
  EXPECT_EQ(run({"bench", "forward", "--config", recipe, "--batch-size", "2", "--runs", "1", "--quiet"}).err, "");
}

TEST(Bench, WrongInputIsOneClearError) {
  const std::string m2 = tiny_models().m2;
  struct Case {
    std::vector<std::string> arguments;
    const char* message;
  };
  const std::vector<Case> cases = {
      {bench("/nowhere/model", {}), "/nowhere/model"},
      {bench(m2, {"--length", "33"}), "--length 33: this model takes at most 32 tokens"},
      {bench(m2, {"--config", "/nowhere.yaml"}), "/nowhere.yaml"},
      {{"bench", "forward", "--config", "/nowhere.yaml"}, "/nowhere.yaml"},
      {{"bench", "forward", "--config", tiny_models().checkpoint + "/recipe.yaml", "--length", "33"}, "at most 32 tokens"},
  };
  for (const Case& c : cases) {
    const Outcome outcome = run(c.arguments);
    EXPECT_EQ(outcome.code, 1) << outcome.err;
    EXPECT_EQ(outcome.out, "");
    EXPECT_TRUE(has(outcome.err, c.message));
  }
}

#ifdef __linux__
// MLX computes on its own thread. Including it there are --threads threads, and the main one, which waits: oneDNN, OpenBLAS
// and our kernels share one pool.
TEST(Threads, AreAsManyAsAskedFor) {
  const Scratch scratch;
  const std::string folders[] = {wide_folder(scratch, tiny_m2_config()),
                                 write_folder((scratch / "attention").string(), wide(tiny_bert_config()), models::Head::embedding)};
  HowToRun counting;
  counting.count_threads = true;
  for (const std::string& model : folders) {
    for (const char* dtype : {"float32", "bfloat16", "float16", "int8"}) {
      for (const int threads : {1, 2, 3, 5}) {
        const auto arguments =
            bench(model, {"--batch-size", "64", "--runs", "2", "--dtype", dtype, "--threads", std::to_string(threads), "--quiet"});
        const Outcome outcome = run(arguments, counting);
        EXPECT_EQ(outcome.code, 0) << outcome.err;
        EXPECT_EQ(outcome.peak_threads, size_t(threads) + 1) << model << " " << dtype;
      }
    }
  }
}
#endif

}  // namespace
}  // namespace m2bert::test
