#include "m2bert/io/json.h"

#include <cmath>
#include <limits>

#include "tests/support/scratch.h"

namespace m2bert::io {
namespace {

using test::error_of;
using test::has;

TEST(Json, KeepsKindsOrderAndLines) {
  const Tree tree = parse_json("{\"b\": 1,\n \"a\": [true, null,\n 2.0, \"\\u00e9\\ud83d\\ude00\"],\n\"c\": 3\n,\"d\":-4\n\n}", "f.json");
  EXPECT_EQ(tree.members()[0].key, "b");
  EXPECT_EQ(tree["a"].line(), 2);
  EXPECT_EQ(tree["a"].items()[2].line(), 3);
  EXPECT_EQ(tree["c"].line(), 4);
  EXPECT_EQ(tree["d"].line(), 5);
  EXPECT_EQ(tree["a"].items()[3].string(), "é😀");
  EXPECT_EQ(tree["a"].items()[2].kind(), Tree::Kind::number);
  EXPECT_EQ(tree["b"].kind(), Tree::Kind::integer);
  EXPECT_EQ(tree["a"].items()[1].path(), "a[1]");
  EXPECT_EQ(tree["a"].items()[1].where(), "f.json:2: a[1]: ");
}

TEST(Json, BadTextIsRefusedWithLineAndColumn) {
  EXPECT_TRUE(has(error_of([] { parse_json("{\"a\": 1,\n \"b\": x}", "f.json"); }), "f.json:2:7: "));
  const std::vector<std::string> bad = {"",
                                        " ",
                                        "{",
                                        "}",
                                        "[",
                                        "]",
                                        "[1,]",
                                        "{\"a\":1,}",
                                        "{a:1}",
                                        "{'a':1}",
                                        "{\"a\" 1}",
                                        "{\"a\":}",
                                        "[1 2]",
                                        "01",
                                        "+1",
                                        ".5",
                                        "1.",
                                        "1e",
                                        "-",
                                        "NaN",
                                        "Infinity",
                                        "-Infinity",
                                        "nan",
                                        "1e999",
                                        "-1e999",
                                        "tru",
                                        "nul",
                                        "\"",
                                        "\"\n\"",
                                        "\"\\x\"",
                                        "\"\\u12\"",
                                        "\"\\ud800\"",
                                        "\"\\udc00\"",
                                        "\"\xff\"",
                                        "\"\xc0\x80\"",
                                        "\"\xed\xa0\x80\"",
                                        "1 2",
                                        "{} {}",
                                        "// comment\n1",
                                        "[1] // x",
                                        "\"\t\"",
                                        std::string("\"\0\"", 3),
                                        std::string("1\0", 2),
                                        "\xef\xbb",
                                        "{\"a\":1,\"a\":2}",
                                        "{\"a\":{\"b\":1,\"b\":1}}",
                                        "{\"\\u0061\":1,\"a\":2}",
                                        "{\"\":1,\"\":2}",
                                        "[[[[",
                                        "{\"a\":[}",
                                        "{1:2}",
                                        "{null:1}",
                                        "True"};
  for (const std::string& text : bad) EXPECT_TRUE(has(error_of([&] { parse_json(text, "name"); }), "name:")) << text;
}

TEST(Json, DuplicateKeysNameTheKey) {
  EXPECT_TRUE(has(error_of([] { parse_json("{\"a\":1,\n\"a\":2}", "f"); }), "f:2:"));
  EXPECT_TRUE(has(error_of([] { parse_json("{\"a\":1,\n\"a\":2}", "f"); }), "has the key \"a\" twice"));
}

TEST(Json, DepthAndCountAreLimited) {
  EXPECT_TRUE(has(error_of([] { parse_json(std::string(1000000, '['), "f"); }), "nested more than 200 deep"));
  std::string objects;
  for (int i = 0; i < 100000; ++i) objects += "{\"a\":";
  EXPECT_TRUE(has(error_of([&] { parse_json(objects, "f"); }), "nested more than 200 deep"));
  EXPECT_TRUE(has(error_of([] { parse_json("[1,2,3,4]", "f", {.depth = 3, .values = 3}); }), "more than 3 values"));
  EXPECT_NO_THROW(parse_json(std::string(200, '[') + std::string(200, ']'), "f"));
}

TEST(Json, WritesWhatItReads) {
  const std::string text = R"({"a":[1,-2.5,1e-05,1e+20,"x\"\\\n\u0001é"],"b":{},"c":[],"d":null,"e":false,"f":0.1})";
  EXPECT_EQ(to_json(parse_json(text, "f")), text);
  EXPECT_EQ(to_json(parse_json("{\"a\":[1,2],\"b\":{}}", "f"), 2), "{\n  \"a\": [\n    1,\n    2\n  ],\n  \"b\": {}\n}");
  EXPECT_TRUE(has(error_of([] { to_json(Tree(std::nan(""))); }), "cannot hold"));
  EXPECT_EQ(to_json(Tree("a\xff\xc3")), "\"a\xEF\xBF\xBD\xEF\xBF\xBD\"");
  EXPECT_EQ(to_json(Tree(3.0)), "3.0");
}

TEST(Json, NumbersReadBackExactly) {
  for (double value : {0.1, 1e-320, 1.7976931348623157e308, -0.0, 123456789.123456789, 5e-324}) {
    std::string text;
    append_json_number(text, value);
    EXPECT_EQ(parse_json(text, "f").number(), value) << text;
  }
  std::string text;
  append_json_number(text, 0.1f);
  EXPECT_EQ(text, "0.1");
  EXPECT_EQ(parse_json("18446744073709551615", "f").number(), 18446744073709551615.0);
  EXPECT_EQ(parse_json("-9223372036854775808", "f").integer(), std::numeric_limits<int64_t>::min());
}

TEST(Json, ReadsOneStringOfALine) {
  EXPECT_EQ(json_string_at(R"({"id": 1, "text": "hello", "x": {"text": "no"}})", "text", "f:1"), "hello");
  EXPECT_EQ(json_string_at(R"({"x": {"text": "no", "y": [1, {"t": "deep"}]}, "text": "top"})", "x.y.1.t", "f:1"), "deep");
  EXPECT_EQ(json_string_at(R"({"x": ["a", ["b"], "c"]})", "x[2]", "f:1"), "c");
  EXPECT_EQ(json_string_at(R"({"x": {"text": "no"}, "text": "", "y": []})", "text", "f:1"), "");
  EXPECT_EQ(json_string_at(R"(["a", "b"])", "1", "f:1"), "b");
}

// The longest key wins, wherever it stands in the document.
TEST(Json, AKeyWithDotsIsFoundBeforeNestedOnes) {
  const std::string flat = R"("doc.body": "flat")", nested = R"("doc": {"body": "nested", "b": {"c": "deep"}})";
  for (const std::string& text : {"{" + flat + "," + nested + "}", "{" + nested + "," + flat + "}", "{" + flat + "}"}) {
    EXPECT_EQ(json_string_at(text, "doc.body", "f:1"), "flat");
    EXPECT_EQ(find_json(parse_json(text, "f"), "doc.body")->string(), "flat");
  }
  EXPECT_EQ(json_string_at("{" + nested + "}", "doc.body", "f:1"), "nested");
  EXPECT_EQ(json_string_at("{" + nested + "}", "doc.b.c", "f:1"), "deep");
  EXPECT_EQ(json_string_at(R"({"a": {"b.c": "inner", "b": {"c": "x"}}})", "a.b.c", "f:1"), "inner");
  EXPECT_EQ(json_string_at(R"({"a.b": {"c": "outer"}, "a": {"b.c": "x"}})", "a.b.c", "f:1"), "outer");
  EXPECT_EQ(json_string_at(R"({"a.b": {"d": "no"}, "a": {"b": {"c": "only"}}})", "a.b.c", "f:1"), "only");
  EXPECT_EQ(json_string_at(R"({"x[1]": "key", "x": ["a", "b"]})", "x[1]", "f:1"), "key");
  EXPECT_TRUE(has(error_of([] { json_string_at(R"({"doc.body": 5, "doc": {"body": "x"}})", "doc.body", "f:1"); }), "got 5"));
  EXPECT_EQ(find_json(parse_json("{" + nested + "}", "f"), "doc.title"), nullptr);
}

TEST(Json, WhatOtherProgramsWriteIsNamed) {
  const auto error = [](const char* text) { return error_of([&] { json_string_at(text, "text", "f:1"); }); };
  EXPECT_EQ(error(R"({"text": "a \ud83d b"})"),
            "f:1: an escape is half of a surrogate pair (\\ud800 to \\udfff), which is no character; write both halves, or none");
  EXPECT_EQ(error(R"({"text": "a \ude00 b"})"), error(R"({"text": "a \ud83d b"})"));
  EXPECT_EQ(error(R"({"text": "a", "score": NaN})"), "f:1: NaN is no JSON; write null");
  EXPECT_EQ(error(R"({"score": -Infinity, "text": "a"})"), "f:1: -Infinity is no JSON; write null");
  EXPECT_EQ(json_string_at(R"({"text": "pair \ud83d\ude00"})", "text", "f:1"), "pair \xF0\x9F\x98\x80");
}

TEST(Json, ALineWithoutTheStringNamesTheField) {
  const auto error = [](const char* text, const char* field) { return error_of([&] { json_string_at(text, field, "f.jsonl:7"); }); };
  EXPECT_EQ(error("{\"a\":\"x\",\"b\":1}", "text"), "f.jsonl:7: has no field \"text\"; it has a, b");
  EXPECT_EQ(error("{\"a\":{\"text\":\"x\"}}", "text"), "f.jsonl:7: has no field \"text\"; it has a");
  EXPECT_EQ(error("{\"text\":5}", "text"), "f.jsonl:7: the field \"text\" wants a string, got 5");
  EXPECT_EQ(error("{\"text\":null}", "text"), "f.jsonl:7: the field \"text\" wants a string, got null");
  EXPECT_EQ(error("{\"text\":[\"a\"]}", "text"), "f.jsonl:7: the field \"text\" wants a string, got a list");
  EXPECT_EQ(error("{\"text\":{\"text\":\"a\"}}", "text"), "f.jsonl:7: the field \"text\" wants a string, got a map");
  EXPECT_EQ(error("\"x\"", "text"), "f.jsonl:7: has no field \"text\"");
  EXPECT_TRUE(has(error("{\"text\":\"a\",\"text\":\"b\"}", "text"), "twice"));
  EXPECT_TRUE(has(error("{\"text\":\"a\"", "text"), "f.jsonl:7: "));
  EXPECT_TRUE(has(error("{\"text\":\"a\"} x", "text"), "f.jsonl:7: "));
  EXPECT_TRUE(has(error("{\"text\":\"\xff\"}", "text"), "f.jsonl:7: "));
  EXPECT_TRUE(has(error(std::string(1000, '[').c_str(), "text"), "nested more than"));
}

TEST(Json, FileErrorsNameTheFile) {
  const test::Scratch scratch;
  EXPECT_TRUE(has(error_of([&] { read_json(scratch / "no.json"); }), "no.json: no such file"));
  EXPECT_TRUE(has(error_of([&] { read_json(scratch.put("bad.json", "{\n\n")); }), "bad.json:3:1: "));
}

}  // namespace
}  // namespace m2bert::io
