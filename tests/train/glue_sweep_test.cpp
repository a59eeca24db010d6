#include "m2bert/train/glue_sweep.h"

#include <gtest/gtest.h>

#include <cmath>

#include "m2bert/io/file.h"
#include "m2bert/io/json.h"
#include "m2bert/io/yaml_writer.h"
#include "m2bert/train/recipe.h"
#include "tests/support/paths.h"
#include "tests/support/scratch.h"

namespace m2bert::train {
namespace {

using test::error_of;
using test::has;
using test::Scratch;

const char* kRecipe =
    "base_run_name: small\n"
    "default_seed: 7\n"
    "precision: amp_bf16\n"
    "model: {name: bert, tokenizer_name: bert-base-uncased, model_config: {hidden_size: 64, num_hidden_layers: 1, num_attention_heads: "
    "2}}\n"
    "starting_checkpoint_load_path: start.pt\n"
    "save_finetune_checkpoint_folder: out\n"
    "scheduler: {name: linear_decay_with_warmup, t_warmup: 0.06dur, alpha_f: 0.0}\n"
    "tasks:\n"
    "  mnli: {trainer_kwargs: {save_num_checkpoints_to_keep: 1}}\n"
    "  qnli: {trainer_kwargs: {save_num_checkpoints_to_keep: 0, pool_all: true}}\n"
    "  rte: {seeds: [1, 2], trainer_kwargs: {save_num_checkpoints_to_keep: 0, optim_name: adamw, lr: 1e-4, max_duration: 6ep}}\n"
    "  stsb: {trainer_kwargs: {save_num_checkpoints_to_keep: 0}}\n";

class GlueSweepTest : public ::testing::Test {
 protected:
  GlueSweep read(const std::vector<std::string>& overrides = {}, const GlueSweepOptions& options = {.data = "glue"}) {
    return read_glue_sweep(scratch.put("recipe.yaml", kRecipe), overrides, options);
  }
  std::string error(const std::vector<std::string>& overrides) {
    return error_of([&] { read(overrides); });
  }
  Scratch scratch;
};

TEST_F(GlueSweepTest, AJobForEachTaskAndSeed) {
  const GlueSweep sweep = read();
  std::vector<std::string> names;
  for (const GlueJob& job : sweep.jobs) names.push_back(job.name());
  EXPECT_EQ(names, (std::vector<std::string>{"mnli(seed=7)", "qnli(seed=7)", "rte(seed=1)", "rte(seed=2)", "stsb(seed=7)"}));
  EXPECT_EQ(sweep.jobs[2].folder, std::filesystem::path("out/task=rte/seed=1"));
  EXPECT_TRUE(sweep.jobs[0].keep_model);
  EXPECT_FALSE(sweep.jobs[1].keep_model);
  EXPECT_FALSE(sweep.parallel);
}

TEST_F(GlueSweepTest, SettingsAreUpstreamsUnlessTheRecipeSaysOtherwise) {
  const GlueSweep sweep = read();
  const io::Tree &mnli = sweep.jobs[0].recipe, &rte = sweep.jobs[3].recipe;
  EXPECT_EQ(mnli.at("global_train_batch_size").integer(), 48);
  EXPECT_EQ(mnli.at("eval_interval").string(), "2300ba");
  EXPECT_EQ(mnli.at("max_duration").string(), "3ep");
  EXPECT_EQ(mnli.at("optimizer").at("name").string(), "decoupled_adamw");
  EXPECT_EQ(mnli.at("optimizer").at("lr").number(), 5e-5);
  EXPECT_EQ(mnli.at("optimizer").at("weight_decay").number(), 5e-6);
  EXPECT_EQ(mnli.at("max_seq_len").integer(), 256);
  EXPECT_EQ(mnli.at("eval_loader").items()[1].at("label").string(), "glue_mnli_mismatched");
  EXPECT_EQ(rte.at("seed").integer(), 2);
  EXPECT_EQ(rte.at("max_duration").string(), "6ep");
  EXPECT_EQ(rte.at("optimizer").at("name").string(), "adamw");
  EXPECT_EQ(rte.at("optimizer").at("lr").number(), 1e-4);
  EXPECT_EQ(rte.at("optimizer").at("weight_decay").number(), 1e-6);
  EXPECT_EQ(rte.at("precision").string(), "amp_bf16");
  EXPECT_EQ(sweep.jobs[4].recipe.at("precision").string(), "fp32");  // STS-B
  EXPECT_EQ(sweep.jobs[4].recipe.find_path("model.model_config.num_labels")->integer(), 1);
}

TEST_F(GlueSweepTest, PoolAllAlsoHoldsForTheTasksAfterIt) {
  const GlueSweep sweep = read();
  EXPECT_EQ(sweep.jobs[0].recipe.find_path("model.model_config.pool_all"), nullptr);
  EXPECT_TRUE(sweep.jobs[1].recipe.find_path("model.model_config.pool_all")->boolean());
  EXPECT_TRUE(sweep.jobs[2].recipe.find_path("model.model_config.pool_all")->boolean());
  EXPECT_TRUE(has(sweep.notes.at(0), "rte has pool_all: true from qnli, which stands before it, as in upstream's script"));
  EXPECT_FALSE(read({"tasks.rte.trainer_kwargs.pool_all=false"}).jobs[2].recipe.find_path("model.model_config.pool_all")->boolean());
}

TEST_F(GlueSweepTest, RecipesOfTheJobsAreRead) {
  for (const GlueJob& job : read().jobs) {
    const Recipe recipe = parse_recipe(io::to_yaml(job.recipe), job.name());
    EXPECT_EQ(recipe.warning, "") << job.name();
    EXPECT_EQ(recipe.model.num_labels, job.task == "mnli" ? 3 : job.task == "stsb" ? 1 : 2);
    EXPECT_EQ(recipe.save.ignored, std::vector<std::string>{"state/model/model.classifier*"});
  }
}

TEST_F(GlueSweepTest, TasksThatStartFromMnli) {
  const GlueSweep sweep = read({}, {.data = "glue", .start_from_mnli = true});
  EXPECT_TRUE(sweep.jobs[2].starts_from_mnli && sweep.jobs[4].starts_from_mnli);
  EXPECT_FALSE(sweep.jobs[1].starts_from_mnli);
  EXPECT_EQ(sweep.jobs[4].recipe.at("load_path").string(), (std::filesystem::absolute("out/task=mnli/seed=7") / "model").string());
  const GlueSweep by_hand = read({"starting_checkpoint_load_path=out/task=mnli/model"});
  EXPECT_EQ(by_hand.jobs.size(), 3u);
  EXPECT_TRUE(has(by_hand.notes.at(0), "only RTE, MRPC and STS-B are run"));
}

TEST_F(GlueSweepTest, Problems) {
  EXPECT_TRUE(has(error({"starting_checkpoint_load_path=null"}), "starting_checkpoint_load_path: is empty: fill in the checkpoint"));
  EXPECT_TRUE(has(error({"tasks.snli.seeds=[1]"}), "a task of GLUE as its key"));
  EXPECT_TRUE(has(error({"tasks.rte.trainer_kwargs.learning_rate=1"}), "there are eval_interval, max_sequence_length"));
  EXPECT_TRUE(has(error({"tasks.rte.trainer_kwargs.optim_name=sgd"}), "wants DecoupledAdamW or adamw"));
  EXPECT_TRUE(has(error({"tasks.rte.seeds=[1,1]"}), "a seed that is not in the list already"));
  EXPECT_TRUE(has(error({"save_finetune_checkpoint_folder=s3://bucket"}), "wants a folder of this machine"));
  EXPECT_TRUE(has(error({"default_sed=1"}), "did you mean default_seed?"));
}

TEST_F(GlueSweepTest, UpstreamsRecipes) {
  const auto folder = test::shared_dir() / "yamls/finetune-glue";
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << "upstream's recipes are not beside this checkout: " << folder;
  size_t recipes = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().filename() == "embedding_training.yaml") continue;
    SCOPED_TRACE(entry.path().string());
    const GlueSweep sweep = read_glue_sweep(entry.path(), {"starting_checkpoint_load_path=start.pt"}, {.data = "glue"});
    EXPECT_EQ(sweep.jobs.size(), 25u);
    for (const GlueJob& job : sweep.jobs) parse_recipe(io::to_yaml(job.recipe), job.name());
    ++recipes;
  }
  EXPECT_EQ(recipes, 5u);
}

TEST_F(GlueSweepTest, ResultsAreOfTheSameSettings) {
  GlueSweep sweep = read({"save_finetune_checkpoint_folder=" + (scratch / "out").string()});
  GlueJob& job = sweep.jobs[2];
  std::filesystem::create_directories(job.folder);
  EXPECT_FALSE(read_glue_result(job).has_value());
  write_glue_result(job, {"rte", 1, {{"glue_rte", {{"MulticlassAccuracy", 0.625}}}}}, 10, 1.5);
  EXPECT_EQ(read_glue_result(job)->metrics.at("glue_rte").at(0).value, 0.625);
  job.recipe.set("max_duration", "9ep");
  EXPECT_TRUE(has(error_of([&] { read_glue_result(job); }), "rte(seed=1) was run with other settings or data"));
}

TEST_F(GlueSweepTest, ResultsAreOfTheSameData) {
  std::filesystem::create_directories(scratch / "data/rte");
  std::filesystem::create_directories(scratch / "data/cola");
  scratch.put("data/rte/train.jsonl", "a");
  GlueSweep sweep = read({"save_finetune_checkpoint_folder=" + (scratch / "out").string()}, {.data = scratch / "data"});
  GlueJob& job = sweep.jobs[2];
  std::filesystem::create_directories(job.folder);
  write_glue_result(job, {"rte", 1, {{"glue_rte", {{"MulticlassAccuracy", 0.625}}}}}, 10, 1.5);
  scratch.put("data/cola/train.jsonl", "of another task");
  EXPECT_TRUE(read_glue_result(job).has_value());
  scratch.put("data/rte/train.jsonl", "b");
  EXPECT_TRUE(has(error_of([&] { read_glue_result(job); }), "rte(seed=1) was run with other settings or data"));
}

GlueResult result(const std::string& task, uint64_t seed, const std::map<std::string, std::vector<tasks::Metric>>& metrics) {
  return {task, seed, metrics};
}

TEST(GlueTableTest, MeansOverSeedsMetricsAndTasks) {
  const GlueTable table = glue_table(
      {result("rte", 1, {{"glue_rte", {{"MulticlassAccuracy", 0.5}}}}), result("rte", 2, {{"glue_rte", {{"MulticlassAccuracy", 0.7}}}}),
       result("mnli", 1, {{"glue_mnli", {{"MulticlassAccuracy", 0.8}}}, {"glue_mnli_mismatched", {{"MulticlassAccuracy", 0.6}}}}),
       result("qqp", 1, {{"glue_qqp", {{"MulticlassAccuracy", 0.9}, {"BinaryF1Score", 0.8}}}})});
  ASSERT_EQ(table.rows.size(), 5u);
  EXPECT_EQ(table.rows[4].task, "rte");
  EXPECT_NEAR(table.rows[4].mean, 60, 1e-9);
  EXPECT_NEAR(*table.rows[4].deviation, std::sqrt(200.0), 1e-9);
  EXPECT_FALSE(table.rows[0].deviation.has_value());
  EXPECT_NEAR(table.average, (85 + 70 + 60) / 3.0, 1e-9);
  EXPECT_TRUE(has(glue_table_text(table), "rte   glue_rte              MulticlassAccuracy  2      60.00 ± 14.14\n"));
  EXPECT_TRUE(has(glue_table_text(table), "GLUE                        mean of the tasks          71.67\n"));
  EXPECT_TRUE(has(glue_table_markdown(table), "| task | data | metric | seeds | score |\n| --- | --- | --- | ---: | ---: |\n"));
  EXPECT_TRUE(has(io::to_json(glue_table_tree(table)), "\"scores\":{\"qqp\":85"));
  EXPECT_TRUE(has(glue_table_html(table, "a<b"), "<h1>a&lt;b</h1>"));
  EXPECT_TRUE(std::isnan(glue_table({}).average));
}

}  // namespace
}  // namespace m2bert::train
