#include "m2bert/train/loss_guard.h"

#include <cmath>

#include "tests/support/scratch.h"

namespace m2bert::train {
namespace {

using test::error_of;
using test::has;

Gradient of(double loss, double norm = 1) {
  Gradient g;
  g.loss = loss;
  g.norm = norm;
  return g;
}

LossGuardOptions options(Reaction spike) {
  LossGuardOptions o;
  o.on_spike = spike;
  o.window = 10;
  return o;
}

TEST(LossGuard, SeesNaNInLossAndNorm) {
  LossGuard guard({});
  EXPECT_EQ(guard.judge(of(5)).reaction, Reaction::ignore);
  EXPECT_EQ(guard.judge(of(NAN)).reaction, Reaction::stop);
  EXPECT_EQ(guard.judge(of(5, INFINITY)).reaction, Reaction::stop);
}

// An update with NaN would destroy the weights, so ignore and warn skip it as well.
TEST(LossGuard, NeverUpdatesWithNaN) {
  for (const Reaction mild : {Reaction::ignore, Reaction::warn}) {
    LossGuardOptions o;
    o.on_nan = mild;
    EXPECT_EQ(LossGuard(o).judge(of(NAN)).reaction, Reaction::skip);
  }
}

TEST(LossGuard, SeesSpikes) {
  LossGuard guard(options(Reaction::roll_back));
  EXPECT_EQ(guard.judge(of(100)).reaction, Reaction::ignore);  // nothing to compare with yet
  for (int i = 0; i < 10; ++i) EXPECT_EQ(guard.judge(of(2 + 0.01 * i)).reaction, Reaction::ignore);
  EXPECT_EQ(guard.judge(of(3.9)).reaction, Reaction::ignore);
  const auto verdict = guard.judge(of(4.5));
  EXPECT_EQ(verdict.reaction, Reaction::roll_back);
  EXPECT_PRED2(has, verdict.reason, "loss 4.5 is 2.18");
  EXPECT_EQ(LossGuard(options(Reaction::ignore)).judge(of(1e9)).reaction, Reaction::ignore);
}

TEST(LossGuard, RemembersThroughACheckpoint) {
  LossGuard guard(options(Reaction::stop)), other(options(Reaction::stop));
  for (int i = 0; i < 10; ++i) guard.judge(of(2));
  other.restore(guard.state());
  EXPECT_EQ(other.judge(of(5)).reaction, Reaction::stop);
}

TEST(LossGuard, GivesUp) {
  auto o = options(Reaction::skip);
  o.max_skips = 2;
  o.max_roll_backs = 1;
  LossGuard guard(o);
  const auto memory = guard.state();
  guard.rolled_back(memory);
  guard.saved();
  guard.rolled_back(memory);
  EXPECT_PRED2(has, error_of([&] { guard.rolled_back(memory); }), "went back 1 times");
  for (int i = 0; i < 2; ++i) EXPECT_EQ(guard.judge(of(NAN)).reaction, Reaction::stop);
  for (int i = 0; i < 6; ++i) guard.judge(of(1));
  for (int i = 0; i < 2; ++i) EXPECT_EQ(guard.judge(of(9)).reaction, Reaction::skip);
  EXPECT_PRED2(has, error_of([&] { guard.judge(of(9)); }), "2 batches in a row");
}

TEST(LossGuard, Names) {
  EXPECT_EQ(reaction_named("roll_back", "r"), Reaction::roll_back);
  EXPECT_PRED2(has, error_of([] { reaction_named("panic", "r.yaml:3: callbacks.loss_guard.nan"); }),
               "r.yaml:3: callbacks.loss_guard.nan: \"panic\"");
}

}  // namespace
}  // namespace m2bert::train
