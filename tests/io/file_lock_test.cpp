#include "m2bert/io/file_lock.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "tests/support/scratch.h"

namespace m2bert::io {
namespace {

using m2bert::test::Scratch;

TEST(FileLock, OneAtATime) {
  const Scratch scratch;
  std::atomic<int> inside{0}, most{0}, told{0};
  const auto work = [&] {
    const FileLock lock(scratch / "lock", [&] { ++told; });
    most = std::max(most.load(), ++inside);
    std::this_thread::sleep_for(std::chrono::milliseconds(900));
    --inside;
  };
  std::thread other(work);
  work();
  other.join();
  EXPECT_EQ(most, 1);
  EXPECT_EQ(told, 1);
}

TEST(FileLock, ALockOnARemovedFileDoesNotCount) {
  const Scratch scratch;
  const FileLock first(scratch / "lock");
  std::filesystem::remove(scratch / "lock");
  const FileLock second(scratch / "lock");  // another file of the same name: no waiting
}

TEST(FileLock, NamesTheFileItCannotCreate) {
  const Scratch scratch;
  EXPECT_TRUE(test::has(test::error_of([&] { FileLock lock(scratch / "no/lock"); }), "no/lock"));
}

}  // namespace
}  // namespace m2bert::io
