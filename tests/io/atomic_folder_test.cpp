#include "m2bert/io/atomic_folder.h"

#include <gtest/gtest.h>

#include "m2bert/error.h"
#include "m2bert/io/file.h"
#include "m2bert/io/temporaries.h"
#include "tests/support/scratch.h"

namespace m2bert::io {
namespace {

namespace fs = std::filesystem;
using test::Scratch;

void put_old(const Scratch& scratch, const std::string& folder) {
  fs::create_directory(scratch / folder);
  scratch.put(folder + "/old.txt", "old");
}

TEST(AtomicFolder, AppearsWithCommit) {
  const Scratch scratch;
  AtomicFolder folder(scratch / "out");
  write_file(folder.file("a/b.txt"), "1");
  EXPECT_FALSE(fs::exists(scratch / "out"));
  folder.commit();
  EXPECT_EQ(read_file(scratch / "out/a/b.txt"), "1");
  EXPECT_EQ(scratch.files(), 1u);
}

TEST(AtomicFolder, ReplacesTheWholeOldFolder) {
  const Scratch scratch;
  put_old(scratch, "out");
  AtomicFolder folder((scratch / "out").string() + "/");
  write_file(folder.file("new.txt"), "new");
  EXPECT_TRUE(fs::exists(scratch / "out/old.txt"));
  folder.commit();
  EXPECT_FALSE(fs::exists(scratch / "out/old.txt"));
  EXPECT_EQ(read_file(scratch / "out/new.txt"), "new");
  EXPECT_EQ(scratch.files(), 1u);
}

TEST(AtomicFolder, WithoutCommitNothingChanges) {
  const Scratch scratch;
  put_old(scratch, "out");
  {
    AtomicFolder folder(scratch / "out");
    write_file(folder.file("new.txt"), "new");
  }
  EXPECT_EQ(read_file(scratch / "out/old.txt"), "old");
  EXPECT_EQ(scratch.files(), 1u);
}

TEST(AtomicFolder, FollowsALink) {
  const Scratch scratch;
  put_old(scratch, "real");
  fs::create_directory_symlink(scratch / "real", scratch / "link");
  AtomicFolder folder(scratch / "link");
  write_file(folder.file("new.txt"), "new");
  folder.commit();
  EXPECT_TRUE(fs::is_symlink(scratch / "link"));
  EXPECT_FALSE(fs::exists(scratch / "real/old.txt"));
  EXPECT_EQ(read_file(scratch / "real/new.txt"), "new");
}

TEST(AtomicFolder, ASignalRemovesTheTemporary) {
  const Scratch scratch;
  AtomicFolder folder(scratch / "out");
  write_file(folder.file("a/b/c.txt"), "1");
  remove_temporaries();
  EXPECT_EQ(scratch.files(), 0u);
}

TEST(AtomicFolder, InTheCurrentFolder) {
  const Scratch scratch;
  const fs::path before = fs::current_path();
  fs::current_path(scratch.folder());
  for (int i = 0; i < 2; ++i) {
    AtomicFolder folder("out");
    write_file(folder.file("a.txt"), "1");
    folder.commit();
  }
  fs::current_path(before);
  EXPECT_EQ(read_file(scratch / "out/a.txt"), "1");
}

TEST(AtomicFolder, MakesTheFoldersAroundIt) {
  const Scratch scratch;
  AtomicFolder folder(scratch / "a/b");
  write_file(folder.file("c.txt"), "1");
  folder.commit();
  EXPECT_EQ(read_file(scratch / "a/b/c.txt"), "1");
  const std::string file = scratch.put("file", "").string();
  EXPECT_TRUE(test::has(test::error_of([&] { AtomicFolder(file + "/out"); }), "cannot make the folder"));
}

}  // namespace
}  // namespace m2bert::io
