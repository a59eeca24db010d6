#include "m2bert/io/yaml.h"

#include <cmath>
#include <cstdlib>

#include "m2bert/io/file.h"
#include "m2bert/io/json.h"
#include "m2bert/io/yaml_scalar.h"
#include "tests/support/scratch.h"

namespace m2bert::io {
namespace {

using test::error_of;
using test::has;

const std::filesystem::path kSource = M2BERT_SOURCE_DIR;

Tree yaml(const std::string& text, const std::vector<std::string>& overrides = {}) { return parse_yaml(text, "f.yaml", overrides); }

// The golden file has the result of OmegaConf 2.4.0 with PyYAML 6.0.3 for each text.
TEST(Yaml, ScalarsAreWhatOmegaConfReads) {
  const Tree golden = read_json(kSource / "tests/golden/yaml_scalars.json");
  ASSERT_GT(golden.size(), 100u);
  for (const Tree& row : golden.items()) {
    const std::string &text = row.items()[0].string(), &kind = row.items()[1].string();
    const Tree& want = row.items()[2];
    const Tree got = yaml("k: " + text)["k"];
    bool same = got.is_string() && kind == "str" && got.string() == want.string();
    if (kind == "null") same = got.is_null();
    if (kind == "missing") same = got.is_missing();
    if (kind == "bool") same = got.is_bool() && got.boolean() == want.boolean();
    if (kind == "int") same = got.is_integer() && std::to_string(got.integer()) == want.string();
    if (kind == "float") same = got.kind() == Tree::Kind::number && python_text(got) == want.string();
    EXPECT_TRUE(same) << text << ": wants " << want.shown() << ", got " << got.shown();
  }
}

TEST(Yaml, InterpolationsAreWhatOmegaConfResolves) {
  ::setenv("M2BERT_SET", "7", 1);
  ::unsetenv("M2BERT_NOT_SET");
  const Tree golden = read_json(kSource / "tests/golden/yaml_interpolation.json");
  ASSERT_GT(golden.size(), 20u);
  for (const Tree& row : golden.items()) EXPECT_EQ(to_json(yaml(row["yaml"].string())), to_json(row["result"])) << row["yaml"].string();
}

TEST(Yaml, ReadsUpstreamsRecipes) {
  const std::filesystem::path folder = kSource / "../shared/yamls";
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << "upstream's recipes are not beside the checkout (../shared/yamls)";
  int files = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    if (entry.path().extension() != ".yaml") continue;
    ++files;
    const Tree tree = read_yaml(entry.path());
    const Tree* model = tree.find("model");
    ASSERT_TRUE(model && model->is_map()) << entry.path();
    if (const Tree* config = model->find("model_config")) {
      for (const Tree::Member& member : config->members()) {
        EXPECT_FALSE(member.value.is_string() && member.value.string().find("${") != std::string::npos) << member.value.where();
      }
      if (const Tree* rate = config->find("long_conv_kernel_learning_rate")) {
        EXPECT_TRUE(rate->is_number()) << rate->where();
      }
    }
  }
  EXPECT_GE(files, 15);
  const Tree tree = read_yaml(folder / "embeddings/m2-bert-80M-2k-retrieval.yaml");
  EXPECT_EQ(tree.find_path("model.model_config.long_conv_l_max")->integer(), 2048);
  EXPECT_DOUBLE_EQ(tree.find_path("model.model_config.hyena_lr_pos_emb")->number(), 1e-5);
  // One recipe has ${num_labels}, which its script sets: an error only when it is read.
  const Tree training = read_yaml(folder / "finetune-glue/embedding_training.yaml");
  const Tree& labels = *training.find_path("model.model_config.num_labels");
  EXPECT_TRUE(has(error_of([&] { labels.as<int>(); }), "embedding_training.yaml:145: model.model_config.num_labels: wants an integer"));
  EXPECT_TRUE(has(error_of([&] { labels.as<int>(); }), "${num_labels} names nothing"));
  EXPECT_EQ(
      read_yaml(folder / "finetune-glue/embedding_training.yaml", {"num_labels=3"}).find_path("model.model_config.num_labels")->integer(),
      3);
}

TEST(Yaml, ValuesKnowTheirLines) {
  const Tree tree = yaml("a: 1\n# comment\n\nb:\n  - x\n  - {c: 2,\n     d: 3}\ne: |\n  text\nf: 4\n");
  EXPECT_EQ(tree["b"].items()[0].location(), "f.yaml:5");
  EXPECT_EQ(tree["b"].items()[1]["d"].where(), "f.yaml:7: b[1].d: ");
  EXPECT_EQ(tree["f"].line(), 10);
  EXPECT_EQ(tree["e"].string(), "text\n");
}

TEST(Yaml, QuotesTagsBlocksAndMerges) {
  const Tree tree = yaml(
      "a: \"1\"\nb: '1e-3'\nc: !!str 5\nd: !!int \"7\"\ne: !!float 1\nbase: &x {k: 1, l: 2}\nm:\n  <<: *x\n  l: 3\nn:\n  <<: [{q: 1}, {q: "
      "2, r: 3}]\ns: *x\n");
  EXPECT_EQ(tree["a"].string(), "1");
  EXPECT_EQ(tree["b"].string(), "1e-3");
  EXPECT_EQ(tree["c"].string(), "5");
  EXPECT_EQ(tree["d"].integer(), 7);
  EXPECT_EQ(tree["e"].kind(), Tree::Kind::number);
  EXPECT_EQ(tree["m"]["k"].integer(), 1);
  EXPECT_EQ(tree["m"]["l"].integer(), 3);
  EXPECT_EQ(tree["n"]["q"].integer(), 1);
  EXPECT_EQ(tree["n"]["r"].integer(), 3);
  EXPECT_EQ(tree["s"]["k"].where(), "f.yaml:6: s.k: ");
}

TEST(Yaml, EmptyIsAnEmptyMap) {
  for (const char* text : {"", "\n", "# only a comment\n", "---\n", "null", "{}"}) EXPECT_EQ(to_json(yaml(text)), "{}") << text;
  EXPECT_EQ(yaml("\xEF\xBB\xBF"
                 "a: 1")["a"]
                .integer(),
            1);
  EXPECT_EQ(yaml("a: 1\r\nb: x\r\n")["b"].string(), "x");
}

TEST(Yaml, OverridesReplaceAddAndMerge) {
  const std::string text = "a: 1\nm: {x: 1, y: [1, 2, 3]}\nr: ${a}\n";
  EXPECT_EQ(to_json(yaml(text, {"a=1e-3"})), R"({"a":0.001,"m":{"x":1,"y":[1,2,3]},"r":0.001})");
  EXPECT_EQ(yaml(text, {"m.x=hello"})["m"]["x"].string(), "hello");
  EXPECT_EQ(yaml(text, {"m.y[1]=9"})["m"]["y"].items()[1].integer(), 9);
  EXPECT_EQ(yaml(text, {"m.y.2=9"})["m"]["y"].items()[2].integer(), 9);
  EXPECT_EQ(yaml(text, {"m.y=[7]"})["m"]["y"].size(), 1u);
  EXPECT_EQ(to_json(yaml(text, {"m={z: 5}"})["m"]), R"({"x":1,"y":[1,2,3],"z":5})");
  EXPECT_EQ(yaml(text, {"new.deep.key=true"}).find_path("new.deep.key")->boolean(), true);
  EXPECT_TRUE(yaml(text, {"a="})["a"].is_null());
  EXPECT_EQ(yaml(text, {"a=b=c"})["a"].string(), "b=c");
  EXPECT_EQ(yaml(text, {"a=${m.x}"})["r"].integer(), 1);
  EXPECT_EQ(yaml(text, {"a=1", "a=2"})["a"].integer(), 2);
  EXPECT_EQ(yaml("a: ???", {"a=2"})["a"].integer(), 2);
  EXPECT_EQ(error_of([&] { yaml(text, {"m.x=abc"})["m"]["x"].boolean(); }), "override m.x=abc: m.x: wants true or false, got \"abc\"");
}

TEST(Yaml, BadOverridesAreNamed) {
  for (const char* bad :
       {"a", "=1", "a..b=1", ".a=1", "a[=1", "a.b=1", "m.y[9]=1", "m.y.x=1", "a={", "a=[1", "a=&x *x", "a='x", "a=\xff", "a=1\n---\n2"}) {
    EXPECT_TRUE(has(error_of([&] { yaml("a: 1\nm: {y: [1]}", {bad}); }), "override")) << bad;
  }
}

TEST(Yaml, BadTextIsRefusedWithFileAndLine) {
  const std::vector<std::string> bad = {"a: 1\na: 2",
                                        "a: {b: 1, b: 2}",
                                        "a: b: c",
                                        "a: [1",
                                        "a: {b",
                                        "a: \"x",
                                        "a: 'x",
                                        "\ta: 1",
                                        "a: *none",
                                        "a: &r [*r]",
                                        "a: &r {b: *r}",
                                        "a: 1\n---\nb: 2",
                                        "a: !foo 1",
                                        "a: !!int x",
                                        "a: !!python/object:os.system x",
                                        "? [x]\n: 2",
                                        "? {x: 1}\n: 2",
                                        "~: 1",
                                        "a: @x",
                                        "a: `x",
                                        "a: %x",
                                        "x",
                                        "- a\n b: 1\n- c: d: e",
                                        "a: 123456789012345678901234567890",
                                        "<<: 1",
                                        "<<: [1]",
                                        "a: {<<: x}",
                                        "a: \xff",
                                        "\xff\xfe"
                                        "a",
                                        std::string("a: \0", 4),
                                        "a: \x04",
                                        "a: \x1b[0m",
                                        "a: \x7f",
                                        "a: ]",
                                        "a: }",
                                        "%YAML 9.9\n---\na: 1\n%",
                                        "a: |x\n b",
                                        "a: ${b:}",
                                        "a: ${b",
                                        "a: ${}",
                                        "a: ${.}",
                                        "a: ${..b}",
                                        "a: ${x:1}",
                                        "a: ${oc.env:}",
                                        "a: ${oc.env:A,b,c}",
                                        "a: ${oc.decode:}",
                                        "a: ${a}",
                                        "a: ${b}\nb: ${a}",
                                        "a: x${b}\nb: y${a}",
                                        "a: {b: \"${a}\"}",
                                        "a: x${b}\nb: [1]",
                                        "a: ${b[}\nb: 1",
                                        "a: ${b..c}\nb: 1",
                                        "a: ${${a}}",
                                        "a: ${oc.select:b,1,2}",
                                        "a: ${oc.select:a}",
                                        "a: ${oc.env:'x}"};
  for (const std::string& text : bad) EXPECT_TRUE(has(error_of([&] { yaml(text); }), "f.yaml:")) << text;
}

TEST(Yaml, UnsetValuesAreErrorsWhenRead) {
  ::unsetenv("M2BERT_NOT_SET");
  const Tree tree = yaml("a: ???\nb: ${a}\nc: ${no.such}\nd: x${no}\ne: ${oc.env:M2BERT_NOT_SET}\nf: ${c}\ng: 1");
  for (const char* key : {"a", "b", "c", "d", "e", "f"}) {
    EXPECT_TRUE(tree[key].is_missing()) << key;
    EXPECT_TRUE(has(error_of([&] { tree.get(key, 1); }), std::string(": ") + key + ": wants")) << key;
    EXPECT_TRUE(has(error_of([&] { tree.get(key, std::string()); }), "f.yaml:")) << key;
  }
  EXPECT_TRUE(has(error_of([&] { tree["e"].string(); }), "M2BERT_NOT_SET"));
  EXPECT_EQ(tree["g"].integer(), 1);
}

TEST(Yaml, ErrorsNameTheFirstReferenceThatCannotBeResolved) {
  const Tree tree = yaml("a: ${b}\nb: ${sizes.length}\nc: ${d}\nd: ???\ne: ${a}\nf: x${oc.select:b,3}\ng: ${h.i}\nh: ${no}");
  const std::string first =
      ": wants an integer, but it refers to b (f.yaml:2), where the interpolation ${sizes.length} names nothing: there "
      "is no \"sizes\" in the file; set it there or with key=value";
  EXPECT_EQ(error_of([&] { tree["a"].integer(); }), "f.yaml:1: a" + first);
  EXPECT_EQ(error_of([&] { tree["e"].integer(); }), "f.yaml:5: e" + first);
  EXPECT_TRUE(
      has(error_of([&] { tree["b"].integer(); }), "f.yaml:2: b: wants an integer, but the interpolation ${sizes.length} names nothing"));
  EXPECT_TRUE(has(error_of([&] { tree["c"].integer(); }), "it refers to d (f.yaml:4), which is marked ???"));
  EXPECT_TRUE(has(error_of([&] { tree["f"].string(); }), "it refers to b (f.yaml:2), where the interpolation ${sizes.length}"));
  EXPECT_TRUE(has(error_of([&] { tree["g"].string(); }), "it refers to h (f.yaml:8), where the interpolation ${no} names nothing"));
}

TEST(Yaml, BombsAreRefusedQuickly) {
  std::string aliases = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n", maps = "m0: &m0 {a: 1}\n", texts = "t0: xxxxxxxxxx\n", merged = texts;
  for (int i = 1; i < 12; ++i) {
    const std::string now = std::to_string(i), before = std::to_string(i - 1);
    aliases += "a" + now + ": &a" + now + " [";
    texts += "t" + now + ": ";
    for (int j = 0; j < 10; ++j) aliases += "*a" + before + ", ", texts += "${t" + before + "}";
    aliases += "]\n", texts += "\n";
    maps += "m" + now + ": &m" + now + " {a: *m" + before + ", b: *m" + before + "}\n";
  }
  std::string lists = "n0: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]\n";
  for (int i = 1; i < 12; ++i) {
    lists += "n" + std::to_string(i) + ":\n";
    for (int j = 0; j < 10; ++j) lists += "  - ${n" + std::to_string(i - 1) + "}\n";
  }
  EXPECT_TRUE(has(error_of([&] { yaml(aliases); }), "values"));
  EXPECT_TRUE(has(error_of([&] { yaml(lists); }), "values"));
  EXPECT_TRUE(has(error_of([&] { yaml(texts); }), "text"));
  EXPECT_NO_THROW(yaml(maps));
  const std::string long_text(100000, 'y');
  std::string repeated = "a: &a " + long_text + "\nb:\n";
  for (int i = 0; i < 10000; ++i) repeated += "  - *a\n";
  EXPECT_TRUE(has(error_of([&] { yaml(repeated); }), "too much text"));
  std::string copied = "a: " + long_text + "\nb:\n";
  for (int i = 0; i < 10000; ++i) copied += "  - ${a}\n";
  EXPECT_TRUE(has(error_of([&] { yaml(copied); }), "too much text"));
  EXPECT_TRUE(has(error_of([&] { yaml(std::string(100000, '[')); }), "f.yaml"));
  EXPECT_TRUE(has(error_of([&] { yaml("a: " + std::string(100000, '{')); }), "f.yaml"));
  EXPECT_TRUE(has(error_of([&] { yaml(std::string(200, '-') + "\n" + std::string(3000, '?')); }), "f.yaml"));
  std::string deep;
  for (int i = 0; i < 3000; ++i) deep += "- ";
  EXPECT_TRUE(has(error_of([&] { yaml(deep + "x"); }), "deep"));
  std::string chain = "k0: 1\n";
  for (int i = 1; i < 5000; ++i) chain = "k" + std::to_string(i) + ": ${k" + std::to_string(i - 1) + "}\n" + chain;
  EXPECT_TRUE(has(error_of([&] { yaml(chain); }), "lead to one another"));
  std::string nested;
  for (int i = 0; i < 50000; ++i) nested += "${";
  EXPECT_TRUE(has(error_of([&] { yaml("a: \"" + nested + "\""); }), "f.yaml:1"));
  EXPECT_TRUE(has(error_of([&] { parse_yaml(std::string(9 << 20, '#'), "f.yaml"); }), "at most"));
  std::string anchors = "a0: &a0 {k: 1}\n";
  for (int i = 1; i < 90; ++i) anchors += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " {k: *a" + std::to_string(i - 1) + "}\n";
  EXPECT_NO_THROW(yaml(anchors));
  for (int i = 90; i < 300; ++i)
    anchors += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " {k: *a" + std::to_string(i - 1) + "}\n";
  EXPECT_TRUE(has(error_of([&] { yaml(anchors); }), "deep"));
}

TEST(Yaml, FileErrorsNameTheFile) {
  const test::Scratch scratch;
  EXPECT_TRUE(has(error_of([&] { read_yaml(scratch / "no.yaml"); }), "no.yaml: no such file"));
  EXPECT_TRUE(has(error_of([&] { read_yaml(scratch.folder()); }), "is a folder"));
  EXPECT_TRUE(has(error_of([&] { read_yaml(scratch.put("bad.yaml", "a: 1\nb: [")); }), "bad.yaml:"));
}

}  // namespace
}  // namespace m2bert::io
