#include "m2bert/optim/clip.h"

#include <gtest/gtest.h>

#include <cmath>

#include "m2bert/error.h"

namespace m2bert::optim {
namespace {

TEST(Clip, ByNormIsTorchs) {
  const Clipping clipping{ClipBy::norm, 1};
  EXPECT_DOUBLE_EQ(clip_factor(clipping, 4), 1 / (4 + 1e-6));
  EXPECT_DOUBLE_EQ(clip_factor(clipping, 0.5), 1);
  EXPECT_DOUBLE_EQ(clip_factor(clipping, 0), 1);
  EXPECT_TRUE(std::isnan(clip_factor(clipping, NAN)));
  for (const float norm : {4.0f, 0.5f, 0.0f}) {
    EXPECT_FLOAT_EQ(clip_factor(clipping, mx::array(norm * norm), mx::array(1.0f)).item<float>(), float(clip_factor(clipping, norm)));
  }
  EXPECT_TRUE(std::isinf(clip_limit(clipping)));
}

TEST(Clip, ByValueAndNotAtAll) {
  EXPECT_EQ(clip_factor({ClipBy::value, 0.1}, 4), 1);
  EXPECT_EQ(clip_limit({ClipBy::value, 0.1}), 0.1);
  EXPECT_EQ(clip_factor({}, 4), 1);
  EXPECT_TRUE(std::isinf(clip_limit({})));
}

TEST(Clip, Names) {
  EXPECT_EQ(clip_named("norm", "r"), ClipBy::norm);
  EXPECT_EQ(clip_named("value", "r"), ClipBy::value);
  EXPECT_THROW(clip_named("adaptive", "r"), Error);
}

}  // namespace
}  // namespace m2bert::optim
