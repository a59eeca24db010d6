#include "m2bert/data/staging_folder.h"

#include <gtest/gtest.h>

#include "m2bert/io/file.h"
#include "mds_case.h"

namespace m2bert::data {
namespace {

namespace fs = std::filesystem;
using test::error_of;
using test::has;
using test::Scratch;

class StagingFolderTest : public ::testing::Test {
 protected:
  void make(const std::string& content, const StagingFolderOptions& options = {}, const io::Tree& settings = {{"a", 1}}) {
    StagingFolder part(out, {"train", "val"}, settings, options);
    for (const char* name : {"train", "val"}) io::write_file(part.staged(name) / "x", content + name);
    part.finish({{"n", 2}});
  }
  std::string error(const StagingFolderOptions& options, const io::Tree& settings = {{"a", 1}}) {
    return error_of([&] { StagingFolder(out, {"train", "val"}, settings, options); });
  }
  Scratch scratch;
  fs::path out = scratch / "out";
};

TEST_F(StagingFolderTest, FoldersAppearWhenTheyAreComplete) {
  {
    StagingFolder part(out, {"train"}, io::Tree::map(), {});
    io::write_file(part.staged("train") / "x", "content");
    EXPECT_FALSE(fs::exists(out / "train"));
    part.finish(io::Tree::map());
  }
  EXPECT_EQ(test::content_of(out / "train/x"), "content");
  EXPECT_TRUE(fs::exists(out / "train/build.json"));
  EXPECT_FALSE(fs::exists(out / "building.part"));
}

TEST_F(StagingFolderTest, WithoutASavedStateNothingIsLeft) {
  {
    StagingFolder part(out, {"train"}, io::Tree::map(), {});
  }
  EXPECT_FALSE(fs::exists(out));
  fs::create_directories(out / "other");
  {
    StagingFolder part(out, {"train"}, io::Tree::map(), {});
  }
  EXPECT_TRUE(fs::exists(out / "other"));
  EXPECT_FALSE(fs::exists(out / "building.part"));
}

TEST_F(StagingFolderTest, ReplacesFoldersOnlyWithOverwrite) {
  make("one ");
  EXPECT_TRUE(has(error({}), "out/train: is there already; --overwrite replaces it"));
  EXPECT_EQ(test::content_of(out / "train/x"), "one train");
  make("two ", {.overwrite = true});
  EXPECT_EQ(test::content_of(out / "val/x"), "two val");
}

TEST_F(StagingFolderTest, ResumesWithTheSameSettings) {
  {
    StagingFolder part(out, {"train", "val"}, {{"a", 1}}, {});
    EXPECT_FALSE(part.saved());
    io::write_file(part.staged("train") / "x", "kept");
    part.save({{"done", 7}});
  }
  EXPECT_TRUE(has(error({}), "an unfinished run is there; --resume goes on with it"));
  EXPECT_TRUE(has(error({.resume = true}, {{"a", 2}, {"b", "x"}}), "a was 1, is 2; b was not set, is \"x\""));
  {
    StagingFolder part(out, {"train", "val"}, {{"a", 1}}, {.resume = true});
    EXPECT_EQ(part.saved()->at("done").integer(), 7);
    EXPECT_EQ(test::content_of(part.staged("train") / "x"), "kept");
  }
  StagingFolder part(out, {"train", "val"}, {{"a", 1}}, {.overwrite = true});
  EXPECT_FALSE(part.saved());
  EXPECT_FALSE(fs::exists(part.staged("train") / "x"));
}

TEST_F(StagingFolderTest, AFinishedRunIsComplete) {
  make("one ");
  EXPECT_TRUE(StagingFolder(out, {"train", "val"}, {{"a", 1}}, {.resume = true}).complete());
  EXPECT_TRUE(has(error({.resume = true}, {{"a", 2}}), "out/train: is there already, made otherwise: a was 1, is 2; --overwrite"));
  EXPECT_EQ(test::content_of(out / "train/x"), "one train");
}

// A run was killed between its last renames.
TEST_F(StagingFolderTest, FinishesTheRenamesOfARunThatWasKilled) {
  make("one ");
  fs::create_directories(out / "building.part");
  fs::rename(out / "val", out / "building.part/val");
  io::write_file(out / "building.part/state.json",
                 R"({"settings":{"a":1,"splits":["train","val"]},"overwrite":false,"finished":true,"run":{}})");
  EXPECT_TRUE(StagingFolder(out, {"train", "val"}, {{"a", 1}}, {.resume = true}).complete());
  EXPECT_EQ(test::content_of(out / "val/x"), "one val");
  EXPECT_FALSE(fs::exists(out / "building.part"));
}

// Or before the first of them: outdated folders are still removed.
TEST_F(StagingFolderTest, OtherFoldersOfTheReplacedRunAreRemoved) {
  const auto make_train = [&] {
    StagingFolder part(out, {"train"}, {{"a", 2}}, {.overwrite = true});
    io::write_file(part.staged("train") / "x", "new");
    part.finish(io::Tree::map());
  };
  make("one ");
  make_train();
  EXPECT_EQ(test::content_of(out / "train/x"), "new");
  EXPECT_FALSE(fs::exists(out / "val"));
  make("two ", {.overwrite = true});
  fs::create_directories(out / "building.part/train");
  io::write_file(out / "building.part/state.json",
                 R"({"settings":{"a":2,"splits":["train"]},"overwrite":true,"finished":true,"outdated":["val"],"run":{}})");
  EXPECT_TRUE(StagingFolder(out, {"train"}, {{"a", 2}}, {.resume = true}).complete());
  EXPECT_FALSE(fs::exists(out / "val"));
  EXPECT_FALSE(fs::exists(out / "building.part"));
}

TEST_F(StagingFolderTest, FoldersOfOtherRunsStay) {
  const auto make_one = [&](const std::string& name, int a) {
    StagingFolder part(out, {name}, {{"a", a}}, {.overwrite = true});
    part.finish(io::Tree::map());
  };
  make("one ");
  make_one("val", 5);  // its training data stays too
  EXPECT_TRUE(fs::exists(out / "train"));
  make_one("other", 1);
  make_one("train", 6);
  EXPECT_TRUE(fs::exists(out / "val"));
  EXPECT_TRUE(fs::exists(out / "other"));
}

TEST_F(StagingFolderTest, ADamagedStateIsAnErrorAndNothingIsChanged) {
  const fs::path state = out / "building.part/state.json";
  {
    StagingFolder part(out, {"train", "val"}, {{"a", 1}}, {});
    io::write_file(part.staged("train") / "x", "kept");
    part.save(io::Tree::map());
  }
  for (const char* content : {"", "{", "[]", R"({"settings":{"a":1}})", R"({"settings":1,"overwrite":false,"finished":true,"run":{}})"}) {
    test::overwrite(state, content);
    EXPECT_TRUE(has(error({.resume = true}), "building.part/state.json"));
    EXPECT_TRUE(has(error({.resume = true}), "--overwrite starts anew"));
    EXPECT_EQ(test::content_of(state), content);
    EXPECT_EQ(test::content_of(out / "building.part/train/x"), "kept");
  }
}

TEST_F(StagingFolderTest, OnlyListedSettingsMayTurnOn) {
  {
    StagingFolder part(out, {"train", "val"}, {{"a", false}, {"b", false}}, {});
    part.save(io::Tree::map());
  }
  const StagingFolderOptions options{.resume = true, .may_turn_on = {"a"}};
  EXPECT_TRUE(has(error(options, {{"a", false}, {"b", true}}), "b was false, is true"));
  {
    StagingFolder part(out, {"train", "val"}, {{"a", true}, {"b", false}}, options);
    part.save(io::Tree::map());
  }
  EXPECT_TRUE(has(error(options, {{"a", false}, {"b", false}}), "a was true, is false"));
}

TEST_F(StagingFolderTest, OneRunAtATime) {
  StagingFolder part(out, {"train"}, io::Tree::map(), {});
  EXPECT_TRUE(has(error_of([&] { StagingFolder(out, {"val"}, io::Tree::map(), {}); }), "another run of m2bert builds there"));
  io::write_file(part.staged("train") / "x", "content");
  part.finish(io::Tree::map());
  EXPECT_EQ(test::content_of(out / "train/x"), "content");
}

TEST_F(StagingFolderTest, AFileIsNoFolder) {
  scratch.put("out", "");
  EXPECT_TRUE(has(error({}), "is a file, wants the name of a folder"));
}

}  // namespace
}  // namespace m2bert::data
