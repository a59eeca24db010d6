#include "m2bert/train/monitors.h"

#include <sys/resource.h>
#include <unistd.h>

#include <fstream>

#include "m2bert/ops/gradients.h"

namespace m2bert::train {

namespace {

double resident_bytes() {
  std::ifstream in("/proc/self/statm");  // Linux alone
  double pages = 0, resident = 0;
  return in >> pages >> resident ? resident * double(::sysconf(_SC_PAGESIZE)) : 0;
}

double peak_resident_bytes() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
#ifdef __APPLE__
  return double(usage.ru_maxrss);
#else
  return double(usage.ru_maxrss) * 1024;
#endif
}

}  // namespace

void SpeedMonitor::after_step(const StepReport& step, Record& record) {
  flops_so_far_ += flops_(step.gradient);
  moments_.push_back({step.seconds, flops_so_far_, step.now});
  if (int(moments_.size()) > window_ + 1) moments_.pop_front();
  const auto &first = moments_.front(), &last = moments_.back();
  const double seconds = last.seconds - first.seconds;
  if (seconds <= 0) return;  // the first step has nothing to compare with
  auto add = [&](const char* unit, int64_t from, int64_t to) {
    const double rate = double(to - from) / seconds;
    record.add(std::string("throughput/") + unit + "_per_sec", rate);
    record.add(std::string("throughput/device/") + unit + "_per_sec", rate / processes_);
  };
  add("batches", first.time.batch, last.time.batch);
  add("samples", first.time.sample, last.time.sample);
  add("tokens", first.time.token, last.time.token);
  const double flops = (last.flops - first.flops) / seconds;
  record.add("throughput/device/flops_per_sec", flops);
  if (peak_ > 0) record.add("throughput/device/mfu", flops / peak_);
}

void LearningRateMonitor::after_step(const StepReport& step, Record& record) {
  for (const auto& group : optimizer_.groups()) record.add("lr-AdamW/" + group.name, step.factor * group.learning_rate);
}

void MemoryMonitor::after_step(const StepReport&, Record& record) {
  if (const double bytes = resident_bytes(); bytes > 0) record.add("memory/resident", bytes);
  record.add("memory/peak_resident", peak_resident_bytes());
  record.add("memory/arrays", double(mx::get_active_memory()));
  record.add("memory/peak_arrays", double(mx::get_peak_memory()));
}

void OptimizerMonitor::after_step(const StepReport& step, Record& record) {
  const auto& parameters = optimizer_.parameters();
  for (size_t i = 0; i < parameters.size(); ++i) {
    record.add("l2_norm/grad/" + parameters[i].name, ops::global_norm({step.gradient.arrays[i]}));
    if (moments_) record.add("l2_norm/param/" + parameters[i].name, ops::global_norm({*parameters[i].array}));
  }
  if (!moments_) return;
  for (const auto& s : optimizer_.state()) {
    const bool first = s.name.starts_with("m.");
    record.add((first ? "l2_norm/moment/" : "l2_norm/second_moment/") + s.name.substr(2), ops::global_norm({*s.array}));
  }
}

void RuntimeEstimator::after_step(const StepReport& step, Record& record) {
  if (first_share_ < 0) first_share_ = run_.share(step.before);
  const double share = run_.share(step.now), done = share - first_share_;
  if (done > 0) record.add("time/remaining_estimate", step.seconds * (1 - share) / done);
}

}  // namespace m2bert::train
