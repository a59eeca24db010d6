#include "m2bert/data/text_config.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "m2bert/io/yaml.h"
#include "tests/support/paths.h"
#include "tests/support/scratch.h"

namespace m2bert::data {
namespace {

using test::error_of;
using test::has;

TextDataConfig read(const std::string& yaml) { return read_text_data_config(io::parse_yaml(yaml, "recipe.yaml")); }
std::string error(const std::string& yaml) {
  return error_of([&] { read(yaml); });
}

TEST(TextConfig, TheDefaults) {
  const TextDataConfig config = read("dataset: {local: data, max_seq_len: 128}");
  ASSERT_EQ(config.streams.size(), 1u);
  EXPECT_EQ(config.streams[0].data.local, "data");
  EXPECT_EQ(config.streams[0].data.fetch.attempts, 1 + 2);
  EXPECT_EQ(config.streams[0].data.fetch.timeout.count(), 60);
  EXPECT_TRUE(config.streams[0].data.keep_raw);
  EXPECT_FALSE(config.shuffle);
  EXPECT_EQ(config.shuffle_seed, 9176u);
  EXPECT_FALSE(config.mlm_probability);
  EXPECT_EQ(config.predownload, 100000u);
  EXPECT_TRUE(config.without_meaning.empty());
}

TEST(TextConfig, EveryKeyActsOrIsNamed) {
  const TextDataConfig config = read(R"(
name: text
drop_last: true
num_workers: 8
prefetch_factor: 3
persistent_workers: true
pin_memory: true
timeout: 2.5
dataset:
  remote: https://host/data
  local: cache
  split: train
  tokenizer_name: bert-base-uncased
  max_seq_len: 512
  shuffle: true
  shuffle_seed: 7
  shuffle_algo: naive
  predownload: 5
  num_canonical_nodes: 64
  partition_algo: orig
  keep_zip: true
  keep_raw: false
  validate_hash: sha1
  download_retry: 4
  download_timeout: 0.5
  samples_per_epoch: 1000
  mlm_probability: 0.3
  eos_token_id: 102
  masking: every
  mask_seed: 11
  skip_bad: true
)");
  EXPECT_TRUE(config.drop_last && config.shuffle && config.skip_bad);
  EXPECT_EQ(config.num_workers, 8);
  EXPECT_EQ(config.prefetch_factor, 3);
  EXPECT_EQ(config.timeout, 2.5);
  const MdsStreamConfig& place = config.streams.at(0).data;
  EXPECT_EQ(place.remote, "https://host/data");
  EXPECT_EQ(place.local, "cache");
  EXPECT_EQ(place.split, "train");
  EXPECT_EQ(place.validate_hash, "sha1");
  EXPECT_TRUE(place.keep_zip && !place.keep_raw);
  EXPECT_EQ(place.fetch.attempts, 5);
  EXPECT_EQ(place.fetch.timeout.count(), 1);
  EXPECT_EQ(config.max_seq_len, 512);
  EXPECT_EQ(config.shuffle_seed, 7u);
  EXPECT_EQ(config.shuffle_block_size, UINT64_MAX);
  EXPECT_EQ(config.predownload, 5u);
  EXPECT_EQ(config.samples_per_epoch, 1000u);
  EXPECT_EQ(config.mlm_probability, 0.3);
  EXPECT_EQ(config.eos_token_id, 102);
  EXPECT_EQ(config.masking, Masking::every);
  EXPECT_EQ(config.mask_seed, 11u);
  EXPECT_EQ(config.without_meaning,
            (std::vector<std::string>{"dataset.num_canonical_nodes", "dataset.partition_algo", "pin_memory", "persistent_workers"}));
}

TEST(TextConfig, StreamsInheritFromTheDataSet) {
  const TextDataConfig config = read(R"(
dataset:
  local: cache
  split: train
  keep_zip: true
  max_seq_len: 16
  streams:
    wiki: {remote: /wiki, local: cache/wiki, proportion: 0.7}
    books: {remote: /books, split: all, repeat: 2, keep_zip: false}
    web: {samples: 50}
)");
  ASSERT_EQ(config.streams.size(), 3u);
  EXPECT_EQ(config.streams[0].data.local, "cache/wiki");
  EXPECT_EQ(config.streams[0].data.split, "train");
  EXPECT_EQ(config.streams[0].weight.name, "dataset.streams.wiki");
  EXPECT_EQ(config.streams[0].weight.proportion, 0.7);
  EXPECT_EQ(config.streams[1].data.split, "all");
  EXPECT_FALSE(config.streams[1].data.keep_zip);
  EXPECT_EQ(config.streams[1].weight.repeat, 2.0);
  EXPECT_EQ(config.streams[2].weight.choose, 50u);
  EXPECT_EQ(config.streams[2].data.local, "cache");
}

TEST(TextConfig, NullCountsAsAbsent) {
  const TextDataConfig config =
      read("num_workers:\ndrop_last: null\ndataset: {local: d, remote: , split: , max_seq_len: 8, streams: , shuffle_algo: }");
  EXPECT_EQ(config.streams.at(0).data.remote, "");
  EXPECT_EQ(config.num_workers, 2);
}

TEST(TextConfig, ProblemsNameFileLineAndKey) {
  const std::string data = "dataset: {local: d, max_seq_len: 8";
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"name: text", "dataset"},
      {"name: finetune\ndataset: {local: d, max_seq_len: 8}", "recipe.yaml:1: name: wants text"},
      {"dataset: {max_seq_len: 8}", "names no place of the data"},
      {"dataset: {local: d}", "max_seq_len"},
      {"dataset: {local: d, max_seq_len: 2}", "max_seq_len"},
      {"dataset: 5", "dataset"},
      {"dataset:\n  local: d\n  max_seq_len: 8\n  shufle: true",
       "recipe.yaml:4: dataset.shufle: is not a setting of text data; did you mean shuffle?"},
      {"dataset:\n  local: d\n  max_seq_len: 8\n  colour: red", "dataset.colour: is not a setting of text data; there are remote, "},
      {"num_worker: 2\n" + data + "}", "num_worker: is not a setting"},
      {data + ", shuffle: maybe}", "shuffle"},
      {data + ", shuffle_algo: py9}", "shuffle_algo: wants naive"},
      {data + ", shuffle_block_size: 0}", "shuffle_block_size"},
      {data + ", mlm_probability: 1.5}", "mlm_probability: wants a number above 0 and at most 1"},
      {data + ", mlm_probability: 0}", "mlm_probability: wants a number above 0 and at most 1"},
      {data + ", mlm_probability: .nan}", "mlm_probability"},
      {data + ", masking: some}", "masking: wants random, every or given"},
      {data + ", eos_token_id: 1, bos_token_id: 2}", "both set"},
      {data + ", validate_hash: crc}", "validate_hash: wants the name of a hash"},
      {data + ", download_timeout: -1}", "download_timeout"},
      {data + ", download_retry: -1}", "download_retry"},
      {data + ", predownload: -1}", "predownload"},
      {data + ", streams: []}", "streams: wants a map"},
      {data + ", streams: {}}", "streams: wants a map"},
      {data + ", streams: {a: {proprtion: 1}}}", "dataset.streams.a.proprtion: is not a setting"},
      {"num_workers: -1\n" + data + "}", "num_workers"},
      {"prefetch_factor: 0\n" + data + "}", "prefetch_factor"},
      {"timeout: -1\n" + data + "}", "timeout"},
  };
  for (const auto& [yaml, part] : cases) EXPECT_TRUE(has(error(yaml), part)) << yaml;
}

TEST(TextConfig, ReadsUpstreamsRecipes) {
  const std::filesystem::path folder = test::shared_dir() / "yamls" / "pretrain";
  if (!std::filesystem::is_directory(folder)) GTEST_SKIP() << folder << " is absent";
  int found = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const io::Tree recipe = io::read_yaml(entry.path(), {"data_local=my-data"});
    for (const char* loader : {"train_loader", "eval_loader"}) {
      const TextDataConfig config = read_text_data_config(recipe.at(loader));
      EXPECT_GE(config.max_seq_len, 128) << entry.path();
      EXPECT_TRUE(config.mlm_probability.has_value()) << entry.path();
      ++found;
    }
  }
  EXPECT_GT(found, 0);
}

}  // namespace
}  // namespace m2bert::data
