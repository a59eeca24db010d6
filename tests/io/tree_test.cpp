#include "m2bert/io/tree.h"

#include "m2bert/io/json.h"
#include "m2bert/io/yaml.h"
#include "tests/support/scratch.h"

namespace m2bert::io {
namespace {

using test::error_of;
using test::has;

TEST(Tree, TypedGettersNamePlaceKeyTypeAndValue) {
  const Tree tree = parse_yaml("a: 1\nmodel:\n  hyena_emb_dim: abc\n  sizes: [1, x]\n", "model.yaml");
  EXPECT_EQ(error_of([&] { tree["model"].get("hyena_emb_dim", 5); }),
            "model.yaml:3: model.hyena_emb_dim: wants an integer from -2147483648 to 2147483647, got \"abc\"");
  EXPECT_EQ(error_of([&] { tree["model"]["hyena_emb_dim"].wants("an odd integer of at least 3"); }),
            "model.yaml:3: model.hyena_emb_dim: wants an odd integer of at least 3, got \"abc\"");
  EXPECT_EQ(error_of([&] { tree["model"]["sizes"].as<std::vector<int>>(); }),
            "model.yaml:4: model.sizes[1]: wants an integer from -2147483648 to 2147483647, got \"x\"");
  EXPECT_EQ(error_of([&] { tree["a"].boolean(); }), "model.yaml:1: a: wants true or false, got 1");
  EXPECT_EQ(error_of([&] { tree["a"].string(); }), "model.yaml:1: a: wants a string, got 1");
  EXPECT_EQ(error_of([&] { tree["a"].items(); }), "model.yaml:1: a: wants a list, got 1");
  EXPECT_EQ(error_of([&] { tree["model"].number(); }), "model.yaml:2: model: wants a number, got a map of 2 keys");
  EXPECT_TRUE(has(error_of([&] { tree.at("b"); }), "has no key \"b\"; it has a, model"));
}

TEST(Tree, GetFallsBackWhereAbsentOrNull) {
  const Tree tree = parse_yaml("a:\nb: 2.0\nc: yes\nd: 1e-3\ne: 3", "f");
  EXPECT_EQ(tree.get("a", 7), 7);
  EXPECT_EQ(tree.get("none", std::string("x")), "x");
  EXPECT_EQ(tree.get("b", 7), 2);
  EXPECT_TRUE(tree.get("c", false));
  EXPECT_DOUBLE_EQ(tree.get("d", 0.0), 1e-3);
  EXPECT_DOUBLE_EQ(tree.get("e", 0.0), 3.0);
  EXPECT_FALSE(tree.get_optional<int>("a"));
  EXPECT_EQ(tree.get_optional<int64_t>("e"), 3);
}

TEST(Tree, IntegersKeepTheirRange) {
  const Tree tree = parse_json(R"({"big": 9007199254740993, "huge": 1e300, "half": 1.5, "minus": -1, "wide": 4294967296})", "f");
  EXPECT_EQ(tree["big"].integer(), 9007199254740993);
  EXPECT_TRUE(has(error_of([&] { tree["huge"].integer(); }), "wants an integer, got 1e+300"));
  EXPECT_TRUE(has(error_of([&] { tree["half"].integer(); }), "got 1.5"));
  EXPECT_TRUE(has(error_of([&] { tree["minus"].as<size_t>(); }), "at least 0, got -1"));
  EXPECT_TRUE(has(error_of([&] { tree["wide"].as<int>(); }), "got 4294967296"));
  EXPECT_TRUE(has(error_of([&] { tree["minus"].integer(1, 5); }), "an integer from 1 to 5, got -1"));
}

TEST(Tree, UnknownKeysAreListedInOrder) {
  const Tree tree = parse_yaml("z: 1\na: 2\nm: 3", "f");
  const auto unknown = tree.unknown({"a"});
  ASSERT_EQ(unknown.size(), 2u);
  EXPECT_EQ(unknown[0]->key, "z");
  EXPECT_EQ(unknown[1]->key, "m");
  EXPECT_EQ(unknown[1]->value.line(), 3);
}

TEST(Tree, BuildsByCodeAndComparesByValue) {
  Tree tree{{"a", 1}, {"b", "text"}, {"c", Tree::list({1, 2.5, nullptr, true})}};
  tree.set("d", Tree::map());
  EXPECT_EQ(to_json(tree), R"({"a":1,"b":"text","c":[1,2.5,null,true],"d":{}})");
  EXPECT_EQ(parse_json(to_json(tree), "again"), tree);
  EXPECT_FALSE(parse_json("{}", "x") == tree);
  EXPECT_EQ(Tree(1), Tree(1.0));
  EXPECT_FALSE(Tree(1) == Tree("1"));
  EXPECT_EQ(tree.find_path("c[1]")->number(), 2.5);
  EXPECT_EQ(tree.find_path("c.9"), nullptr);
  EXPECT_EQ(tree.find_path("a.b"), nullptr);
}

TEST(Tree, LargeMapsFindReplaceAndErase) {
  Tree::Map map;
  for (int i = 0; i < 1000; ++i) EXPECT_TRUE(map.add("k" + std::to_string(i), i));
  EXPECT_FALSE(map.add("k500", 0));
  map.set("k500", -1);
  EXPECT_EQ(map.find("k500")->integer(), -1);
  EXPECT_TRUE(map.erase("k0"));
  EXPECT_FALSE(map.erase("k0"));
  EXPECT_EQ(map.find("k999")->integer(), 999);
  EXPECT_EQ(map.find("k0"), nullptr);
  for (int i = 1; i < 995; ++i) EXPECT_TRUE(map.erase("k" + std::to_string(i)));
  EXPECT_EQ(map.find("k999")->integer(), 999);
}

TEST(Tree, SplitsPaths) {
  EXPECT_EQ(split_path("a.b[0].c"), (std::vector<std::string>{"a", "b", "0", "c"}));
  EXPECT_EQ(split_path("[2][3].x"), (std::vector<std::string>{"2", "3", "x"}));
  for (const char* bad : {"", ".", "a.", ".a", "a..b", "a[", "a[]", "a[1", "a[1]b", "[].a"})
    EXPECT_NE(error_of([&] { split_path(bad); }), "") << bad;
}

TEST(Tree, LongValuesAreTruncatedInMessages) {
  const Tree tree = parse_json("[\"" + std::string(5000, 'x') + "\"]", "f");
  EXPECT_LT(tree.items()[0].shown().size(), 200u);
}

}  // namespace
}  // namespace m2bert::io
