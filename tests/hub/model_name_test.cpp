#include "m2bert/hub/model_name.h"

#include <gtest/gtest.h>

#include "tests/support/scratch.h"

namespace m2bert::hub::test {
namespace {

using m2bert::test::error_of;

TEST(ModelName, RepositoryAndRevision) {
  const auto parsed = [](const char* text) {
    const ModelName name = parse_model_name(text);
    return name.repository + " " + name.revision;
  };
  EXPECT_EQ(parsed("org/name"), "org/name main");
  EXPECT_EQ(parsed("bert-base-uncased"), "bert-base-uncased main");
  EXPECT_EQ(parsed("org/m2-bert_80M.v1@v1.0"), "org/m2-bert_80M.v1 v1.0");
  EXPECT_EQ(parsed("org/name@refs/pr/1"), "org/name refs/pr/1");
  EXPECT_EQ(parse_model_name("org/name@dev").shown(), "org/name@dev");
  EXPECT_EQ(parse_model_name("org/name@main").shown(), "org/name");
}

TEST(ModelName, RefusesWhatNoHubHas) {
  for (const char* text : {"",
                           "/",
                           "org/",
                           "/name",
                           "org/name/more",
                           "-a/b",
                           "a/b-",
                           "a/.b",
                           "a./b",
                           "a--b",
                           "a/b..c",
                           "org/x.git",
                           "../x",
                           "org name",
                           "org\\x",
                           "caf\xc3\xa9",
                           "a\n",
                           "org/name@",
                           "org/name@a b",
                           "org/name@..",
                           "org/name@../x",
                           "org/name@a//b",
                           "org/name@/x",
                           "org/name@x^",
                           "org/name@a@b"})
    EXPECT_NE(error_of([&] { (void)parse_model_name(text); }), "") << text;
  EXPECT_NE(error_of([] { (void)parse_model_name(std::string(97, 'a')); }), "");
  EXPECT_EQ(parse_model_name(std::string(96, 'a') + "/" + std::string(96, 'b')).repository.size(), 193u);
}

TEST(ModelName, LooksLikeOneUnlessAFileIsLikelier) {
  for (const char* text : {"org/name", "name", "org/name@v1", "org/name.pt@v1"}) EXPECT_TRUE(looks_like_model_name(text)) << text;
  for (const char* text :
       {"./org/name", "/org/name", "org/name/", "a/b/c", "model.pt", "dir/model.safetensors", "config.yaml", "", "~/x", "org/name@"})
    EXPECT_FALSE(looks_like_model_name(text)) << text;
}

TEST(ModelName, Commits) {
  EXPECT_TRUE(is_commit(std::string(40, 'a')));
  for (const std::string& text :
       {std::string(39, 'a'), std::string(41, 'a'), std::string(40, 'A'), std::string(40, '.'), std::string("main")})
    EXPECT_FALSE(is_commit(text)) << text;
}

}  // namespace
}  // namespace m2bert::hub::test
