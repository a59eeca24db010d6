#include "m2bert/checkpoint/pickle.h"

#include <gtest/gtest.h>

#include "m2bert/error.h"
#include "tests/checkpoint/bytes.h"

namespace m2bert::checkpoint::test {
namespace {

using pickle::Kind;

pickle::Pickle read(const std::string& s) { return pickle::read(bytes_of(s), "test.pkl"); }
const pickle::Value& root(const pickle::Pickle& p) { return p[p.root]; }

TEST(Pickle, ReadsNumbersOfEveryProtocol) {
  struct Number {
    std::string code;
    int64_t value;
  };
  for (const auto& n : {Number{"K\xff.", 255},
                        {"M\xff\xff.", 65535},
                        {"J\xff\xff\xff\xff.", -1},
                        {"I-17\n.", -17},
                        {"L123L\n.", 123},
                        {std::string("\x8a\0.", 3), 0},
                        {"\x8a\x01\x80.", -128},
                        {std::string("\x8a\x02\0\x01.", 5), 256},
                        {"I01\n.", 1}}) {
    auto p = read(n.code);
    EXPECT_EQ(root(p).integer, n.value) << n.code;
  }
  EXPECT_DOUBLE_EQ(root(read("F1.5e3\n.")).real, 1500);
  EXPECT_DOUBLE_EQ(root(read(std::string("G\x3f\xf8\0\0\0\0\0\0.", 10))).real, 1.5);
  EXPECT_EQ(root(read("\x88.")).kind, Kind::boolean);
  EXPECT_EQ(root(read("\x8a\x09" + std::string(9, '\x7f') + ".")).kind, Kind::long_integer);
}

TEST(Pickle, BuildsContainers) {
  auto p = read(proto(4) + dict(text("a") + "](K\1K\2e" + text("b") + "K\3K\4\x86" + text("c") + "\x8f(K\5\x90") + ".");
  const auto& d = root(p);
  ASSERT_EQ(d.kind, Kind::dict);
  ASSERT_EQ(d.items.size(), 6u);
  EXPECT_EQ(p[d.items[1]].kind, Kind::list);
  EXPECT_EQ(p[p[d.items[1]].items[1]].integer, 2);
  EXPECT_EQ(p[d.items[3]].kind, Kind::tuple);
  EXPECT_EQ(p[d.items[5]].kind, Kind::set);
}

TEST(Pickle, RebuildsOrderedDictFromPairs) {
  auto p = read(call("collections", "OrderedDict",
                     "](" + text("k") +
                         "K\7\x86"
                         "e") +
                ".");
  ASSERT_EQ(root(p).kind, Kind::dict);
  EXPECT_EQ(p[root(p).items[1]].integer, 7);
}

TEST(Pickle, MemoGivesTheSameValue) {
  auto q = read(proto() + std::string("]q\0h\0\x86.", 7));
  ASSERT_EQ(root(q).items.size(), 2u);
  EXPECT_EQ(root(q).items[0], root(q).items[1]);
}

TEST(Pickle, UnknownCallsBecomeOpaqueValues) {
  auto p = read(call("my.package", "Thing", text("argument")) + "}b.");
  EXPECT_EQ(root(p).kind, Kind::opaque);
  EXPECT_EQ(root(p).text, "my.package.Thing");
  EXPECT_EQ(root(p).items.size(), 2u);  // arguments, state
}

TEST(Pickle, ErrorsNameTheOffset) {
  auto s = proto() + "NN" + "\xff.";
  EXPECT_EQ(error_of([&] { pickle::read(bytes_of(s), "x.pkl", 1000); }),
            "x.pkl: byte 1004: bad pickle: opcode 255, which no pickle of PyTorch has");
}

TEST(Pickle, KeepsToItsLimits) {
  pickle::Limits limits{.values = 10, .stack = 5, .items = 8, .marks = 2};
  auto limited = [&](const std::string& s) { return error_of([&] { pickle::read(bytes_of(s), "x", 0, limits); }); };
  EXPECT_NE(limited("N0N0N0N0N0N0N0N0N0N0N0.").find("more than 10 values"), std::string::npos);
  EXPECT_NE(limited("NNNNNN.").find("more than 5 values on the stack"), std::string::npos);
  EXPECT_NE(limited("(((N.").find("more than 2 marks"), std::string::npos);
  EXPECT_NE(limited("](NNNe(NNNe(NNNe.").find("more than"), std::string::npos);
}

TEST(Pickle, KnowsHarmfulNames) {
  for (auto [module, name] :
       {std::pair{"os", "system"}, {"os.path", "x"}, {"builtins", "eval"}, {"subprocess", "run"}, {"torch.hub", "load"}})
    EXPECT_TRUE(pickle::harmful(module, name)) << module << "." << name;
  for (auto [module, name] :
       {std::pair{"collections", "OrderedDict"}, {"builtins", "getattr"}, {"numpy.core.multiarray", "scalar"}, {"osmium", "x"}})
    EXPECT_FALSE(pickle::harmful(module, name)) << module << "." << name;
}

}  // namespace
}  // namespace m2bert::checkpoint::test
