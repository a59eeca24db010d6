#include "m2bert/io/file.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <csignal>
#include <cstring>
#include <utility>

#include "tests/support/scratch.h"

namespace m2bert::io {
namespace {

using test::error_of;
using test::has;
using test::Scratch;

std::string text_of(std::span<const std::byte> bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

// Writing more than this many bytes to a file fails as on a full disk (EFBIG instead of ENOSPC).
class FileLimit {
 public:
  explicit FileLimit(rlim_t bytes) {
    std::signal(SIGXFSZ, SIG_IGN);
    ::getrlimit(RLIMIT_FSIZE, &old_);
    const rlimit now{bytes, old_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &now);
  }
  ~FileLimit() { ::setrlimit(RLIMIT_FSIZE, &old_); }

 private:
  rlimit old_{};
};

TEST(MappedFile, MapsMovesAndReleases) {
  const Scratch scratch;
  MappedFile file(scratch.put("a", "hello"));
  EXPECT_EQ(text_of(file.bytes()), "hello");
  MappedFile other(std::move(file));
  EXPECT_EQ(text_of(other.bytes()), "hello");
  other.release(0, SIZE_MAX);
  EXPECT_EQ(text_of(other.bytes()), "hello");
  EXPECT_TRUE(MappedFile(scratch.put("empty", "")).bytes().empty());
}

TEST(MappedFile, WrongPathsAreNamed) {
  const Scratch scratch;
  EXPECT_TRUE(has(error_of([&] { MappedFile file(scratch / "none"); }), "none: no such file"));
  EXPECT_TRUE(has(error_of([&] { MappedFile file(scratch.folder()); }), "is a folder"));
  EXPECT_TRUE(has(error_of([&] { MappedFile file("/dev/null"); }), "not a regular file"));
  EXPECT_TRUE(has(error_of([&] { MappedFile file(scratch.put("f", "x") / "inside"); }), "inside: cannot open"));
}

TEST(RandomFile, ReadsAnywhereAndRefusesBeyondTheEnd) {
  const Scratch scratch;
  const RandomFile file(scratch.put("a", "0123456789"));
  std::string out(4, ' ');
  file.read(3, std::as_writable_bytes(std::span(out)));
  EXPECT_EQ(out, "3456");
  EXPECT_TRUE(
      has(error_of([&] { file.read(8, std::as_writable_bytes(std::span(out))); }), "wants 4 bytes at offset 8, but the file has 10"));
  EXPECT_TRUE(has(error_of([&] { file.read(UINT64_MAX, std::as_writable_bytes(std::span(out))); }), "but the file has 10"));
}

TEST(ReadFile, ReadsAllAndLimits) {
  const Scratch scratch;
  const std::string text(3 << 20, 'x');
  EXPECT_EQ(read_file(scratch.put("a", text)), text);
  EXPECT_EQ(read_file(scratch.put("empty", "")), "");
  EXPECT_EQ(read_file("/dev/null"), "");
  EXPECT_TRUE(has(error_of([&] { read_file(scratch / "a", 1000); }), "at most 1000 are read"));
  EXPECT_TRUE(has(error_of([&] { read_file("/dev/zero", 1 << 20); }), "more than"));
  EXPECT_TRUE(has(error_of([&] { read_file(scratch / "none"); }), "none: no such file"));
  EXPECT_TRUE(has(error_of([&] { read_file(scratch.folder()); }), "is a folder"));
  EXPECT_TRUE(has(error_of([&] { require_file(scratch.folder()); }), "is a folder"));
  if (::geteuid() == 0) GTEST_SKIP() << "permissions do not hold for root";
  ::chmod((scratch / "a").c_str(), 0);
  EXPECT_TRUE(has(error_of([&] { read_file(scratch / "a"); }), "permission denied"));
}

TEST(AtomicFile, TheNameAppearsOnlyAtCommit) {
  const Scratch scratch;
  AtomicFile file(scratch / "out");
  file.write("hello ");
  file.write(std::string(3 << 20, 'x'));
  file.write("end");
  file.write_at(0, "H", 1);
  EXPECT_FALSE(std::filesystem::exists(scratch / "out"));
  EXPECT_EQ(file.size(), 6u + (3 << 20) + 3);
  file.commit();
  EXPECT_EQ(read_file(scratch / "out"), "Hello " + std::string(3 << 20, 'x') + "end");
  EXPECT_EQ(scratch.files(), 1u);
  EXPECT_NE(error_of([&] { file.write("more"); }), "");
  EXPECT_NE(error_of([&] { file.commit(); }), "");
}

// Two containers that share a folder may have processes with the same id.
TEST(AtomicFile, TemporaryNamesDoNotFollowFromTheProcess) {
  const Scratch scratch;
  AtomicFile one(scratch / "out"), two(scratch / "out");
  const mode_t mask = ::umask(0);
  ::umask(mask);
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(scratch.folder())) {
    names.push_back(entry.path().filename().string());
    EXPECT_TRUE(names.back().starts_with("out.part-"));
    EXPECT_FALSE(has(names.back(), "-" + std::to_string(::getpid()) + "-"));
    struct stat info{};
    ::stat(entry.path().c_str(), &info);
    EXPECT_EQ(info.st_mode & 0777, 0666u & ~mask);
  }
  EXPECT_EQ(names.size(), 2u);
}

TEST(AtomicFile, NothingIsLeftWithoutCommit) {
  const Scratch scratch;
  scratch.put("out", "old");
  {
    AtomicFile file(scratch / "out");
    file.write(std::string(5 << 20, 'x'));
    EXPECT_EQ(scratch.files(), 2u);
    EXPECT_NE(error_of([&] { file.write_at(5 << 20, "x", 1); }), "");
  }
  EXPECT_EQ(scratch.files(), 1u);
  EXPECT_EQ(read_file(scratch / "out"), "old");
}

TEST(AtomicFile, AFullDiskIsOneErrorAndLeavesNothing) {
  const Scratch scratch;
  scratch.put("out", "old");
  std::string message;
  {
    const FileLimit limit(1 << 20);
    message = error_of([&] { write_file(scratch / "out", std::string(3 << 20, 'x')); });
  }
  EXPECT_TRUE(has(message, "out: cannot write: "));
  EXPECT_EQ(scratch.files(), 1u);
  EXPECT_EQ(read_file(scratch / "out"), "old");
}

// Not tried on the machine's own devices: a mistake would replace them.
TEST(AtomicFile, PipesAreWrittenDirectly) {
  const Scratch scratch;
  ASSERT_EQ(::mkfifo((scratch / "pipe").c_str(), 0600), 0);
  const int reader = ::open((scratch / "pipe").c_str(), O_RDONLY | O_NONBLOCK);
  write_file(scratch / "pipe", "through");
  char text[8] = {};
  EXPECT_EQ(::read(reader, text, sizeof text), 7);
  EXPECT_STREQ(text, "through");
  ::close(reader);
  EXPECT_TRUE(std::filesystem::is_fifo(scratch / "pipe"));
  EXPECT_EQ(scratch.files(), 1u);
}

TEST(AtomicFile, WrongTargetsAreNamed) {
  const Scratch scratch;
  EXPECT_TRUE(has(error_of([&] { write_file(scratch / "no/such/out", "x"); }), "does not exist; make it first"));
  EXPECT_TRUE(has(error_of([&] { write_file(scratch.folder(), "x"); }), "is a folder"));
  EXPECT_NE(error_of([&] { write_file("", "x"); }), "");
  EXPECT_EQ(scratch.files(), 0u);
}

TEST(AtomicFile, KeepsPermissionsAndFollowsLinks) {
  const Scratch scratch;
  scratch.put("real", "old");
  ::chmod((scratch / "real").c_str(), 0600);
  std::filesystem::create_symlink(scratch / "real", scratch / "link");
  write_file(scratch / "link", "new");
  EXPECT_TRUE(std::filesystem::is_symlink(scratch / "link"));
  EXPECT_EQ(read_file(scratch / "real"), "new");
  struct stat info{};
  ::stat((scratch / "real").c_str(), &info);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
}

TEST(GrowingFile, ResumesAtAKnownSizeAndFinishes) {
  const Scratch scratch;
  {
    GrowingFile file(scratch / "out.part", 0);
    file.append("header..");
    file.append("one");
    file.sync();
    file.append("lost");
  }
  {
    GrowingFile file(scratch / "out.part", 11);
    EXPECT_EQ(file.size(), 11u);
    file.append("two");
    file.write_at(0, "HEADER", 6);
    EXPECT_NE(error_of([&] { file.write_at(13, "ab", 2); }), "");
    file.finish(scratch / "out");
    EXPECT_NE(error_of([&] { file.append("x"); }), "");
  }
  EXPECT_EQ(read_file(scratch / "out"), "HEADER..onetwo");
  EXPECT_EQ(scratch.files(), 1u);
}

TEST(GrowingFile, RefusesWhatCannotBeResumed) {
  const Scratch scratch;
  scratch.put("out.part", "short");
  EXPECT_TRUE(has(error_of([&] { GrowingFile file(scratch / "out.part", 6); }), "has 5 bytes, wants at least 6"));
  EXPECT_EQ(read_file(scratch / "out.part"), "short");
  EXPECT_TRUE(has(error_of([&] { GrowingFile file(scratch / "no/out.part", 0); }), "does not exist"));
  const FileLimit limit(1 << 20);
  GrowingFile file(scratch / "out.part", 5);
  EXPECT_TRUE(has(error_of([&] { file.append(std::string(2 << 20, 'x')); }), "cannot write"));
  EXPECT_EQ(file.size(), 5u);
}

}  // namespace
}  // namespace m2bert::io
