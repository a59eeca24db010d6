// Whole runs of a classifier: labels, several evaluation sets, the best model, early stopping, frozen layers.
#include <gtest/gtest.h>

#include <csignal>
#include <cstdlib>
#include <fstream>

#include "m2bert/checkpoint/weights.h"
#include "m2bert/io/interrupt.h"
#include "m2bert/io/json.h"
#include "m2bert/io/yaml_writer.h"
#include "m2bert/models/pretrained.h"
#include "m2bert/train/base_model.h"
#include "m2bert/train/evaluate_model.h"
#include "m2bert/train/metrics_file.h"
#include "m2bert/train/run.h"
#include "tests/support/scratch.h"
#include "tests/support/tiny_models.h"

namespace m2bert::train {
namespace {

namespace fs = std::filesystem;
using test::error_of;
using test::has;
using test::Scratch;

// Texts about monarchs are good, those about rivers bad.
std::string table(int rows, int first = 0) {
  std::string text = "text,label\n";
  for (int i = first; i < first + rows; ++i)
    text += std::string(i % 2 ? "monarch " : "river ") + test::sentence(size_t(i), 3) + (i % 2 ? ",good\n" : ",bad\n");
  return text;
}

class ClassificationRun : public ::testing::Test {
 protected:
  ClassificationRun() {
    scratch_.put("train.csv", table(24));
    scratch_.put("eval.csv", table(10, 100));
    const auto base = find_base_model(test::tiny_models().m2);
    io::Tree model = model_tree(base);
    model.as_map().find("model_config")->set("id2label", io::Tree{{"0", "bad"}, {"1", "good"}});
    recipe_ = io::to_yaml({{"run_name", "tiny"},
                           {"task", "classification"},
                           {"model", model},
                           {"load_path", base.path.string()},
                           {"load_weights_only", true},
                           {"train_loader", loader("train.csv", base.tokenizer)},
                           {"eval_loader", loader("eval.csv", base.tokenizer)},
                           {"global_train_batch_size", 8},
                           {"device_train_microbatch_size", 4},
                           {"max_duration", "12ep"},
                           {"eval_interval", "1ep"},
                           {"save_interval", "1ep"},
                           {"optimizer", io::Tree{{"name", "adamw"}, {"lr", 0.003}}},
                           {"scheduler", io::Tree{{"name", "linear_decay_with_warmup"}, {"t_warmup", "0ba"}, {"alpha_f", 0.0}}},
                           {"save_folder", at("run")},
                           {"progress_bar", false}});
  }

  io::Tree loader(const std::string& file, const std::string& tokenizer) const {
    return {{"name", "labelled"}, {"file", at(file)}, {"tokenizer_name", tokenizer}, {"shuffle", file == "train.csv"}};
  }
  std::string at(const std::string& name) const { return (scratch_ / name).string(); }
  Recipe recipe(const std::vector<std::string>& overrides = {}) const { return parse_recipe(recipe_, "tiny.yaml", overrides); }
  RunResult train(const std::vector<std::string>& overrides = {}) const {
    const auto r = recipe(overrides);
    return run(r, *make_task(r), Processes());
  }
  double metric(const RunResult& result, const std::string& name) const {
    const double* value = find(result.evaluations, name);
    EXPECT_NE(value, nullptr) << name;
    return value ? *value : 0;
  }
  Scratch scratch_;
  std::string recipe_;
};

TEST_F(ClassificationRun, LearnsAndWritesAModelWithItsLabels) {
  const auto result = train();
  EXPECT_EQ(result.time.batch, 36);
  EXPECT_EQ(metric(result, "MulticlassAccuracy"), 1);
  models::LoadOptions options;
  const auto model = models::load_pretrained(result.model, options);
  EXPECT_EQ(model.model->head(), models::Head::classification);
  EXPECT_EQ(model.labels, (std::vector<std::string>{"bad", "good"}));
  EXPECT_EQ(model.tokenizer.vocab_size(), 81U);
  const auto records = read_metrics(scratch_ / "run/metrics.jsonl");
  EXPECT_NE(records.back().find("metrics/eval/MulticlassAccuracy"), nullptr);
}

// The model is that of the best evaluation, and so are the metrics of the result.
TEST_F(ClassificationRun, KeepsTheBestModel) {
  // The learning rate of the last epochs spoils the model.
  const auto result =
      train({"metric_for_best_model=CrossEntropy", "scheduler.name=constant_with_warmup", "optimizer.lr=0.03", "max_duration=8ep"});
  ASSERT_TRUE(result.best.has_value());
  double lowest = 1e9;
  int64_t batch = 0;
  for (const auto& record : read_metrics(scratch_ / "run/metrics.jsonl")) {
    const double* value = record.find("metrics/eval/CrossEntropy");
    if (!value || *value >= lowest) continue;
    lowest = *value;
    batch = record.time.batch;
  }
  EXPECT_EQ(result.best->batch, batch);
  EXPECT_DOUBLE_EQ(result.best->value, lowest);
  EXPECT_NEAR(metric(result, "CrossEntropy"), lowest, 1e-6);
  const auto r = recipe();
  EXPECT_NEAR(*find(evaluate_model(r, *make_task(r), result.model, Processes()), "CrossEntropy"), lowest, 1e-6);
}

TEST_F(ClassificationRun, StopsEarlyAndStaysStopped) {
  const std::vector<std::string> overrides = {"metric_for_best_model=MulticlassAccuracy", "early_stopping_patience=2",
                                              "early_stopping_threshold=2", "max_duration=20ep", "autoresume=true"};
  const auto result = train(overrides);
  EXPECT_EQ(result.end, TrainingEnd::finished);
  EXPECT_EQ(result.time.batch, 9);  // the first evaluation is the best one, none gains 2
  EXPECT_EQ(result.best->batch, 3);
  const auto again = train(overrides);
  EXPECT_TRUE(again.was_finished);
  EXPECT_EQ(again.time.batch, 9);
  EXPECT_EQ(metric(again, "CrossEntropy"), metric(result, "CrossEntropy"));
  auto more = overrides;
  more[1] = "early_stopping_patience=3";
  const auto longer = train(more);
  EXPECT_FALSE(longer.was_finished);
  EXPECT_EQ(longer.time.batch, 12);
}

TEST_F(ClassificationRun, TheBestModelIsOfOneEvaluationSet) {
  const std::vector<std::string> overrides = {"metric_for_best_model=CrossEntropy", "max_duration=2ep", "autoresume=true"};
  train(overrides);
  scratch_.put("eval.csv", table(12, 200));
  EXPECT_PRED2(has, error_of([&] { train(overrides); }), "by which the best model was chosen");
  EXPECT_FALSE(train({"max_duration=2ep", "save_folder=" + at("other")}).best.has_value());
}

// The best weights of a run stay in its folder: one that continues it elsewhere seeks its own.
TEST_F(ClassificationRun, ContinuesInAnotherFolder) {
  train({"metric_for_best_model=MulticlassAccuracy", "early_stopping_threshold=2", "early_stopping_patience=1"});
  const auto result = train({"metric_for_best_model=MulticlassAccuracy", "early_stopping_threshold=2", "early_stopping_patience=1",
                             "load_weights_only=false", "load_path=" + at("run/latest.safetensors"), "save_folder=" + at("other")});
  EXPECT_EQ(result.best->batch, 9);  // the first evaluation after the six batches of the other folder
  EXPECT_TRUE(fs::exists(result.model));
}

// Evaluation sets that a signal cuts short once the last checkpoint is written.
class InterruptedSource : public data::BatchSource {
 public:
  InterruptedSource(data::BatchSource& source, int at) : source_(source), at_(at) {}
  std::optional<data::Batch> next() override { return source_.next(); }
  void seek(const data::DataPosition& position) override {
    if (++evaluations_ == at_) std::raise(SIGTERM);
    source_.seek(position);
  }
  uint64_t samples_per_epoch() const override { return source_.samples_per_epoch(); }

 private:
  data::BatchSource& source_;
  int at_, evaluations_ = 0;
};

using ClassificationRunDeathTest = ClassificationRun;

TEST_F(ClassificationRunDeathTest, NoMetricsOfAnEvaluationThatWasCutShort) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto interrupted = [&] {
    io::install_interrupt_handlers();
    const auto r = recipe({"metric_for_best_model=MulticlassAccuracy", "early_stopping_threshold=2", "max_duration=2ep"});
    const Processes one;
    auto sets = open_eval_batches(r, one);
    RunHooks hooks;
    hooks.open_data = [&](const Processes&) {
      RunData data;
      data.train.emplace(open_batches(r.train_loader, r.global_batch, batch_settings(r, one)));
      // The third evaluation is that of the best weights, after those of the two epochs.
      data.eval.emplace_back(std::make_unique<InterruptedSource>(sets[0].source(), 3), sets[0].info());
      return data;
    };
    const auto result = run(r, *make_task(r), one, hooks);
    std::_Exit(result.time.batch == 6 && result.end == TrainingEnd::stopped && result.model.empty() ? 0 : 1);
  };
  EXPECT_EXIT(interrupted(), ::testing::ExitedWithCode(0), "");
}

// A run resumed in the middle ends with the same bytes.
TEST_F(ClassificationRun, ResumesBitForBit) {
  const std::vector<std::string> overrides = {"metric_for_best_model=CrossEntropy", "autoresume=true", "max_duration=3ep"};
  train(overrides);
  const auto whole = checkpoint::load_weights(scratch_ / "run/model");
  for (const char* name : {"ep2-ba6.safetensors", "ep3-ba9.safetensors"}) fs::remove(scratch_ / "run" / name);
  train(overrides);
  const auto resumed = checkpoint::load_weights(scratch_ / "run/model");
  ASSERT_EQ(whole.size(), resumed.size());
  for (size_t i = 0; i < whole.size(); ++i) EXPECT_TRUE(mx::array_equal(whole[i].second, resumed[i].second).item<bool>()) << whole[i].first;
}

TEST_F(ClassificationRun, FrozenLevelsStayAsTheyWere) {
  const auto before = checkpoint::load_weights(test::tiny_models().m2);
  for (const char* freeze : {"embeddings", "1", "encoder"}) {
    const Scratch scratch;
    const auto result = train({std::string("freeze=") + freeze, "save_folder=" + (scratch / "run").string(), "max_duration=1ep"});
    EXPECT_LT(result.trained_parameters, result.parameters);
    const int frozen = freeze[0] == 'e' && freeze[1] == 'm' ? 1 : freeze[0] == '1' ? 2 : 3;
    const auto after = checkpoint::load_weights(result.model);
    for (const auto& [name, old] : before) {
      for (const auto& [other, now] : after) {
        if (other != name || name.ends_with("position_ids") || name.ends_with("deltas") || name.ends_with("pos_emb.t")) continue;
        EXPECT_EQ(mx::array_equal(old, now).item<bool>(), optim::level_of(name, 2) < frozen) << freeze << ": " << name;
      }
    }
  }
}

TEST_F(ClassificationRun, EvaluatesSeveralSets) {
  const std::string sets = "eval_loader=[{name: labelled, label: one, file: " + at("eval.csv") +
                           ", tokenizer_name: " + test::tiny_models().m2 + "}, {name: labelled, label: two, file: " + at("train.csv") +
                           ", tokenizer_name: " + test::tiny_models().m2 + "}]";
  const auto result = train({sets, "max_duration=1ep", "metric_for_best_model=two/CrossEntropy"});
  ASSERT_EQ(result.evaluations.size(), 2U);
  EXPECT_EQ(result.evaluations[0].samples, 10);
  EXPECT_EQ(result.evaluations[1].samples, 24);
  const auto records = read_metrics(scratch_ / "run/metrics.jsonl");
  EXPECT_NE(records.back().find("metrics/eval/two/MulticlassAccuracy"), nullptr);
}

TEST_F(ClassificationRun, RefusesWhatCannotBe) {
  EXPECT_PRED2(has, error_of([&] { train({"metric_for_best_model=Acuracy"}); }), "wants one of this task's metrics, MulticlassAccuracy");
  EXPECT_PRED2(has, error_of([&] { train({"task={name: classification, class_weights: [1, 0]}"}); }), "wants a number above 0");
  EXPECT_PRED2(has, error_of([&] { train({"task={name: classification, class_weights: [1, 2, 3]}"}); }),
               "task.class_weights: there are 3 class weights for 2 labels");
  EXPECT_PRED2(has, error_of([&] { train({"early_stopping_patience=2"}); }), "wants metric_for_best_model");
  EXPECT_PRED2(has, error_of([&] { train({"early_stopping_threshold=0.1"}); }), "wants metric_for_best_model");
  EXPECT_PRED2(has, error_of([&] { train({"load_best_model_at_end=true"}); }), "wants metric_for_best_model");
  EXPECT_PRED2(has, error_of([&] { train({"model.model_config.problem_type=multi_label_classification"}); }),
               "its labels are those of a single_label_classification, the model is made for a multi_label_classification");
  EXPECT_PRED2(has, error_of([&] { train({"freeze=everything"}); }), "wants embeddings, encoder or a number of layers");
  EXPECT_PRED2(has, error_of([&] { train({"task=regression"}); }), "wants masked_lm, classification or retrieval");
  EXPECT_PRED2(has, error_of([&] { train({"optimizer.layer_decay=1.5"}); }), "wants a factor above 0 and at most 1");
  scratch_.put("other.csv", "text,label\na,unknown\n");
  EXPECT_PRED2(has, error_of([&] { train({"train_loader.file=" + at("other.csv")}); }), "other.csv:2");
}

}  // namespace
}  // namespace m2bert::train
