// Every pretraining recipe, upstream's and those of recipes/pretrain, trains a smaller model on a few texts.
#include <gtest/gtest.h>

#include <filesystem>

#include "m2bert/data/mds_writer.h"
#include "m2bert/io/json.h"
#include "tests/cli/program.h"
#include "tests/support/paths.h"
#include "tests/support/scratch.h"

namespace m2bert::test {
namespace {

namespace fs = std::filesystem;

fs::path upstream_recipes() { return shared_dir() / "yamls/pretrain"; }

void write_texts(const fs::path& folder, int count) {
  data::MdsFormat format;
  format.columns = {{"text", "str", {}}};
  data::MdsWriter writer(folder, data::mds_format(format));
  for (int i = 0; i < count; ++i) {
    writer.write({"Text number " + std::to_string(i) + " says that monarchs migrate south in the autumn and come back in the spring."});
  }
  writer.finish();
}

// The names of the data sets that the recipes use.
class PretrainRecipes : public ::testing::Test {
 protected:
  PretrainRecipes() {
    for (const char* name : {"c4", "my-copy-wikipedia-2048", "my-copy-bookcorpus-variable", "my-copy-c4-variable"}) {
      write_texts(scratch_ / name / "train", 20);
      write_texts(scratch_ / name / "val", 6);
    }
  }

  void train(const fs::path& recipe) {
    SCOPED_TRACE(recipe.filename());
    const std::string name = recipe.filename().string();
    const bool several = name.find("2k-input") != std::string::npos;
    std::vector<std::string> arguments = {"pretrain", recipe.string(), "--json", "--threads", "1"};
    for (const char* smaller :
         {"model.model_config.num_hidden_layers=1", "model.model_config.hidden_size=48", "model.model_config.intermediate_size=96",
          "max_seq_len=32", "max_duration=12sp", "global_train_batch_size=4", "global_eval_batch_size=4", "device_train_microbatch_size=2",
          "eval_interval=2ba", "eval_subset_num_batches=1", "train_loader.num_workers=1", "eval_loader.num_workers=1"}) {
      arguments.emplace_back(smaller);
    }
    arguments.push_back((several ? "combined_folder_path=" : "data_local=") + (scratch_ / (several ? "" : "c4")).string());
    if (several) arguments.emplace_back("padding_multiple=32");
    arguments.push_back("save_folder=" + (scratch_ / ("run-" + name)).string());
    const auto outcome = run(arguments);
    ASSERT_EQ(outcome.code, 0) << outcome.err;
    const auto lines = json_lines(outcome.out);
    ASSERT_EQ(lines.size(), 1U);
    EXPECT_EQ(lines[0].at("batches").integer(), 3);
    EXPECT_GT(lines[0].at("loss").number(), 5);  // near log 30522 = 10.3: nothing is learned in three batches
    EXPECT_LT(lines[0].at("loss").number(), 12);
    EXPECT_EQ(lines[0].at("evaluation").at("samples").integer(), 4);
  }
  Scratch scratch_;
};

TEST_F(PretrainRecipes, OfTheReference) {
  if (!fs::exists(upstream_recipes())) GTEST_SKIP() << "upstream's recipes are not beside this checkout: " << upstream_recipes();
  int count = 0;
  for (const auto& file : fs::directory_iterator(upstream_recipes())) {
    train(file.path());
    ++count;
  }
  EXPECT_EQ(count, 7);
}

TEST_F(PretrainRecipes, Ours) {
  int count = 0;
  for (const auto& file : fs::directory_iterator(fs::path(M2BERT_SOURCE_DIR) / "recipes/pretrain")) {
    train(file.path());
    ++count;
  }
  EXPECT_GE(count, 3);
}

}  // namespace
}  // namespace m2bert::test
