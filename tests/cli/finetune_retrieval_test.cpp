// m2bert finetune retrieval: whole runs from the command line.
#include <gtest/gtest.h>

#include <filesystem>

#include "m2bert/io/json.h"
#include "tests/cli/program.h"
#include "tests/support/scratch.h"
#include "tests/support/tiny_models.h"

namespace m2bert::test {
namespace {

namespace fs = std::filesystem;

class FinetuneRetrieval : public ::testing::Test {
 protected:
  FinetuneRetrieval() {
    scratch_.put("train.jsonl", pairs(24));
    scratch_.put("eval.jsonl", pairs(8, 100));
    scratch_.put("r.yaml",
                 "run_name: tiny\n"
                 "base_model: " +
                     tiny_models().attention +
                     "\n"
                     "model: {model_config: {hidden_dropout_prob: 0, attention_probs_dropout_prob: 0}}\n"
                     "train_loader: {data: " +
                     at("train.jsonl") +
                     "}\n"
                     "eval_loader: {data: " +
                     at("eval.jsonl") +
                     ", k: 3}\n"
                     "global_train_batch_size: 8\n"
                     "device_train_microbatch_size: 4\n"
                     "max_duration: 12ba\n"
                     "eval_interval: 4ba\n"
                     "save_interval: 4ba\n"
                     "optimizer: {name: adamw, lr: 0.002}\n"
                     "scheduler: {name: linear_decay_with_warmup, t_warmup: 0ba, alpha_f: 0.1}\n"
                     "save_folder: " +
                     at("run") +
                     "\n"
                     "progress_bar: false\n");
  }
  // Queries and passages that share their words.
  static std::string pairs(size_t count, size_t first = 0) {
    std::string text;
    for (size_t i = first; i < first + count; ++i)
      text += "{\"query\": \"" + sentence(i, 3) + " " + std::to_string(i) + "\", \"positive\": \"" + sentence(i, 6) + "\"}\n";
    return text;
  }
  std::string at(const std::string& name) const { return (scratch_ / name).string(); }
  std::vector<std::string> command(const std::vector<std::string>& more = {}) const {
    std::vector<std::string> all = {"finetune", "retrieval", at("r.yaml"), "--threads", "1", "--json"};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  io::Tree json(const Outcome& outcome) const {
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    return outcome.code == 0 ? io::parse_json(outcome.out, "stdout") : io::Tree();
  }
  std::vector<double> losses(const std::string& folder) const {
    std::vector<double> all;
    for (const auto& line : json_lines(content(at(folder + "/metrics.jsonl"))))
      if (line.contains("loss/train/total")) all.push_back(line.at("loss/train/total").number());
    return all;
  }
  Scratch scratch_;
};

const std::vector<std::string> kMined = {"task.negatives=1", "task.hard_negatives.source=model", "task.hard_negatives.every=4ba"};

std::vector<std::string> with(std::vector<std::string> overrides, const std::vector<std::string>& more) {
  overrides.insert(overrides.end(), more.begin(), more.end());
  return overrides;
}

TEST_F(FinetuneRetrieval, TrainsAnEmbedderThatEmbedUses) {
  const auto result = json(run(command({"task.prompts.query='find: '"})));
  EXPECT_EQ(result.at("batches").integer(), 12);
  EXPECT_GT(result.at("evaluation").at("nDCG@3").number(), 0.5);
  const auto loss = losses("run");
  EXPECT_LT(loss.back(), loss.front());
  EXPECT_TRUE(has(content(at("run/report.html")), "nDCG@3"));
  const auto embedded = run({"embed", "--model", at("run/model"), "--prompt", "query", "--text", "green tree"});
  EXPECT_EQ(embedded.code, 0) << embedded.err;
  EXPECT_EQ(json_lines(embedded.out).at(0).at("embedding").size(), 16u);
}

TEST_F(FinetuneRetrieval, ResumesWithTheSameBitsAfterASignal) {
  const auto longer = with(kMined, {"max_duration=200ba", "eval_interval=40ba", "save_interval=40ba"});
  HowToRun how;
  how.signal = 15;
  how.signal_when = [&] { return fs::exists(at("run/negatives/ba8.txt")); };
  const auto stopped = run(command(longer), how);
  EXPECT_EQ(stopped.code, 128 + 15);
  EXPECT_TRUE(has(stopped.err, "with autoresume=true resumes from there")) << stopped.err;
  EXPECT_EQ(json(run(command(with(longer, {"autoresume=true"})))).at("batches").integer(), 200);
  json(run(command(with(longer, {"save_folder=" + at("whole")}))));
  EXPECT_EQ(losses("run"), losses("whole"));
  EXPECT_EQ(content(at("run/model/model.safetensors")), content(at("whole/model/model.safetensors")));
}

// The processes share the search of negatives too.
TEST_F(FinetuneRetrieval, TwoProcessesTrainAsOne) {
  json(run(command(with(kMined, {"save_folder=" + at("one"), "device_eval_batch_size=4"}))));
  json(run(command(with(kMined, {"save_folder=" + at("two"), "device_eval_batch_size=4", "--launch", "2"}))));
  EXPECT_EQ(content(at("one/negatives/ba0.txt")), content(at("two/negatives/ba0.txt")));
  const auto one = losses("one"), two = losses("two");
  ASSERT_EQ(one.size(), 12u);
  ASSERT_EQ(two.size(), one.size());
  for (size_t i = 0; i < one.size(); ++i) EXPECT_NEAR(one[i], two[i], 1e-4 * one[i]);
}

TEST_F(FinetuneRetrieval, ASignalStopsTheSearchOfNegatives) {
  scratch_.put("train.jsonl", pairs(40000));
  for (const std::string processes : {"1", "2"}) {
    fs::remove_all(at("run"));
    HowToRun how;
    how.signal = 15;
    how.signal_when = [&] { return fs::exists(at("run/metrics.jsonl")); };
    const auto outcome = run(command(with(kMined, {"device_eval_batch_size=1", "--launch", processes})), how);
    EXPECT_EQ(outcome.code, 128 + 15);
    EXPECT_TRUE(has(outcome.err, "stopped after 0 batches")) << outcome.err;
    EXPECT_FALSE(fs::exists(at("run/negatives/ba0.txt")));
  }
}

TEST_F(FinetuneRetrieval, OtherModelsBesideTheBaseModelAreRefused) {
  const auto error = [&](const std::string& override) { return run(command({override})).err; };
  EXPECT_TRUE(has(error("load_path=x.pt"), "load_path: wants nothing beside base_model"));
  EXPECT_TRUE(has(error("starting_checkpoint_load_path=x.pt"), "starting_checkpoint_load_path: wants nothing beside base_model"));
  EXPECT_TRUE(has(error("model.name=bert"), "model.name: wants nothing beside base_model"));
  EXPECT_TRUE(has(error("model.tokenizer_name=vocab.txt"), "model.tokenizer_name: wants nothing beside base_model"));
  EXPECT_TRUE(has(error("load_weights_only=false"), "load_weights_only: wants true with base_model"));
}

}  // namespace
}  // namespace m2bert::test
