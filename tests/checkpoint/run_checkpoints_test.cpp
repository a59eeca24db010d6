#include "m2bert/checkpoint/run_checkpoints.h"

#include <gtest/gtest.h>

#include "m2bert/checkpoint/folder.h"
#include "m2bert/checkpoint/safetensors.h"
#include "tests/support/scratch.h"

namespace m2bert::checkpoint {
namespace {

using test::error_of;
using test::has;
using test::Scratch;

void put(const std::filesystem::path& file) { save_safetensors(file, {{"bert.a", mx::array(1.f)}}); }

TEST(RunCheckpoints, AreFoundByTheirNamesNewestFirst) {
  const Scratch scratch;
  for (const char* name : {"ep0-ba9.safetensors", "ep1-ba10.safetensors", "latest.safetensors", "model.pt", "ep0-ba.safetensors",
                           "ep0-ba7.safetensors.part-1", "ep0-ba8x.safetensors"})
    put(scratch / name);
  EXPECT_EQ(run_checkpoints(scratch.folder()), (std::vector{scratch / "ep1-ba10.safetensors", scratch / "ep0-ba9.safetensors"}));
  EXPECT_EQ(newest_run_checkpoint(scratch.folder()), scratch / "ep1-ba10.safetensors");
  scratch.put("ep1-ba10.safetensors", "cut off");
  EXPECT_EQ(newest_run_checkpoint(scratch.folder()), scratch / "ep0-ba9.safetensors");
  scratch.put("ep0-ba9.safetensors", "");
  EXPECT_PRED2(has, error_of([&] { newest_run_checkpoint(scratch.folder()); }), "none of its checkpoints can be read");
  const Scratch empty;
  EXPECT_EQ(newest_run_checkpoint(empty.folder()), std::nullopt);
}

TEST(RunCheckpoints, MakeAFolderAModelWithItsRecipe) {
  const Scratch scratch;
  put(scratch / "ep0-ba3.safetensors");
  put(scratch / "ep0-ba12.safetensors");
  scratch.put("config.json", "{}");
  EXPECT_EQ(read_folder(scratch.folder()).config, scratch / "config.json");
  scratch.put("recipe.yaml", "model: {}\n");
  const auto folder = read_folder(scratch.folder());
  EXPECT_EQ(folder.weights, std::vector{scratch / "ep0-ba12.safetensors"});
  EXPECT_EQ(folder.config, scratch / "recipe.yaml");
  put(scratch / "model.safetensors");  // a model folder that holds a recipe for another reason
  EXPECT_EQ(read_folder(scratch.folder()).weights, std::vector{scratch / "model.safetensors"});
  EXPECT_EQ(read_folder(scratch.folder()).config, scratch / "config.json");
}

}  // namespace
}  // namespace m2bert::checkpoint
