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
  EXPECT_PRED2(has, error_of([&] { keys.at("d.e"); }), "r.yaml:1: d.e: is missing");
  EXPECT_PRED2(has, error_of([&] { keys.at("b.e"); }), "r.yaml:2: b: wants a map with the key e, got \"x\"");
  EXPECT_PRED2(has, error_of([&] { keys.number_above("d", 0, 0), keys.number_above("a", 0, 0); }), "r.yaml:1: a: wants a number above 0");
  EXPECT_EQ(keys.number("d", 7, 0), 7);
}

TEST(RecipeKeys, KnowsWhichKeyWasMeant) {
  const auto tree = io::parse_yaml("optimizer: {lr: 1, wieght_decay: 2}\nschedular: {name: x}\nother_thing: 3\n", "r.yaml");
  RecipeKeys keys(tree);
  for (const char* key : {"optimizer.lr", "optimizer.weight_decay", "scheduler.name", "seed"}) keys.find(key);
  EXPECT_EQ(keys.likely("optimizer.wieght_decay"), "optimizer.weight_decay");
  EXPECT_EQ(keys.likely("schedular.name"), "scheduler.name");
  EXPECT_EQ(keys.likely("other_thing"), std::nullopt);
  EXPECT_EQ(keys.likely("other_thing", {"other_things"}), "other_things");
}

TEST(RecipeKeys, RefusesOtherKeys) {
  const auto tree = io::parse_yaml("a: 1\nb: null\nc: ???\nd: {e: 2, f: 3}\n", "r.yaml");
  EXPECT_EQ(given(tree, "a")->integer(), 1);
  EXPECT_EQ(given(tree, "d.e")->integer(), 2);
  for (const char* key : {"b", "c", "x", "d.x"}) EXPECT_EQ(given(tree, key), nullptr) << key;
  refuse_other_keys(tree["d"], {"e", "f"}, "d");
  EXPECT_PRED2(has, error_of([&] { refuse_other_keys(tree["d"], {"e", "g"}, "d"); }), "r.yaml:4: d.f: d has no such setting; it has e, g");
}

TEST(RecipeKeys, WhereIsTheLineOfTheKeyOrOfTheMapAroundIt) {
  const auto tree = io::parse_yaml("a: 1\nb:\n  c: 2\n", "r.yaml");
  EXPECT_EQ(where(tree, "b.c"), "r.yaml:3: b.c: ");
  EXPECT_EQ(where(tree, "b.d"), "r.yaml:2: b.d: ");
  EXPECT_EQ(where(tree["b"], "c"), "r.yaml:3: b.c: ");
  EXPECT_EQ(where(tree, "x.y"), "r.yaml:1: x.y: ");
  EXPECT_EQ(where(io::Tree{{"a", 1}}, "a"), "a: ");
}

}  // namespace
}  // namespace m2bert::train
