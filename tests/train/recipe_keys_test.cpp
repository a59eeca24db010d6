#include "m2bert/train/recipe_keys.h"

#include "m2bert/io/yaml.h"
#include "tests/support/scratch.h"

namespace m2bert::train {
namespace {

using test::error_of;
using test::has;

TEST(RecipeKeys, NamesWhatNobodyRead) {
  const auto tree = io::parse_yaml("a: 1\nb: {c: 2, d: {e: 3}, f: null}\ng: {}\nh: [1, 2]\ni:\n", "r.yaml");
  RecipeKeys keys(tree);
  EXPECT_EQ(keys.get("a", 0), 1);
  EXPECT_EQ(keys.get("b.c", 0), 2);
  EXPECT_EQ(keys.unread(), (std::vector<std::string>{"b.d.e", "g", "h"}));
  keys.accept("b");
  EXPECT_TRUE(keys.present("g"));
  EXPECT_FALSE(keys.present("x"));
  EXPECT_EQ(keys.unread(), (std::vector<std::string>{"h"}));
}

TEST(RecipeKeys, ChecksRangesAndKinds) {
  const auto tree = io::parse_yaml("a: -1\nb: x\nc: .nan\n", "r.yaml");
  RecipeKeys keys(tree);
  EXPECT_PRED2(has, error_of([&] { keys.number("a", 0, 0); }), "r.yaml:1: a: wants a number of at least 0");
  EXPECT_PRED2(has, error_of([&] { keys.integer("a", 0, 0); }), "r.yaml:1");
  EXPECT_PRED2(has, error_of([&] { keys.number("b", 0, 0); }), "r.yaml:2");
  EXPECT_PRED2(has, error_of([&] { keys.number("c", 0, 0); }), "r.yaml:3");
  EXPECT_PRED2(has, error_of([&] { keys.at("d.e"); }), "d.e is missing");
  EXPECT_EQ(keys.number("d", 7, 0), 7);
}

}  // namespace
}  // namespace m2bert::train
