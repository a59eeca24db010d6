#include "m2bert/optim/schedule.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "m2bert/error.h"

namespace m2bert::optim {
namespace {

const RunLength hundred{{100, TimeUnit::batch}, 0};

double at(const Schedule& schedule, int64_t batch) { return schedule.factor({.batch = batch}); }

Schedule make(Decay decay, const char* warmup, double alpha_f = 0, const RunLength& run = hundred) {
  ScheduleOptions options;
  options.decay = decay;
  options.t_warmup = parse_time(warmup, "t");
  options.alpha_f = alpha_f;
  return {options, run};
}

TEST(Schedule, WarmsUpFromZero) {
  for (const Decay decay : {Decay::constant, Decay::linear, Decay::cosine, Decay::warmup_stable_decay}) {
    const auto schedule = make(decay, "0.2dur");
    EXPECT_EQ(at(schedule, 0), 0);
    EXPECT_DOUBLE_EQ(at(schedule, 5), 0.25);
    EXPECT_DOUBLE_EQ(at(schedule, 20), 1);
    EXPECT_DOUBLE_EQ(at(make(decay, "0ba"), 0), 1);
  }
}

TEST(Schedule, Falls) {
  EXPECT_NEAR(at(make(Decay::constant, "20ba"), 99), 1, 1e-12);
  const auto linear = make(Decay::linear, "20ba", 0.02);
  EXPECT_NEAR(at(linear, 60), 1 + 0.5 * (0.02 - 1), 1e-12);
  EXPECT_NEAR(at(linear, 100), 0.02, 1e-12);
  EXPECT_NEAR(at(linear, 200), 0.02, 1e-12);
  const auto cosine = make(Decay::cosine, "20ba", 0.1);
  EXPECT_NEAR(at(cosine, 40), 0.1 + 0.9 * 0.5 * (1 + std::cos(std::numbers::pi / 4)), 1e-12);
  EXPECT_NEAR(at(cosine, 100), 0.1, 1e-12);
  const auto stable = make(Decay::warmup_stable_decay, "20ba");
  EXPECT_NEAR(at(stable, 90), 1, 1e-12);
  EXPECT_NEAR(at(stable, 95), 0.5, 1e-12);
  EXPECT_NEAR(at(stable, 100), 0, 1e-12);
}

// Upstream's recipes count samples.
TEST(Schedule, CountsInTheUnitOfTheRun) {
  const auto schedule = make(Decay::linear, "0.06dur", 0.02, {{286720000, TimeUnit::sample}, 70000});
  EXPECT_NEAR(schedule.factor({.batch = 2100, .sample = 2100 * 4096}), 2100.0 * 4096 / 17203200, 1e-12);
  EXPECT_NEAR(schedule.factor({.batch = 70000, .sample = 286720000}), 0.02, 1e-12);
}

TEST(Schedule, RefusesUnitsThatDiffer) {
  EXPECT_THROW(make(Decay::linear, "10ba", 0, {{1000, TimeUnit::sample}, 0}), Error);
  EXPECT_NO_THROW(make(Decay::constant, "10ba", 0, {{1000, TimeUnit::sample}, 0}));
  EXPECT_THROW(decay_named("square", "run.yaml:4: scheduler.name"), Error);
}

// As in Composer, whose factor is then min(1, batch / t_warmup).
TEST(Schedule, AWarmUpMayLastAsLongAsTheRun) {
  for (const Decay decay : {Decay::constant, Decay::linear, Decay::cosine, Decay::warmup_stable_decay}) {
    for (const int warmup : {100, 400}) {
      const auto schedule = make(decay, (std::to_string(warmup) + "ba").c_str());
      EXPECT_EQ(at(schedule, 0), 0);
      EXPECT_DOUBLE_EQ(at(schedule, 50), 50.0 / warmup);
      EXPECT_DOUBLE_EQ(at(schedule, 99), 99.0 / warmup);
    }
  }
}

TEST(Schedule, ErrorsBeginWithThePlaceOfTheKey) {
  ScheduleOptions options;
  options.decay = Decay::warmup_stable_decay;
  options.warmup_where = "r.yaml:4: scheduler.t_warmup: ";
  options.decay_where = "r.yaml:5: scheduler.t_decay: ";
  const auto error = [&] {
    try {
      const Schedule schedule(options, hundred);
    } catch (const Error& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  options.t_warmup = parse_time("95ba", "t");
  EXPECT_EQ(error(), "r.yaml:5: scheduler.t_decay: 0.1dur of 100ba leaves no room for the warm-up, 95ba");
  options.t_warmup = parse_time("95sp", "t");
  EXPECT_EQ(error().substr(0, 62), "r.yaml:4: scheduler.t_warmup: 95sp and the length of the run, ");
}

}  // namespace
}  // namespace m2bert::optim
