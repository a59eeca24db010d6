#include "m2bert/data/part_folder.h"

#include <gtest/gtest.h>

#include "m2bert/io/file.h"
#include "mds_case.h"

namespace m2bert::data {
namespace {

namespace fs = std::filesystem;
using test::error_of;
using test::has;
using test::Scratch;

class PartFolderTest : public ::testing::Test {
 protected:
  void make(const std::string& content, const PartFolderOptions& options = {}, const io::Tree& settings = {{"a", 1}}) {
    PartFolder part(out, {"train", "val"}, settings, options);
    for (const char* name : {"train", "val"}) io::write_file(part.growing(name) / "x", content + name);
    part.finish({{"n", 2}});
  }
  std::string error(const PartFolderOptions& options, const io::Tree& settings = {{"a", 1}}) {
    return error_of([&] { PartFolder(out, {"train", "val"}, settings, options); });
  }
  Scratch scratch;
  fs::path out = scratch / "out";
};

TEST_F(PartFolderTest, FoldersAppearWhenTheyAreWhole) {
  {
    PartFolder part(out, {"train"}, io::Tree::map(), {});
    io::write_file(part.growing("train") / "x", "content");
    EXPECT_FALSE(fs::exists(out / "train"));
    part.finish(io::Tree::map());
  }
  EXPECT_EQ(test::content_of(out / "train/x"), "content");
  EXPECT_TRUE(fs::exists(out / "train/build.json"));
  EXPECT_FALSE(fs::exists(out / "building.part"));
}

TEST_F(PartFolderTest, WithoutAStateNothingStays) {
  {
    PartFolder part(out, {"train"}, io::Tree::map(), {});
  }
  EXPECT_FALSE(fs::exists(out));
  fs::create_directories(out / "other");
  {
    PartFolder part(out, {"train"}, io::Tree::map(), {});
  }
  EXPECT_TRUE(fs::exists(out / "other"));
  EXPECT_FALSE(fs::exists(out / "building.part"));
}

TEST_F(PartFolderTest, WhatIsThereIsReplacedOnlyWhenTold) {
  make("one ");
  EXPECT_TRUE(has(error({}), "out/train: is there already; --overwrite replaces it"));
  EXPECT_EQ(test::content_of(out / "train/x"), "one train");
  make("two ", {.overwrite = true});
  EXPECT_EQ(test::content_of(out / "val/x"), "two val");
}

TEST_F(PartFolderTest, GoesOnWithTheSameSettings) {
  {
    PartFolder part(out, {"train", "val"}, {{"a", 1}}, {});
    EXPECT_FALSE(part.saved());
    io::write_file(part.growing("train") / "x", "kept");
    part.save({{"done", 7}});
  }
  EXPECT_TRUE(has(error({}), "an unfinished run is there; --resume goes on with it"));
  EXPECT_TRUE(has(error({.resume = true}, {{"a", 2}, {"b", "x"}}), "a was 1, is 2; b was not set, is \"x\""));
  {
    PartFolder part(out, {"train", "val"}, {{"a", 1}}, {.resume = true});
    EXPECT_EQ(part.saved()->at("done").integer(), 7);
    EXPECT_EQ(test::content_of(part.growing("train") / "x"), "kept");
  }
  PartFolder part(out, {"train", "val"}, {{"a", 1}}, {.overwrite = true});
  EXPECT_FALSE(part.saved());
  EXPECT_FALSE(fs::exists(part.growing("train") / "x"));
}

TEST_F(PartFolderTest, AFinishedRunIsComplete) {
  make("one ");
  EXPECT_TRUE(PartFolder(out, {"train", "val"}, {{"a", 1}}, {.resume = true}).complete());
  EXPECT_TRUE(has(error({.resume = true}, {{"a", 2}}), "out/train: is there already, made otherwise: a was 1, is 2; --overwrite"));
  EXPECT_EQ(test::content_of(out / "train/x"), "one train");
}

// A run that was killed between two of its last renames.
TEST_F(PartFolderTest, FinishesTheRenamesOfARunThatWasKilled) {
  make("one ");
  fs::create_directories(out / "building.part");
  fs::rename(out / "val", out / "building.part/val");
  io::write_file(out / "building.part/state.json",
                 R"({"settings":{"a":1,"splits":["train","val"]},"overwrite":false,"finished":true,"run":{}})");
  EXPECT_TRUE(PartFolder(out, {"train", "val"}, {{"a", 1}}, {.resume = true}).complete());
  EXPECT_EQ(test::content_of(out / "val/x"), "one val");
  EXPECT_FALSE(fs::exists(out / "building.part"));
}

// Or before the first of them: what is out of date still goes.
TEST_F(PartFolderTest, WhatWasMadeWithTheReplacedFolderGoesToo) {
  const auto make_train = [&] {
    PartFolder part(out, {"train"}, {{"a", 2}}, {.overwrite = true});
    io::write_file(part.growing("train") / "x", "new");
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
  EXPECT_TRUE(PartFolder(out, {"train"}, {{"a", 2}}, {.resume = true}).complete());
  EXPECT_FALSE(fs::exists(out / "val"));
  EXPECT_FALSE(fs::exists(out / "building.part"));
}

TEST_F(PartFolderTest, WhatOtherRunsMadeStays) {
  const auto make_one = [&](const std::string& name, int a) {
    PartFolder part(out, {name}, {{"a", a}}, {.overwrite = true});
    part.finish(io::Tree::map());
  };
  make("one ");
  make_one("val", 5);  // also: its training data is not out of date
  EXPECT_TRUE(fs::exists(out / "train"));
  make_one("other", 1);
  make_one("train", 6);
  EXPECT_TRUE(fs::exists(out / "val"));
  EXPECT_TRUE(fs::exists(out / "other"));
}

TEST_F(PartFolderTest, ADamagedStateIsAnErrorThatTouchesNothing) {
  const fs::path state = out / "building.part/state.json";
  {
    PartFolder part(out, {"train", "val"}, {{"a", 1}}, {});
    io::write_file(part.growing("train") / "x", "kept");
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

TEST_F(PartFolderTest, ASettingMayTurnOnWhereThatIsTold) {
  {
    PartFolder part(out, {"train", "val"}, {{"a", false}, {"b", false}}, {});
    part.save(io::Tree::map());
  }
  const PartFolderOptions options{.resume = true, .may_turn_on = {"a"}};
  EXPECT_TRUE(has(error(options, {{"a", false}, {"b", true}}), "b was false, is true"));
  {
    PartFolder part(out, {"train", "val"}, {{"a", true}, {"b", false}}, options);
    part.save(io::Tree::map());
  }
  EXPECT_TRUE(has(error(options, {{"a", false}, {"b", false}}), "a was true, is false"));
}

TEST_F(PartFolderTest, OneRunAtATime) {
  PartFolder part(out, {"train"}, io::Tree::map(), {});
  EXPECT_TRUE(has(error_of([&] { PartFolder(out, {"val"}, io::Tree::map(), {}); }), "another run of m2bert builds there"));
  io::write_file(part.growing("train") / "x", "content");
  part.finish(io::Tree::map());
  EXPECT_EQ(test::content_of(out / "train/x"), "content");
}

TEST_F(PartFolderTest, AFileIsNoFolder) {
  scratch.put("out", "");
  EXPECT_TRUE(has(error({}), "is a file, wants the name of a folder"));
}

}  // namespace
}  // namespace m2bert::data
