// Whole runs of a retriever: evaluation, resuming, several microbatches, mined negatives, the memory bank, a guide and a teacher.
#include <gtest/gtest.h>

#include <fstream>
#include <set>

#include "m2bert/io/file.h"
#include "m2bert/io/json.h"
#include "m2bert/io/yaml.h"
#include "m2bert/io/yaml_writer.h"
#include "m2bert/models/pretrained.h"
#include "m2bert/train/metrics_file.h"
#include "m2bert/train/retrieval_run.h"
#include "tests/support/paths.h"
#include "tests/support/scratch.h"
#include "tests/support/tiny_models.h"

namespace m2bert::train {
namespace {

namespace fs = std::filesystem;
using test::error_of;
using test::has;
using test::Scratch;

// Queries and passages that share their words.
std::string pairs(int count, size_t first = 0) {
  std::string text;
  for (int i = 0; i < count; ++i) {
    const size_t number = first + size_t(i);
    text += "{\"query\": \"" + test::sentence(number, 3) + "\", \"positive\": \"" + test::sentence(number, 6) + " " +
            std::to_string(number) + "\"}\n";
  }
  return text;
}

class RetrievalRunTest : public ::testing::Test {
 protected:
  RetrievalRunTest() {
    scratch_.put("train.jsonl", pairs(24));
    scratch_.put("eval.jsonl", pairs(8, 100));
    recipe_ = {{"run_name", "tiny"},
               {"base_model", test::tiny_models().attention},
               {"train_loader", io::Tree{{"data", at("train.jsonl")}}},
               {"eval_loader", io::Tree{{"data", at("eval.jsonl")}, {"k", 3}}},
               {"global_train_batch_size", 8},
               {"device_train_microbatch_size", 8},
               {"max_duration", "9ba"},
               {"eval_interval", "3ba"},
               {"save_interval", "3ba"},
               {"optimizer", io::Tree{{"name", "adamw"}, {"lr", 0.002}}},
               {"scheduler", io::Tree{{"name", "linear_decay_with_warmup"}, {"t_warmup", "0ba"}, {"alpha_f", 0.1}}},
               {"save_folder", at("run")},
               {"progress_bar", false}};
  }
  std::string at(const std::string& name) const { return (scratch_ / name).string(); }
  Recipe recipe(const std::vector<std::string>& overrides = {}) const {
    const auto text = io::to_yaml(recipe_);
    return read_recipe(complete_retrieval_recipe(io::parse_yaml(text, "tiny.yaml", overrides)), text, "tiny.yaml", overrides);
  }
  RunResult train(const std::vector<std::string>& overrides = {}) const {
    const auto r = recipe(overrides);
    RetrievalRun retrieval(r);
    const auto task = retrieval.task();
    return run(r, *task, Processes(), retrieval.hooks());
  }
  std::vector<double> values(const std::string& name, const std::string& folder = "run") const {
    std::vector<double> all;
    for (const auto& record : read_metrics(scratch_ / (folder + "/metrics.jsonl")))
      if (const double* value = record.find(name)) all.push_back(*value);
    return all;
  }
  std::string weights(const std::string& folder = "run") const {
    std::ifstream in(scratch_ / (folder + "/model/model.safetensors"), std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  Scratch scratch_;
  io::Tree recipe_;
};

TEST_F(RetrievalRunTest, LearnsIsEvaluatedAndWritesAModel) {
  const auto result = train({"max_duration=30ba", "task.prompts.query='find: '"});
  const auto losses = values("loss/train/total"), ndcg = values("metrics/eval/nDCG@3");
  EXPECT_EQ(losses.size(), 30U);
  EXPECT_LT(losses.back(), losses.front() / 2);
  EXPECT_GT(ndcg.back(), 0.5);
  EXPECT_EQ(*find(result.evaluations, "nDCG@3"), ndcg.back());
  EXPECT_EQ(values("metrics/eval/MRR@3").size(), ndcg.size());
  const auto model = models::load_pretrained(result.model);
  EXPECT_EQ(model.pooling, (models::Poolings{models::Pooling::mean}));
  EXPECT_EQ(model.prompts.at("query"), "find: ");
}

// Killed after 4 of 9 batches: bank, negatives, moments and order are those of a run in one piece.
TEST_F(RetrievalRunTest, ResumesWithTheSameBits) {
  const std::vector<std::string> more = {"task.negatives=1",    "task.hard_negatives.source=model", "task.hard_negatives.every=4ba",
                                         "task.memory_bank=20", "device_train_microbatch_size=3",   "save_interval=1ba",
                                         "scheduler.t_max=9ba"};
  auto with = [&](std::vector<std::string> overrides) {
    overrides.insert(overrides.end(), more.begin(), more.end());
    return overrides;
  };
  train(with({"save_folder=" + at("whole")}));
  train(with({"save_folder=" + at("parts"), "max_duration=6ba"}));
  fs::remove_all(scratch_ / "parts/model");
  EXPECT_EQ(train(with({"save_folder=" + at("parts"), "autoresume=true"})).time.batch, 9);
  EXPECT_EQ(values("loss/train/total", "whole"), values("loss/train/total", "parts"));
  EXPECT_EQ(weights("whole"), weights("parts"));
  EXPECT_TRUE(fs::exists(scratch_ / "whole/negatives/ba4.txt"));
}

// Batches are counted as the trainer counts them: an epoch of 27 samples has 3 whole batches of 8.
TEST_F(RetrievalRunTest, SearchesNegativesAtTheBatchesOfItsInterval) {
  scratch_.put("train.jsonl", pairs(27));
  train({"task.negatives=1", "task.hard_negatives.source=model", "task.hard_negatives.every=3ba"});
  std::set<std::string> files;
  for (const auto& file : fs::directory_iterator(scratch_ / "run/negatives")) files.insert(file.path().filename());
  EXPECT_EQ(files, (std::set<std::string>{"ba0.txt", "ba3.txt", "ba6.txt"}));
}

TEST_F(RetrievalRunTest, TheBestModelIsOfOneEvaluationSet) {
  const std::vector<std::string> overrides = {"metric_for_best_model=nDCG@3", "autoresume=true"};
  train(overrides);
  scratch_.put("eval.jsonl", pairs(8, 200));
  EXPECT_TRUE(has(error_of([&] { train(overrides); }), "by which the best model was chosen"));
}

// Without dropout the loss and its gradient are those of the whole batch, however it is cut.
TEST_F(RetrievalRunTest, MicrobatchesChangeNothing) {
  const std::string none = "model.model_config.hidden_dropout_prob=0", no_attention = "model.model_config.attention_probs_dropout_prob=0";
  train({none, no_attention, "save_folder=" + at("one")});
  train({none, no_attention, "save_folder=" + at("two"), "device_train_microbatch_size=1"});
  const auto a = values("loss/train/total", "one"), b = values("loss/train/total", "two");
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], b[i], 1e-4 * a[i]);
}

TEST_F(RetrievalRunTest, EveryExtraChangesTheLoss) {
  train();
  const auto plain = values("loss/train/total");
  const auto differs = [&](const std::vector<std::string>& overrides, size_t from = 0) {
    auto all = overrides;
    all.push_back("save_folder=" + at("other"));
    all.push_back("save_overwrite=true");
    train(all);
    const auto found = values("loss/train/total", "other");
    EXPECT_EQ(found.size(), plain.size());
    bool differs = false;
    for (size_t i = from; i < plain.size(); ++i) {
      EXPECT_TRUE(std::isfinite(found[i]));
      differs |= found[i] != plain[i];
    }
    return differs;
  };
  const std::string drop = "task.loss={name: multiple_negatives_ranking_loss, false_negatives: {margin: 0.3}}";
  EXPECT_FALSE(differs({}));
  EXPECT_TRUE(differs({"task.memory_bank=16"}, 1));
  EXPECT_TRUE(differs({"task.negatives=2", "task.hard_negatives.source=bm25"}));
  EXPECT_TRUE(differs({"task.negatives=1", "task.hard_negatives.source=random"}));
  EXPECT_TRUE(differs({drop}));
  EXPECT_TRUE(differs({drop, "task.guide=" + test::tiny_models().m2}));
  EXPECT_TRUE(differs({"task.loss={name: multiple_negatives_ranking_loss, teacher_weight: 1}", "task.teacher=" + test::tiny_models().m2}));
  EXPECT_TRUE(differs({"task.loss={name: multiple_negatives_ranking_loss, matryoshka_dimensions: [16, 4]}"}));
  EXPECT_TRUE(differs({"task.pooling=cls"}));
  EXPECT_TRUE(differs({"precision=amp_bf16"}));
  EXPECT_TRUE(differs({"task.loss=mega_batch_margin_loss"}));
}

TEST_F(RetrievalRunTest, LabelsAreCompared) {
  scratch_.put("train.csv", "sentence1,sentence2,score\na b,a c,0.5\na,b,0\nb c,b d,0.5\nd,d,1\n");
  const auto result = train({"train_loader.data=" + at("train.csv"), "eval_loader.data=" + at("train.csv"), "global_train_batch_size=2",
                             "task.loss=cosine_similarity_loss"});
  EXPECT_TRUE(std::isfinite(*find(result.evaluations, "CosineSpearman")));
  EXPECT_TRUE(std::isfinite(*find(result.evaluations, "CosinePearson")));
}

TEST_F(RetrievalRunTest, ErrorsSayWhatIsMissing) {
  auto error = [&](const std::vector<std::string>& overrides) { return error_of([&] { train(overrides); }); };
  EXPECT_TRUE(has(error({"train_loader.data=null"}), "names no training data"));
  EXPECT_TRUE(has(error({"base_model=null"}), "names no weights to start from"));
  EXPECT_TRUE(has(error({"task.loss=triplet_loss"}), "has no negatives, which triplet_loss needs"));
  EXPECT_TRUE(has(error({"task.loss=contrastive_loss"}), "has neither labels nor negatives"));
  EXPECT_TRUE(has(error({"task.loss=margin_mse_loss"}), "wants a teacher's score of every passage"));
  EXPECT_TRUE(has(error({"task.negatives=1"}), "a sample has 0 negatives, task.negatives wants 1"));
  EXPECT_TRUE(has(error({"task.losses=x"}), "a task of retrieval has no such setting; it has name, loss"));
  EXPECT_TRUE(has(error({"task.loss=cosine"}), "there is no loss \"cosine\""));
  EXPECT_TRUE(has(error({"task.loss={name: triplet_loss, scale: 3}"}), "triplet_loss has no such setting"));
  EXPECT_TRUE(has(error({"task.guide=x"}), "false_negatives in the loss"));
  EXPECT_TRUE(has(error({"task.hard_negatives.source=bm25"}), "`negatives` beside it"));
  EXPECT_TRUE(has(error({"train_loader.data=" + at("none.jsonl")}), "none.jsonl"));
  EXPECT_TRUE(has(error({"eval_subset_num_batches=1"}), "needs all of its texts"));
}

// Upstream's recipes, given what upstream's script takes as arguments.
TEST(RetrievalRecipes, UpstreamsAreRead) {
  const fs::path folder = test::shared_dir() / "yamls";
  if (!fs::exists(folder)) GTEST_SKIP() << folder << " is absent";
  for (const char* name : {"embeddings/m2-bert-80M-2k-retrieval.yaml", "embeddings/m2-bert-80M-8k-retrieval.yaml",
                           "embeddings/m2-bert-80M-32k-retrieval.yaml", "finetune-glue/embedding_training.yaml"}) {
    SCOPED_TRACE(name);
    const std::vector<std::string> overrides = {"starting_checkpoint_load_path=x.pt", "train_loader.data=loco"};
    const auto file = folder / name;
    const auto recipe =
        read_recipe(complete_retrieval_recipe(io::read_yaml(file, overrides)), io::read_file(file), file.string(), overrides);
    EXPECT_EQ(recipe.task.retrieval->objective.loss, tasks::RetrievalLoss::multiple_negatives_ranking);
    EXPECT_EQ(recipe.save.load_path, "x.pt");
    EXPECT_EQ(recipe.global_batch, 16);
    EXPECT_EQ(recipe.microbatch, 1);
    EXPECT_EQ(recipe.compute, mx::bfloat16);
    EXPECT_EQ(recipe.clipping.threshold, 1);
    EXPECT_TRUE(recipe.eval_loaders.empty());
    EXPECT_EQ(recipe.train_loader.retrieval->max_seq_len, recipe.model.max_length());
    EXPECT_EQ(recipe.optimizer.beta2, 0.98);
  }
}

}  // namespace
}  // namespace m2bert::train
