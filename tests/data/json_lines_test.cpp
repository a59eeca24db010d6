#include "m2bert/data/json_lines.h"

#include <gtest/gtest.h>

#include "tests/support/scratch.h"

namespace m2bert::data {
namespace {

using test::error_of;
using test::has;
using test::Scratch;

constexpr const char* kLines = "{\"a\": 1}\n\n  \nno\n{\"a\": \"2\"}";

TEST(JsonLines, ReadsObjectsAndSkipsBlankLines) {
  const Scratch scratch;
  JsonLines lines(scratch.put("x.jsonl", kLines));
  io::Tree object;
  ASSERT_TRUE(lines.next(object));
  EXPECT_EQ(string_member(object, "a", lines.where(), true), "1");
  EXPECT_PRED2(has, error_of([&] { string_member(object, "a", lines.where()); }), "x.jsonl:1: the field \"a\" is 1, and must be a string");
  EXPECT_PRED2(has, error_of([&] { string_member(object, "b", lines.where()); }), "x.jsonl:1: has no field \"b\"");
  EXPECT_PRED2(has, error_of([&] { lines.next(object); }), "x.jsonl:4:");
  ASSERT_TRUE(lines.next(object));  // goes on behind the bad line
  EXPECT_EQ(string_member(object, "a", lines.where()), "2");
  EXPECT_FALSE(lines.next(object));
}

TEST(JsonLines, PassesOverBadLinesAndThoseThatTheUserRefuses) {
  const Scratch scratch;
  JsonLines lines(scratch.put("x.jsonl", kLines), true);
  int used = 0;
  while (lines.next([&](const io::Tree& object) {
    if (object.at("a").is_string()) bad_record(lines.where(), ": refused");
    ++used;
  })) {
  }
  EXPECT_EQ(used, 1);
  EXPECT_EQ(lines.skipped().count, 2U);
  EXPECT_PRED2(has, lines.skipped().first, "x.jsonl:4:");
}

TEST(JsonLines, OtherErrorsAreNotPassedOver) {
  const Scratch scratch;
  JsonLines lines(scratch.put("x.jsonl", kLines), true);
  EXPECT_EQ(error_of([&] { lines.next([](const io::Tree&) { fail("stopped"); }); }), "stopped");
}

}  // namespace
}  // namespace m2bert::data
