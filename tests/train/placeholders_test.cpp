#include "m2bert/train/placeholders.h"

#include "tests/support/scratch.h"

namespace m2bert::train {
namespace {

using test::error_of;

TEST(Placeholders, AreComposers) {
  const Placeholders values{"mine", 5, 1, 2, 8, 2};
  EXPECT_EQ(filled_in("a/{run_name}/{rank}-{local_rank}-{node_rank}-{world_size}-{local_world_size}", values, ""), "a/mine/5-1-2-8-2");
  EXPECT_EQ(filled_in("{{rank}}{rank}}}", values, ""), "{rank}5}");
  EXPECT_EQ(filled_in("", values, ""), "");
  EXPECT_EQ(filled_in("plain", {"{rank}"}, ""), "plain");
  EXPECT_EQ(filled_in("{run_name}", {"{rank}"}, ""), "{rank}");  // what is filled in stays as it is
}

TEST(Placeholders, OthersAreRefused) {
  for (const char* path : {"{batch}", "ep{epoch}", "{timestamp}", "{}", "{ rank}", "{rank:03}"}) {
    EXPECT_PRED2(test::has, error_of([&] { filled_in(path, {}, "r.yaml:3: save_folder: "); }), "r.yaml:3: save_folder: the placeholder {");
  }
  for (const char* path : {"{rank", "rank}", "a}b"}) {
    EXPECT_PRED2(test::has, error_of([&] { filled_in(path, {}, "r.yaml:3: "); }), "r.yaml:3: a single ") << path;
  }
}

}  // namespace
}  // namespace m2bert::train
