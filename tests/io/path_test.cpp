#include "m2bert/io/path.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "m2bert/io/file.h"
#include "tests/support/scratch.h"

namespace m2bert::io {
namespace {

namespace fs = std::filesystem;
using test::error_of;
using test::has;
using test::Scratch;

TEST(Path, LinksAreFollowedAlsoToWhatIsNotThereYet) {
  const Scratch scratch;
  fs::create_directory(scratch / "store");
  fs::create_symlink("store/a.npy", scratch / "direct");
  fs::create_symlink(scratch / "direct", scratch / "indirect");
  EXPECT_EQ(follow_links(scratch / "indirect"), scratch / "store/a.npy");
  EXPECT_EQ(follow_links(scratch / "plain"), scratch / "plain");
  EXPECT_EQ(follow_links("/dev/stdout"), "/dev/stdout");
  fs::create_symlink("loop", scratch / "loop");
  EXPECT_TRUE(has(error_of([&] { follow_links(scratch / "loop"); }), "loop of symbolic links"));
}

TEST(Path, StreamsAreWrittenInOrder) {
  const Scratch scratch;
  const fs::path fifo = scratch / "fifo";
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  fs::create_symlink(fifo, scratch / "link");
  for (const fs::path& path : {fifo, scratch / "link", fs::path("/dev/null"), fs::path("/dev/stdout"), fs::path("/dev/fd/1")})
    EXPECT_TRUE(is_stream(path)) << path;
  for (const fs::path& path : {scratch.folder(), scratch.put("file", ""), scratch / "none", fs::path("/dev/fd/x")})
    EXPECT_FALSE(is_stream(path)) << path;
}

TEST(Path, ADescriptorGoesOnWhereItIs) {
  const Scratch scratch;
  const int fd = ::open((scratch / "out").c_str(), O_RDWR | O_CREAT, 0600);
  ASSERT_EQ(::write(fd, "head\n", 5), 5);
  write_file("/dev/fd/" + std::to_string(fd), "body\n");
  ::close(fd);
  EXPECT_EQ(read_file(scratch / "out"), "head\nbody\n");
  EXPECT_EQ(scratch.files(), 1u);
}

TEST(Path, WhatCannotBeWrittenSaysWhy) {
  const Scratch scratch;
  fs::create_directory(scratch / "folder");
  scratch.put("file", "");
  fs::create_symlink("nowhere/a", scratch / "dangling");
  fs::create_symlink("loop", scratch / "loop");
  const auto why = [&](const fs::path& path) { return error_of([&] { writable_path(path); }); };
  EXPECT_TRUE(has(why(""), "empty"));
  EXPECT_TRUE(has(why(scratch / "folder"), "is a folder"));
  EXPECT_TRUE(has(why(scratch / "folder/"), "folder"));
  EXPECT_TRUE(has(why(scratch / "no/a"), "/no does not exist"));
  EXPECT_TRUE(has(why(scratch / "file/a"), "file is a file, not a folder"));
  EXPECT_TRUE(has(why(scratch / "dangling"), "nowhere does not exist"));
  EXPECT_TRUE(has(why(scratch / "loop"), "loop of symbolic links"));
  EXPECT_TRUE(has(why(scratch / "loop/a"), "loop of symbolic links"));
  EXPECT_EQ(writable_path("a"), "a");
}

TEST(Path, ALinkStaysWhenItIsWritten) {
  const Scratch scratch;
  fs::create_directory(scratch / "store");
  scratch.put("store/old", "old");
  fs::create_symlink("store/old", scratch / "to_old");
  fs::create_symlink("store/new", scratch / "to_new");
  write_file(scratch / "to_old", "content");
  write_file(scratch / "to_new", "content");
  EXPECT_TRUE(fs::is_symlink(scratch / "to_old") && fs::is_symlink(scratch / "to_new"));
  EXPECT_EQ(read_file(scratch / "store/old"), "content");
  EXPECT_EQ(read_file(scratch / "store/new"), "content");
  EXPECT_EQ(scratch.files(), 3u);
}

TEST(Path, ErrorsOfTheStandardLibraryArePlain) {
  const Scratch scratch;
  fs::create_symlink("loop", scratch / "loop");
  const auto message = [](const fs::path& path) -> std::string {
    try {
      (void)fs::file_size(path);
    } catch (const std::exception& error) {
      return message_of(error);
    }
    return "";
  };
  EXPECT_EQ(message(scratch / "loop"), (scratch / "loop").string() + ": is a loop of symbolic links");
  EXPECT_EQ(message(scratch / "none"), (scratch / "none").string() + ": no such file or folder");
  EXPECT_EQ(message_of(std::runtime_error("as it is")), "as it is");
}

}  // namespace
}  // namespace m2bert::io
