#include "m2bert/data/dataset_builder.h"

#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <set>

#include "m2bert/data/dataset_output.h"
#include "m2bert/data/mds_stream.h"
#include "mds_case.h"

namespace m2bert::data {
namespace {

namespace fs = std::filesystem;
using test::error_of;
using test::has;
using test::Scratch;
using Texts = std::vector<std::string>;

class DatasetBuilderTest : public ::testing::Test {
 protected:
  DatasetBuilderTest() {
    std::string lines;
    for (int i = 0; i < 300; ++i)
      lines += "Document number " + std::to_string(i) + " is about butterflies and moths.\n" + (i % 50 == 7 ? "\n \t\n" : "");
    options.inputs = {scratch.put("in.txt", lines)};
    options.out = scratch / "out";
    options.format = {.hashes = {"xxh64"}, .size_limit = 2000};
    options.save_seconds = 1e9;
  }
  BuildResult build() { return build_dataset(options, tokenizer); }
  std::string error() {
    return error_of([&] { build(); });
  }
  Texts read(const std::string& split) const {
    const MdsStream stream({.local = (options.out / split).string(), .validate_hash = "xxh64", .keep_raw = false});
    Texts texts;
    for (size_t i = 0; i < stream.index().shards.size(); ++i) {
      const auto shard = stream.open(i);
      for (uint64_t sample = 0; sample < shard->samples(); ++sample) texts.emplace_back(shard->field(sample, 0));
    }
    return texts;
  }
  // Every file of the output by name, except build.json, which names folders.
  static std::map<std::string, std::string> files(const fs::path& folder) {
    std::map<std::string, std::string> found;
    for (const auto& entry : fs::recursive_directory_iterator(folder))
      if (entry.is_regular_file() && entry.path().filename() != "build.json")
        found[fs::relative(entry.path(), folder).string()] = test::content_of(entry.path());
    return found;
  }

  Scratch scratch;
  BuildOptions options;
  tokenize::WordPiece tokenizer = tokenize::WordPiece::builtin();
};

TEST_F(DatasetBuilderTest, ADocumentALine) {
  const BuildResult result = build();
  EXPECT_EQ(result.counts.documents, 300u);
  EXPECT_EQ(result.counts.empty, 12u);
  ASSERT_EQ(result.splits.size(), 1u);
  EXPECT_GT(result.splits[0].shards, 5u);
  const Texts texts = read("train");
  ASSERT_EQ(texts.size(), 300u);
  EXPECT_EQ(texts[299], "Document number 299 is about butterflies and moths.");
  EXPECT_EQ(files(options.out).size(), result.splits[0].shards + 1);  // no temporary files are left
}

TEST_F(DatasetBuilderTest, CharactersAreCodePoints) {
  options.inputs = {scratch.put("wide.txt", "Grüße\n日本語です\nab\n")};
  options.max_chars = 3;
  EXPECT_EQ(build().counts.cut, 2u);
  EXPECT_EQ(read("train"), (Texts{"Grü", "日本語", "ab"}));
}

TEST_F(DatasetBuilderTest, LimitAndSkip) {
  options.inputs = {scratch.put("bad.txt", "one\n\xff\xfe\xfd\ntwo\nthree\n")};
  EXPECT_TRUE(has(error(), "bad.txt:2: is not UTF-8 from byte 0"));
  EXPECT_FALSE(fs::exists(options.out));
  options.documents.source.skip_bad = true;
  options.limit = 2;
  EXPECT_EQ(build().counts.bad, 1u);
  EXPECT_EQ(read("train"), (Texts{"one", "two"}));
}

TEST_F(DatasetBuilderTest, ValidationDataByFractionAndByCount) {
  options.val_fraction = 0.1;
  build();
  const Texts train = read("train"), val = read("val");
  EXPECT_EQ(train.size() + val.size(), 300u);
  EXPECT_NEAR(static_cast<double>(val.size()), 30, 1);
  std::set<std::string> all(train.begin(), train.end());
  all.insert(val.begin(), val.end());
  EXPECT_EQ(all.size(), 300u);
  options.out = scratch / "counted";
  options.val_fraction = 0;
  options.val_count = 17;
  options.val_split = "test";
  build();
  EXPECT_EQ(read("test").size(), 17u);
  EXPECT_EQ(read("train").size(), 283u);
}

TEST_F(DatasetBuilderTest, TokenSamples) {
  options.tokens = TokenPackOptions{.length = 16};
  const BuildResult result = build();
  std::vector<int32_t> joined, expected;
  for (const std::string& bytes : read("train")) {
    ASSERT_EQ(bytes.size(), 16 * sizeof(int64_t));
    std::vector<int64_t> ids(16);
    std::memcpy(ids.data(), bytes.data(), bytes.size());
    EXPECT_EQ(ids.front(), 101);
    EXPECT_EQ(ids.back(), 102);
    joined.insert(joined.end(), ids.begin() + 1, ids.end() - 1);
  }
  for (int i = 0; i < 300; ++i) {
    const auto ids =
        tokenizer.encode("Document number " + std::to_string(i) + " is about butterflies and moths.", {.add_special_tokens = false}).ids;
    expected.insert(expected.end(), ids.begin(), ids.end());
  }
  EXPECT_EQ(expected.size(), joined.size() + result.tokens_lost);
  expected.resize(joined.size());
  EXPECT_EQ(joined, expected);
}

TEST_F(DatasetBuilderTest, TheSameFilesWhateverTheThreads) {
  options.val_fraction = 0.2;
  options.format.compression = "zstd";
  for (const bool tokens : {false, true}) {
    if (tokens) options.tokens = TokenPackOptions{.length = 16};
    std::map<std::string, std::string> first;
    for (const int threads : {1, 4}) {
      options.threads = threads;
      options.out = scratch / (std::to_string(tokens) + "-" + std::to_string(threads));
      build();
      if (first.empty()) first = files(options.out);
      else EXPECT_TRUE(files(options.out) == first);
    }
    EXPECT_GT(first.size(), 6u);
  }
}

// Interrupts a run again and again and resumes it: the files are those of an uninterrupted run.
TEST_F(DatasetBuilderTest, AnInterruptedRunGoesOn) {
  struct Stopped {};
  options.val_fraction = 0.2;
  options.save_seconds = 0;
  options.tokenize_bytes = 500;
  for (const bool tokens : {false, true}) {
    if (tokens) options.tokens = TokenPackOptions{.length = 16};
    options.out = scratch / ("whole" + std::to_string(tokens));
    options.resume = false;
    options.progress = {};
    build();
    const auto whole = files(options.out);
    options.out = scratch / ("pieces" + std::to_string(tokens));
    int runs = 0;
    for (uint64_t stop = 1;; stop += 37, ++runs) {
      options.progress = [&](const BuildCounts& counts, std::optional<double>) {
        if (counts.documents >= stop && counts.documents < 300) throw Stopped();
      };
      options.resume = fs::exists(options.out / "building.part/state.json");
      try {
        build();
        break;
      } catch (const Stopped&) {
        EXPECT_FALSE(fs::exists(options.out / "train"));
      }
    }
    EXPECT_GT(runs, 5);
    EXPECT_TRUE(files(options.out) == whole) << tokens;
  }
}

TEST_F(DatasetBuilderTest, ChangedInputsAndOptionsCannotGoOn) {
  struct Stopped {};
  options.save_seconds = 0;
  options.progress = [](const BuildCounts& counts, std::optional<double>) {
    if (counts.documents == 100) throw Stopped();
  };
  EXPECT_THROW(build(), Stopped);
  options.progress = {};
  EXPECT_TRUE(has(error(), "--resume goes on with it"));
  options.resume = true;
  options.max_chars = 5;
  EXPECT_TRUE(has(error(), "max_chars was 0, is 5"));
  options.max_chars = 0;
  scratch.put("in.txt", "another text\n");
  EXPECT_TRUE(has(error(), "something changed since: input file " + (scratch / "in.txt").string() + " changed since. Put it back"));
  const fs::path whole = options.inputs[0];
  options.inputs = {scratch.put("other.txt", "x\n")};
  EXPECT_TRUE(has(error(), "input file 1 was " + whole.string() + ", is " + options.inputs[0].string()));
  options.inputs = {whole, whole};
  EXPECT_TRUE(has(error(), "the number of input files was 1, is 2"));
  options.inputs = {whole};
  options.tokens = TokenPackOptions{};
  EXPECT_TRUE(has(error(), "tokens was not set, is set"));
  options.tokens.reset();
  options.resume = false;
  options.overwrite = true;
  build();
  EXPECT_EQ(read("train"), (Texts{"another text"}));
}

TEST_F(DatasetBuilderTest, BadDocumentsMayBeLeftOutFromThereOn) {
  std::string lines;
  for (int i = 0; i < 100; ++i) lines += "Document " + std::to_string(i) + "\n" + (i == 90 ? "\xff\n" : "");
  options.inputs = {scratch.put("bad.txt", lines)};
  options.save_seconds = 0;
  EXPECT_TRUE(has(error(), "bad.txt:92: is not UTF-8"));
  options.resume = true;
  EXPECT_TRUE(has(error(), "bad.txt:92: is not UTF-8"));
  options.documents.source.skip_bad = true;
  options.save_seconds = 1e9;
  const BuildResult result = build();
  EXPECT_EQ(result.counts.documents, 100u);
  EXPECT_EQ(result.counts.bad, 1u);
  EXPECT_EQ(read("train").size(), 100u);
}

TEST_F(DatasetBuilderTest, ADamagedStateStaysAsItIs) {
  struct Stopped {};
  options.save_seconds = 0;
  options.progress = [](const BuildCounts& counts, std::optional<double>) {
    if (counts.documents == 100) throw Stopped();
  };
  EXPECT_THROW(build(), Stopped);
  options.resume = true;
  const fs::path file = options.out / "building.part/state.json";
  const std::string state = test::content_of(file);
  std::string other = state;
  other.replace(other.find("\"record\""), 8, "\"recrod\"");
  for (const std::string& damaged : {std::string(), state.substr(0, state.size() / 2), other}) {
    test::overwrite(file, damaged);
    const std::string message = error();
    EXPECT_TRUE(has(message, "building.part/state.json"));
    EXPECT_TRUE(has(message, "--overwrite starts anew"));
    EXPECT_EQ(test::content_of(file), damaged);
  }
  test::overwrite(file, state);
  options.progress = {};
  EXPECT_EQ(build().counts.documents, 300u);
}

TEST_F(DatasetBuilderTest, OverwritingLeavesNoOldValidationData) {
  options.val_fraction = 0.1;
  build();
  options.val_fraction = 0;
  options.overwrite = true;
  build();
  EXPECT_FALSE(fs::exists(options.out / "val"));
  EXPECT_EQ(read("train").size(), 300u);
}

TEST_F(DatasetBuilderTest, ResumingWhatIsDoneDoesNothing) {
  build();
  options.resume = true;
  EXPECT_TRUE(build().was_complete);
  options.documents.source.skip_bad = true;  // no document was bad
  EXPECT_TRUE(build().was_complete);
  options.val_fraction = 0.1;
  EXPECT_TRUE(has(error(), "is there already, made otherwise: val_fraction was 0.0, is 0.1; splits was "));
  options.resume = false;
  EXPECT_TRUE(has(error(), "is there already"));
}

TEST_F(DatasetBuilderTest, Problems) {
  options.val_fraction = 0.1;
  options.val_count = 5;
  EXPECT_TRUE(has(error(), "choose one"));
  options.val_count = 0;
  options.val_split = "train";
  EXPECT_TRUE(has(error(), "different names"));
  options.val_split = "../x";
  EXPECT_TRUE(has(error(), "'../x' is no name"));
  options.val_split = "val";
  options.val_fraction = 0;
  options.val_count = 301;
  EXPECT_TRUE(has(error(), "301 documents are wanted for validation, and there are 300"));
  options.val_count = 300;
  EXPECT_TRUE(has(error(), "there are no samples for train"));
  options.val_count = 0;
  options.inputs = {scratch.put("blank.txt", "\n\n  \n")};
  EXPECT_TRUE(has(error(), "there are no samples for train; the documents are too few, or all empty"));
  options.inputs = {scratch.put("few.txt", "a\n")};
  options.tokens = TokenPackOptions{.length = 16};
  EXPECT_TRUE(has(error(), "fewer tokens than one sample"));
  options.inputs = {scratch / "none.txt"};
  EXPECT_TRUE(has(error(), "none.txt: no such file"));
  options.inputs = {"-"};
  options.resume = true;
  EXPECT_TRUE(has(error(), "cannot be read again"));
  options.inputs = {};
  EXPECT_TRUE(has(error(), "no documents"));
  EXPECT_FALSE(fs::exists(options.out));
}

TEST_F(DatasetBuilderTest, ADamagedStateOfAnUnfinishedRunIsAnError) {
  const MdsFormat format = mds_format({.columns = {{"text", "str", {}}}, .size_limit = 300});
  io::Tree state;
  {
    DatasetOutput output(scratch.folder(), scratch / "pending", format, 2);
    for (int i = 0; i < 20; ++i) output.add(encode_mds_sample(format, {std::string("sample")}, "x"));
    state = output.save();
  }
  {
    DatasetOutput output(scratch.folder(), scratch / "pending", format, 2);
    output.restore(state);
    EXPECT_EQ(output.samples(), 20u);
  }
  const auto pending = scratch / ("pending." + std::to_string(parse_mds_index(state.at("index").string(), "i").shards.size()));
  const std::string content = test::content_of(pending);
  test::overwrite(pending, content.substr(0, content.size() - 1));
  EXPECT_TRUE(has(error_of([&] { DatasetOutput(scratch.folder(), scratch / "pending", format, 2).restore(state); }), "pending."));
  std::string lying = content;
  lying[0] = '\xff';
  test::overwrite(pending, lying);
  EXPECT_TRUE(has(error_of([&] { DatasetOutput(scratch.folder(), scratch / "pending", format, 2).restore(state); }), "is damaged"));
}

}  // namespace
}  // namespace m2bert::data
