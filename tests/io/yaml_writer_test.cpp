#include "m2bert/io/yaml_writer.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "m2bert/io/yaml.h"
#include "tests/support/scratch.h"

namespace m2bert::io {
namespace {

TEST(YamlWriter, WritesBlocks) {
  const Tree tree{{"name", "run one"},
                  {"model", {{"hidden_size", 768}, {"use_glu_mlp", true}, {"empty", Tree::map()}}},
                  {"betas", Tree::list({0.9, 0.98})},
                  {"local", nullptr}};
  EXPECT_EQ(to_yaml(tree),
            "name: \"run one\"\nmodel:\n  hidden_size: 768\n  use_glu_mlp: true\n  empty: {}\nbetas:\n  - 0.9\n  - 0.98\nlocal: null\n");
}

TEST(YamlWriter, QuotesWhatWouldBeReadAsSomethingElse) {
  for (const char* text : {"", "yes", "null", "1e-3", "0x1f", "12:30", "~", "a: b", "# no", "${x}", "\\${x}", "???", "- a", "tab\t", "ü"}) {
    const Tree tree{{"k", text}};
    EXPECT_EQ(parse_yaml(to_yaml(tree), "t"), tree) << text;
  }
}

TEST(YamlWriter, KeepsUpstreamsRecipes) {
  const std::filesystem::path folder = std::filesystem::path(M2BERT_SOURCE_DIR) / "../shared/yamls/pretrain";
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << "upstream's recipes are not beside the checkout (../shared/yamls)";
  for (const auto& file : std::filesystem::directory_iterator(folder)) {
    const Tree tree = read_yaml(file.path());
    EXPECT_EQ(parse_yaml(to_yaml(tree), "again"), tree) << file.path();
  }
}

std::string any_text() { return *rc::gen::container<std::string>(rc::gen::inRange<char>(32, 127)); }

// rapidcheck starts with small numbers; here all are equally likely.
int below(int end) { return *rc::gen::resize(rc::kNominalSize, rc::gen::inRange(0, end)); }

Tree any_tree(int depth) {
  const int kind = below(depth > 0 ? 7 : 5);
  if (kind == 0) return nullptr;
  if (kind == 1) return *rc::gen::arbitrary<bool>();
  if (kind == 2) return *rc::gen::arbitrary<int64_t>();
  if (kind == 3) return double(*rc::gen::inRange(-100000, 100000)) / 128;
  if (kind == 4) return any_text();
  Tree tree = kind == 5 ? Tree::list() : Tree::map();
  const int size = below(4);
  for (int i = 0; i < size; ++i) {
    if (kind == 5) tree.push_back(any_tree(depth - 1));
    else tree.set(any_text(), any_tree(depth - 1));
  }
  return tree;
}

RC_GTEST_PROP(YamlWriter, ReadsBackToTheSame, ()) {
  const Tree tree{{"root", any_tree(3)}};
  RC_ASSERT(parse_yaml(to_yaml(tree), "t") == tree);
}

}  // namespace
}  // namespace m2bert::io
