// Runs on MDS data sets: text that is tokenized and masked on the fly, and upstream's 30 steps with given masks.
#include <filesystem>

#include "m2bert/data/mds_writer.h"
#include "m2bert/train/metrics_file.h"
#include "m2bert/train/run.h"
#include "tiny_run.h"

namespace m2bert::train {
namespace {

namespace fs = std::filesystem;
using test::error_of;
using test::has;
using test::Scratch;

std::string bytes_of_ids(const int32_t* ids, int count) {
  std::string bytes;
  for (int i = 0; i < count; ++i) {
    const int64_t id = ids[i];
    bytes.append(reinterpret_cast<const char*>(&id), sizeof id);
  }
  return bytes;
}

std::string vocabulary() {
  std::string lines = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n";
  for (int i = 5; i < 512; ++i) lines += "word" + std::to_string(i) + "\n";
  return lines;
}

// The fixture's batches as a data set of tokens and labels without padding.
void write_trainlog(const fs::path& folder) {
  const auto inputs = golden::load_tensors(trainlog() / "inputs.safetensors");
  auto values = [&](const char* name) {
    auto flat = mx::contiguous(mx::flatten(inputs.at(name)));
    flat.eval();
    return std::vector<int32_t>(flat.data<int32_t>(), flat.data<int32_t>() + flat.size());
  };
  const auto ids = values("input_ids"), mask = values("attention_mask"), labels = values("labels");
  data::MdsFormat format;
  format.columns = {{"tokens", "bytes", {}}, {"labels", "bytes", {}}};
  format = data::mds_format(format);
  ASSERT_EQ(format.columns[0].name, "labels");
  data::MdsWriter writer(folder, format);
  for (size_t row = 0; row < ids.size() / 32; ++row) {
    int tokens = 0;
    while (tokens < 32 && mask[row * 32 + size_t(tokens)] != 0) ++tokens;
    writer.write({bytes_of_ids(&labels[row * 32], tokens), bytes_of_ids(&ids[row * 32], tokens)});
  }
  writer.finish();
}

std::string loader(const std::string& folder, const std::string& more) {
  return "{name: text, dataset: {local: " + folder + ", max_seq_len: '${max_seq_len}', " + more + "}, drop_last: true}";
}

// The same losses and parameters again, from an MDS data set through loader and collator.
TEST(TextRun, IsTheReferencesRun) {
  const Scratch scratch;
  scratch.put("vocab.txt", vocabulary());
  write_trainlog(scratch / "data");
  const auto given = loader((scratch / "data").string(), "masking: given, tokenizer_name: " + (scratch / "vocab.txt").string());
  const auto result = run_trainlog(scratch, {"save_interval=1ba"}, given);
  EXPECT_EQ(result.time.batch, 30);
  const auto outputs = golden::load_tensors(trainlog() / "outputs.safetensors");
  const auto records = read_metrics(scratch / "run/metrics.jsonl");
  ASSERT_EQ(records.size(), 30U);
  for (int i = 0; i < 30; ++i) {
    const double want = mx::take(outputs.at("loss"), i, 0).item<float>();
    EXPECT_NEAR(*records[size_t(i)].find("loss/train/total"), want, 1e-4 * want) << i;
  }
  for (const int steps : {1, 2, 5, 10}) {
    const auto saved = golden::load_tensors(scratch / ("run/ep0-ba" + std::to_string(steps) + ".safetensors"));
    expect_upstream_parameters(steps, [&](const std::string& name) { return saved.at(name); });
  }
  EXPECT_TRUE(fs::exists(scratch / "run/model/vocab.txt"));
}

class TextRunOnText : public ::testing::Test {
 protected:
  TextRunOnText() {
    scratch_.put("vocab.txt", vocabulary());
    data::MdsFormat format;
    format.columns = {{"text", "str", {}}};
    data::MdsWriter writer(scratch_ / "data", data::mds_format(format));
    for (int i = 0; i < 50; ++i) {
      std::string text;
      for (int j = 0; j < 5 + i % 30; ++j) text += "word" + std::to_string(5 + (7 * i + 3 * j) % 500) + " ";
      writer.write({text});
    }
    writer.finish();
  }
  std::vector<std::string> overrides(std::vector<std::string> more = {}) const {
    const auto text =
        loader((scratch_ / "data").string(), "shuffle: true, mlm_probability: 0.3, tokenizer_name: " + (scratch_ / "vocab.txt").string());
    more.insert(more.begin(), {"train_loader=" + text, "eval_loader=${train_loader}", "max_duration=2ep", "save_interval=5ba",
                               "scheduler.t_warmup=0ba", "eval_interval=1ep", "algorithms.ema.half_life=10ba"});
    return more;
  }
  RunResult run(const Scratch& scratch, const std::vector<std::string>& more = {}) const {
    const auto text =
        loader((scratch_ / "data").string(), "shuffle: true, mlm_probability: 0.3, tokenizer_name: " + (scratch_ / "vocab.txt").string());
    return run_trainlog(scratch, overrides(more), text);
  }
  Scratch scratch_;
};

// 50 samples are 6 batches of 8 per epoch. A run resumed within an epoch or at its end equals the uninterrupted one.
TEST_F(TextRunOnText, ResumesBitForBit) {
  const auto result = run(scratch_);
  EXPECT_EQ(result.time.batch, 12);
  EXPECT_EQ(result.time.epoch, 2);
  ASSERT_FALSE(result.evaluations.empty());
  EXPECT_EQ(result.evaluations.front().samples, 48);
  for (const char* name : {"ep0-ba5.safetensors", "ep1-ba10.safetensors"}) {
    const Scratch part;
    fs::create_directories(part / "run");
    fs::copy_file(scratch_ / "run" / name, part / "run" / name);
    fs::copy_file(scratch_ / "run/metrics.jsonl", part / "run/metrics.jsonl");
    run(part, {"autoresume=true"});
    EXPECT_EQ(bytes_of(part / "run/model/model.safetensors"), bytes_of(scratch_ / "run/model/model.safetensors")) << name;
    EXPECT_EQ(bytes_of(part / "run/metrics.jsonl"), bytes_of(scratch_ / "run/metrics.jsonl")) << name;
  }
}

// The 24 samples of three batches of 8 are done; the other 26 of the epoch are 6 batches of 4, and the next epoch has 12.
TEST_F(TextRunOnText, GoesOnWithAnotherBatchSizeInMidEpoch) {
  run(scratch_, {"max_duration=3ba"});
  const auto result = run(scratch_, {"global_train_batch_size=4", "autoresume=true"});
  EXPECT_EQ(result.time.batch, 3 + 6 + 12);
  EXPECT_EQ(result.time.sample, 24 + 24 + 48);
  EXPECT_EQ(result.time.epoch, 2);
}

TEST_F(TextRunOnText, TheSeedDecidesTheMasks) {
  const Scratch one, two, other;
  run(one, {"max_duration=2ba"});
  run(two, {"max_duration=2ba"});
  run(other, {"max_duration=2ba", "seed=18"});
  EXPECT_EQ(bytes_of(one / "run/metrics.jsonl"), bytes_of(two / "run/metrics.jsonl"));
  EXPECT_NE(bytes_of(one / "run/metrics.jsonl"), bytes_of(other / "run/metrics.jsonl"));
}

TEST_F(TextRunOnText, AShortLastBatchCountsToo) {
  const auto result = run(scratch_, {"train_loader.drop_last=false", "eval_loader=null", "max_duration=1ep"});
  EXPECT_EQ(result.time.batch, 7);
  EXPECT_EQ(result.time.sample, 50);
}

TEST_F(TextRunOnText, SaysWhatDoesNotFit) {
  const auto error = [&](const std::vector<std::string>& more) { return error_of([&] { run(scratch_, more); }); };
  EXPECT_PRED2(has, error({"train_loader.dataset.local=/nowhere"}), "/nowhere");
  EXPECT_PRED2(has, error({"train_loader.dataset.max_seq_len=64"}),
               "train_loader.dataset.max_seq_len: the texts have up to 64 tokens, the model takes 32");
  EXPECT_PRED2(has, error({"train_loader.dataset.tokenizer_name=bert-base-uncased"}), "the tokenizer has 30522 tokens");
  EXPECT_PRED2(has, error({"train_loader.dataset.max_length=3"}), "train_loader.dataset.max_length");
  EXPECT_PRED2(has, error({"train_loader.dataset.padding_multiple=5"}), "padding_multiple: wants a divisor of max_seq_len");
  EXPECT_PRED2(has, error({"global_train_batch_size=64"}), "not one batch of 64");
}

// Damaged shards are skipped on request, and the run still ends where it should.
TEST_F(TextRunOnText, GoesOnWithoutDamagedSamples) {
  const fs::path shard = scratch_ / "data/shard.00000.mds";
  std::string bytes = bytes_of(shard);
  bytes[bytes.size() - 2] = '\xff';  // invalid UTF-8 in the last sample
  scratch_.put("data/shard.00000.mds", bytes);
  EXPECT_PRED2(has, error_of([&] { run(scratch_); }), "shard.00000.mds");
  const Scratch good;
  const auto result = run(good, {"train_loader.dataset.skip_bad=true", "eval_loader=null", "train_loader.drop_last=false"});
  EXPECT_EQ(result.time.batch, 14);
  EXPECT_EQ(result.time.sample, 98);
}

}  // namespace
}  // namespace m2bert::train
